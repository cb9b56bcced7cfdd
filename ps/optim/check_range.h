// Checks of hyper-parameters in the factories.
#pragma once

#include <cmath>
#include <string_view>

#include "common/base/status.h"

namespace cairn::ps {

// Finite and above 0, also as a float, and so is its inverse: no subnormal number.
inline Status CheckPositive(std::string_view field, double value) {
  const float as_float = static_cast<float>(value);
  if (std::isnormal(as_float) && as_float > 0) return OkStatus();
  return absl::InvalidArgumentError(StrCat(field, " is ", value, ", must be finite and above 0"));
}

inline Status CheckNotNegative(std::string_view field, double value) {
  if (std::isfinite(static_cast<float>(value)) && value >= 0) return OkStatus();
  return absl::InvalidArgumentError(
      StrCat(field, " is ", value, ", must be finite and not negative"));
}

// In [0, 1), also as a float.
inline Status CheckBelowOne(std::string_view field, double value) {
  const float as_float = static_cast<float>(value);
  if (as_float >= 0 && as_float < 1) return OkStatus();
  return absl::InvalidArgumentError(StrCat(field, " is ", value, ", must be in [0, 1)"));
}

}  // namespace cairn::ps
