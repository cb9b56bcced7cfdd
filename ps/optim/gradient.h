// The gradient of a step, for kernels.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "ps/optim/isa.h"

namespace cairn::ps {

// Larger elements of a gradient are cut to this, in every optimizer: far beyond what training
// gives, but low enough that sums of squares stay finite. A float sum of squares of at most 2^100
// stops growing near 2^125, and the squares of the longest row (16384 elements) add up to 2^114.
inline constexpr float kMaxGradient = 0x1p50f;

// One element: grad + l2 * value. Cut by its bits, as the order of positive floats is that of their
// bits: compilers make one vector instruction of an integer's minimum, but not of a float's.
CAIRN_KERNEL_BODY float GradientOf(float grad, float l2, float value) {
  constexpr std::int32_t kMagnitude = 0x7fffffff;
  const auto bits = std::bit_cast<std::int32_t>(grad + l2 * value);
  const auto cut = std::min(bits & kMagnitude, std::bit_cast<std::int32_t>(kMaxGradient));
  return std::bit_cast<float>(cut | (bits & ~kMagnitude));
}

}  // namespace cairn::ps
