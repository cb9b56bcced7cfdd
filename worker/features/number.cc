#include "worker/features/number.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <system_error>

namespace cairn::worker {
namespace {

constexpr double kPowersOfTen[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                   1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
constexpr int kExactDigits = 15;  // 10^15 < 2^53: integer and power of ten are exact doubles

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsSpace(char c) { return c == ' ' || c == '\t'; }

// Up to 15 digits with an optional point in them: one exact integer, at most one division, hence
// correctly rounded (Clinger 1990). False: not of this form.
bool ParseShort(const char* at, const char* end, double* value) {
  const bool negative = at != end && *at == '-';
  if (negative) ++at;
  if (end - at > kExactDigits + 1) return false;
  std::uint64_t integer = 0;
  const char* first = at;
  while (at != end && IsDigit(*at)) integer = integer * 10 + static_cast<unsigned>(*at++ - '0');
  auto digits = at - first;
  std::ptrdiff_t fraction = 0;
  if (at != end && *at == '.') {
    first = ++at;
    while (at != end && IsDigit(*at)) integer = integer * 10 + static_cast<unsigned>(*at++ - '0');
    fraction = at - first;
    digits += fraction;
  }
  if (at != end || digits == 0 || digits > kExactDigits) return false;
  double x = static_cast<double>(integer);
  if (fraction > 0) x /= kPowersOfTen[fraction];
  *value = negative ? -x : x;
  return true;
}

}  // namespace

NumberError ParseNumber(std::string_view text, double* value) {
  while (!text.empty() && IsSpace(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsSpace(text.back())) text.remove_suffix(1);
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  const char* end = text.data() + text.size();
  if (ParseShort(text.data(), end, value)) return NumberError::kNone;
  const auto [stop, error] = std::from_chars(text.data(), end, *value);
  if (error == std::errc::invalid_argument || stop != end) return NumberError::kNotANumber;
  if (error == std::errc::result_out_of_range) return NumberError::kOutOfRange;
  return std::isfinite(*value) ? NumberError::kNone : NumberError::kNotANumber;
}

}  // namespace cairn::worker
