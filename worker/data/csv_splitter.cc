#include "worker/data/csv_splitter.h"

#include <bit>
#include <cstring>

#include "proto/config.pb.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace cairn::worker {
namespace {

constexpr std::size_t kNpos = std::string_view::npos;
constexpr std::size_t kBlock = 64;

// Bit i is set where block[i] == c, for kBlock bytes. SSE2 is part of every x86-64.
std::uint64_t MatchMask(const char* block, char c) {
  std::uint64_t mask = 0;
#if defined(__SSE2__)
  const __m128i wanted = _mm_set1_epi8(c);
  for (int i = 0; i < 4; ++i) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block + 16 * i));
    const auto bits = static_cast<std::uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(x, wanted)));
    mask |= static_cast<std::uint64_t>(bits) << (16 * i);
  }
#else
  for (std::size_t i = 0; i < kBlock; ++i) mask |= static_cast<std::uint64_t>(block[i] == c) << i;
#endif
  return mask;
}

// Offset of the byte after the closing quote of the quoted field that starts at `start`, or npos.
std::size_t AfterClosingQuote(std::string_view text, std::size_t start, char quote) {
  for (std::size_t from = start + 1;;) {
    const std::size_t at = text.find(quote, from);
    if (at == kNpos) return kNpos;
    if (at + 1 == text.size() || text[at + 1] != quote) return at + 1;
    from = at + 2;
  }
}

Status OneCharacter(const std::string& text, std::string_view field) {
  if (text.size() == 1 && text[0] != '\n' && text[0] != '\r' && text[0] != '\0') return OkStatus();
  return absl::InvalidArgumentError(
      StrCat("data.csv.", field, " must be one character of one byte, not an end of line"));
}

}  // namespace

Result<CsvDialect> MakeCsvDialect(const proto::CsvConfig& config) {
  RETURN_IF_ERROR(OneCharacter(config.delimiter(), "delimiter"));
  CsvDialect dialect{config.delimiter()[0], std::nullopt};
  if (!config.quote().empty()) {
    RETURN_IF_ERROR(OneCharacter(config.quote(), "quote"));
    if (config.quote() == config.delimiter())
      return absl::InvalidArgumentError("data.csv.quote and data.csv.delimiter are the same");
    dialect.quote = config.quote()[0];
  }
  return dialect;
}

std::size_t FindRecordEnd(std::string_view text, const CsvDialect& dialect, bool may_have_quotes) {
  const std::size_t line_end = text.find('\n');
  if (!may_have_quotes || !dialect.quote) return line_end;
  if (text.substr(0, line_end).find(*dialect.quote) == kNpos) return line_end;
  for (std::size_t at = 0;;) {
    if (at < text.size() && text[at] == *dialect.quote) {
      at = AfterClosingQuote(text, at, *dialect.quote);
      // A quote as the last byte may be the first half of a doubled one: more text decides.
      if (at == kNpos || at == text.size()) return kNpos;
    }
    while (at < text.size() && text[at] != dialect.delimiter && text[at] != '\n') ++at;
    if (at >= text.size()) return kNpos;
    if (text[at] == '\n') return at;
    ++at;
  }
}

bool CsvSplitter::Split(std::string_view record, std::span<std::string_view> fields) {
  std::size_t count = 0;
  std::size_t start = 0;
  char tail[kBlock];
  for (std::size_t base = 0; base < record.size(); base += kBlock) {
    const char* block = record.data() + base;
    if (record.size() - base < kBlock) {
      std::memset(tail, 0, kBlock);
      std::memcpy(tail, block, record.size() - base);
      block = tail;
    }
    if (dialect_.quote && MatchMask(block, *dialect_.quote) != 0)
      return SplitQuoted(record, fields);
    std::uint64_t mask = MatchMask(block, dialect_.delimiter);
    while (mask != 0) {
      const std::size_t at = base + static_cast<std::size_t>(std::countr_zero(mask));
      if (count == fields.size()) return SplitQuoted(record, fields);
      fields[count++] = record.substr(start, at - start);
      start = at + 1;
      mask &= mask - 1;
    }
  }
  if (count + 1 != fields.size()) return false;
  fields[count] = record.substr(start);
  return true;
}

const char* CsvSplitter::NextField(std::string_view record, std::size_t* offset,
                                   std::string_view* field) {
  const std::size_t start = *offset;
  if (!dialect_.quote || start >= record.size() || record[start] != *dialect_.quote) {
    const std::size_t end = std::min(record.find(dialect_.delimiter, start), record.size());
    *field = record.substr(start, end - start);
    *offset = end + 1;
    return nullptr;
  }
  const char quote = *dialect_.quote;
  const std::size_t after = AfterClosingQuote(record, start, quote);
  if (after == kNpos) return "the quote that opens here is not closed";
  if (after < record.size() && record[after] != dialect_.delimiter) {
    *offset = after;
    return "text follows a closing quote";
  }
  *offset = after + 1;
  *field = record.substr(start + 1, after - start - 2);
  if (field->find(quote) == kNpos) return nullptr;
  const std::size_t scratch_start = scratch_.size();
  for (std::size_t i = 0; i < field->size(); ++i) {
    scratch_.push_back((*field)[i]);
    if ((*field)[i] == quote) ++i;
  }
  *field = std::string_view(scratch_).substr(scratch_start);
  return nullptr;
}

bool CsvSplitter::SplitQuoted(std::string_view record, std::span<std::string_view> fields) {
  scratch_.clear();
  scratch_.reserve(record.size());  // views into it must stay valid
  std::size_t count = 0;
  for (std::size_t offset = 0; offset <= record.size(); ++count) {
    std::string_view field;
    if (count == fields.size() || NextField(record, &offset, &field) != nullptr) return false;
    fields[count] = field;
  }
  return count == fields.size();
}

SplitError CsvSplitter::Explain(std::string_view record, std::size_t columns) {
  std::size_t count = 0;
  std::size_t first_extra = record.size();
  for (std::size_t offset = 0; offset <= record.size(); ++count) {
    if (count == columns) first_extra = offset;
    std::string_view field;
    if (const char* error = NextField(record, &offset, &field); error != nullptr)
      return {error, offset};
  }
  return {StrCat("found ", count, " columns, expected ", columns), first_extra};
}

std::size_t CsvSplitter::FieldOffset(std::string_view record, std::size_t index) {
  std::size_t offset = 0;
  for (std::size_t i = 0; i < index && offset <= record.size(); ++i) {
    std::string_view field;
    if (NextField(record, &offset, &field) != nullptr) break;
  }
  return std::min(offset, record.size());
}

bool CsvSplitter::SplitAll(std::string_view record, std::vector<std::string>* fields) {
  scratch_.clear();
  scratch_.reserve(record.size());
  fields->clear();
  for (std::size_t offset = 0; offset <= record.size();) {
    std::string_view field;
    if (NextField(record, &offset, &field) != nullptr) return false;
    fields->emplace_back(field);
  }
  return true;
}

}  // namespace cairn::worker
