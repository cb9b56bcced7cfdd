// Text to number, for NUMERIC features.
#pragma once

#include <string_view>

namespace cairn::worker {

enum class NumberError { kNone, kNotANumber, kOutOfRange };

// Decimal text, as std::from_chars reads it, with an optional '+' and with spaces around it. "nan"
// and "inf" are not numbers; what a double cannot hold is out of range. The result is the nearest
// double.
NumberError ParseNumber(std::string_view text, double* value);

}  // namespace cairn::worker
