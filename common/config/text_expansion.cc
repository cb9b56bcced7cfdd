#include "common/config/text_expansion.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <optional>

namespace cairn {
namespace {

constexpr std::string_view kDefaultDataFolder = "../shared/data";

bool IsDigits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

struct Range {
  std::size_t begin = 0;  // of "{"
  std::size_t end = 0;    // behind "}"
  std::string_view first;
  std::string_view last;
};

// The first "{digits..digits}" at or after `from`.
std::optional<Range> FindRange(std::string_view text, std::size_t from) {
  for (std::size_t open = text.find('{', from); open != std::string_view::npos;
       open = text.find('{', open + 1)) {
    const std::size_t close = text.find('}', open);
    if (close == std::string_view::npos) return std::nullopt;
    const std::string_view inside = text.substr(open + 1, close - open - 1);
    const std::size_t dots = inside.find("..");
    if (dots == std::string_view::npos) continue;
    const Range range{open, close + 1, inside.substr(0, dots), inside.substr(dots + 2)};
    if (IsDigits(range.first) && IsDigits(range.last)) return range;
  }
  return std::nullopt;
}

std::string Padded(std::uint64_t number, std::size_t width) {
  const std::string digits = StrCat(number);
  return std::string(width > digits.size() ? width - digits.size() : 0, '0') + digits;
}

}  // namespace

Result<std::vector<std::string>> ExpandRange(std::string_view text) {
  const std::optional<Range> range = FindRange(text, 0);
  if (!range.has_value()) return std::vector<std::string>{std::string(text)};
  constexpr std::uint64_t kMostTexts = 100000;
  const auto error = [text](std::string_view reason) {
    return absl::InvalidArgumentError(StrCat("cannot expand \"", text, "\": ", reason));
  };
  if (FindRange(text, range->end).has_value()) return error("it has more than one range");
  std::uint64_t first = 0, last = 0;
  const auto read = [](std::string_view digits, std::uint64_t* number) {
    return std::from_chars(digits.data(), digits.data() + digits.size(), *number).ec == std::errc();
  };
  if (!read(range->first, &first) || !read(range->last, &last))
    return error("a bound is too large");
  if (last < first) return error("the range is empty");
  if (last - first >= kMostTexts) return error("the range is longer than 100000");
  const bool padded = (range->first.size() > 1 && range->first.front() == '0') ||
                      (range->last.size() > 1 && range->last.front() == '0');
  const std::size_t width = padded ? std::max(range->first.size(), range->last.size()) : 0;
  std::vector<std::string> texts;
  texts.reserve(last - first + 1);
  for (std::uint64_t i = 0; i <= last - first; ++i) {
    texts.push_back(
        StrCat(text.substr(0, range->begin), Padded(first + i, width), text.substr(range->end)));
  }
  return texts;
}

Result<std::string> ExpandEnvironment(std::string_view text) {
  std::string expanded;
  std::size_t at = 0;
  for (;;) {
    const std::size_t open = text.find("${", at);
    expanded.append(text.substr(at, open - at));
    if (open == std::string_view::npos) return expanded;
    const std::size_t close = text.find('}', open);
    if (close == std::string_view::npos) {
      return absl::InvalidArgumentError(StrCat("no \"}\" closes the \"${\" in \"", text, "\""));
    }
    const std::string name(text.substr(open + 2, close - open - 2));
    const char* value = std::getenv(name.c_str());
    if (value != nullptr) {
      expanded.append(value);
    } else if (name == "CAIRN_DATA") {
      expanded.append(kDefaultDataFolder);
    } else {
      return absl::InvalidArgumentError(
          StrCat("the environment variable \"", name, "\" is not set"));
    }
    at = close + 1;
  }
}

}  // namespace cairn
