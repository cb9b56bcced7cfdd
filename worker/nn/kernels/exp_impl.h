// The exponential of a vector.
#pragma once

#include "worker/nn/kernels/kernels.h"
#include "worker/nn/kernels/simd.h"

namespace cairn::worker::nn::CAIRN_ISA {

// exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln 2 / 2, with a minimax polynomial for
// (exp(r) - 1 - r) / r^2. Relative error below 1e-7; results below the smallest normal number
// are 0; exp(0) = 1; infinities and NaN as usual.
[[gnu::always_inline]] inline Vec<float> Exp(Vec<float> x) {
  constexpr float kLowest = -87.33654f, kHighest = 88.72283f;
  constexpr float kRound = 12582912.f;  // 1.5 * 2^23: its sum with a small number is rounded to 1
  const Vec<float> clamped = x < kLowest    ? Broadcast(kLowest)
                             : x > kHighest ? Broadcast(kHighest)
                                            : x;
  const Vec<float> shifted = clamped * 1.44269504f + kRound;
  const Vec<float> n = shifted - kRound;
  const Vec<float> r = (clamped - n * 0.693359375f) + n * 2.12194442e-4f;  // ln 2 in two parts
  Vec<float> q = r * 1.38145837e-3f + 8.36872403e-3f;
  q = q * r + 4.16683890e-2f;
  q = q * r + 0.166665211f;
  q = q * r + 0.499999940f;
  const Vec<float> p = (q * r) * r + r + 1.f;  // in (0.7, 1.42)
  // n added to p's exponent; the result is a normal number for every clamped x.
  const auto bits =
      reinterpret_cast<Vec<std::int32_t>>(p) + (reinterpret_cast<Vec<std::int32_t>>(shifted) << 23);
  const Vec<float> result = reinterpret_cast<Vec<float>>(bits);
  const Vec<float> high = x > kHighest ? Broadcast(__builtin_inff()) : result;
  return x != x ? x : x < kLowest ? Vec<float>{} : high;
}

// The same for x <= 0, -inf or NaN, in fewer steps: ln 2 in one part, so the relative error grows
// with |x|, to 2e-7 at -40.
[[gnu::always_inline]] inline Vec<float> ExpNotPositive(Vec<float> x) {
  constexpr float kLowest = -87.33654f;
  constexpr float kRound = 12582912.f;
  const Vec<float> clamped = x < kLowest ? Broadcast(kLowest) : x;
  const Vec<float> shifted = clamped * 1.44269504f + kRound;
  const Vec<float> r = clamped - (shifted - kRound) * 0.693147181f;
  Vec<float> p = r * 1.38145837e-3f + 8.36872403e-3f;
  p = p * r + 4.16683890e-2f;
  p = p * r + 0.166665211f;
  p = p * r + 0.499999940f;
  p = p * r + 1.f;
  p = p * r + 1.f;
  const auto bits =
      reinterpret_cast<Vec<std::int32_t>>(p) + (reinterpret_cast<Vec<std::int32_t>>(shifted) << 23);
  return x < kLowest ? Vec<float>{} : reinterpret_cast<Vec<float>>(bits);
}

[[gnu::always_inline]] inline Vec<double> Exp(Vec<double> x) {
  for (std::size_t i = 0; i < kWidth<double>; ++i) x[i] = __builtin_exp(x[i]);
  return x;
}

[[gnu::always_inline]] inline Vec<double> ExpNotPositive(Vec<double> x) { return Exp(x); }

template <typename T>
void ExpOf(const T* in, std::size_t n, T* out) {
  for (std::size_t i = 0; i < n; i += kWidth<T>) Store(out + i, Exp(Load(in + i)));
}

}  // namespace cairn::worker::nn::CAIRN_ISA
