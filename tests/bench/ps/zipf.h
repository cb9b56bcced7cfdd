// Skewed ranks, as ids of real data have them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "common/math/rng.h"

namespace cairn::bench {

// Ranks 0 .. n-1 with probability proportional to (rank + 1)^-s, s != 1: by inversion of the
// integral that bounds the sum, with rejection (Hoermann, Derflinger 1996).
class Zipf {
 public:
  Zipf(double s, std::uint64_t n) : s_(s), n_(static_cast<double>(n)) {
    low_ = Integral(1.5) - 1;
    high_ = Integral(n_ + 0.5);
  }
  std::uint64_t Next(Rng& rng) const {
    for (;;) {
      const double u = high_ + rng.NextDouble() * (low_ - high_);
      const double x = std::pow(1 + u * (1 - s_), 1 / (1 - s_));
      const double k = std::clamp(std::floor(x + 0.5), 1.0, n_);
      if (u >= Integral(k + 0.5) - std::pow(k, -s_)) return static_cast<std::uint64_t>(k) - 1;
    }
  }

 private:
  double Integral(double x) const { return (std::pow(x, 1 - s_) - 1) / (1 - s_); }
  double s_, n_, low_ = 0, high_ = 0;
};

}  // namespace cairn::bench
