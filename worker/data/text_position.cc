#include "worker/data/text_position.h"

#include <algorithm>

#include "common/base/str_cat.h"
#include "common/config/suggest.h"

namespace cairn::worker {
namespace {

constexpr std::size_t kShownCharacters = 40;
constexpr std::size_t kShownNames = 40;

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

}  // namespace

std::string Position(std::string_view file, std::uint64_t line, std::string_view record,
                     std::size_t offset) {
  const std::string_view before = record.substr(0, offset);
  const std::size_t line_start = before.rfind('\n') + 1;  // npos + 1 = 0
  const auto lines = static_cast<std::uint64_t>(std::ranges::count(before, '\n'));
  const auto characters =
      std::ranges::count_if(before.substr(line_start), [](char c) { return !IsContinuation(c); });
  return StrCat(file, ":", line + lines, ":", characters + 1);
}

std::string Quoted(std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  std::size_t characters = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (!IsContinuation(c) && ++characters > kShownCharacters) return out + "...\"";
    if (out.size() > 4 * kShownCharacters) return out + "...\"";  // continuation bytes without end
    if (byte < 0x20 || byte == 0x7f) {
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      out.push_back(c);
    }
  }
  return out + "\"";
}

std::string NamesHint(std::string_view name, std::span<const std::string> known) {
  const std::string suggestion = DidYouMean(name, known);
  if (!suggestion.empty()) return suggestion;
  std::string out = "; there are: ";
  for (std::size_t i = 0; i < std::min(known.size(), kShownNames); ++i)
    StrAppend(out, i == 0 ? "" : ", ", known[i]);
  if (known.size() > kShownNames) StrAppend(out, " and ", known.size() - kShownNames, " more");
  return out;
}

}  // namespace cairn::worker
