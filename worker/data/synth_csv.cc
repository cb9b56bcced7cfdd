#include "worker/data/synth_csv.h"

#include <charconv>

#include "common/base/str_cat.h"

namespace cairn::worker {
namespace {

constexpr std::size_t kLineReserve = 32 + 12 * kSynthNumbers + 9 * kSynthCategories;

// A bijection on 32 bits for each field (multiplications by odd numbers and xor-shifts; constants
// of Wellons' lowbias32), so that different values have different texts.
std::uint32_t ValueId(std::size_t field, std::uint32_t value) {
  std::uint32_t x = value + 0x9e3779b9u * static_cast<std::uint32_t>(field + 1);
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  x ^= x >> 16;
  return x;
}

// As in Criteo's log, some columns have an empty value, which is a value like the others.
bool IsEmptyValue(std::size_t field, std::uint32_t value) { return field % 6 == 5 && value == 1; }

char* PutHex(std::uint32_t x, char* at) {
  constexpr char kHex[] = "0123456789abcdef";
  for (int shift = 28; shift >= 0; shift -= 4) *at++ = kHex[(x >> shift) & 15];
  return at;
}

}  // namespace

std::string SynthHeader(bool has_history) {
  std::string header = "label";
  for (std::size_t j = 1; j <= kSynthNumbers; ++j) StrAppend(header, ",I", j);
  for (std::size_t f = 1; f <= kSynthCategories; ++f) StrAppend(header, ",C", f);
  return header + (has_history ? ",hist\n" : "\n");
}

void AppendSynthRow(const SynthRow& row, bool has_history, std::string* out) {
  const std::size_t start = out->size();
  out->resize(start + kLineReserve + 9 * row.history.size());
  char* at = out->data() + start;
  char* const end = out->data() + out->size();
  *at++ = static_cast<char>('0' + row.label);
  for (const std::int32_t x : row.numbers) {
    *at++ = ',';
    if (x != kSynthMissing) at = std::to_chars(at, end, x).ptr;
  }
  for (std::size_t f = 0; f < kSynthCategories; ++f) {
    *at++ = ',';
    if (!IsEmptyValue(f, row.categories[f])) at = PutHex(ValueId(f, row.categories[f]), at);
  }
  if (has_history) *at++ = ',';
  for (std::size_t i = 0; has_history && i < row.history.size(); ++i) {
    if (i > 0) *at++ = '^';
    at = PutHex(ValueId(0, row.history[i]), at);
  }
  *at++ = '\n';
  out->resize(static_cast<std::size_t>(at - out->data()));
}

}  // namespace cairn::worker
