#include "ps/optim/bias_correction.h"

#include <algorithm>
#include <cmath>

namespace cairn::ps {

BiasCorrections::BiasCorrections(double beta1, double beta2) : beta1_(beta1), beta2_(beta2) {
  for (std::uint32_t t = 0; t < kMaxTable; ++t) {
    table_.push_back(Compute(std::max(t, 1u)));
    if (table_.back().mean == 1 && table_.back().inverse_root == 1) break;
  }
}

BiasCorrection BiasCorrections::Compute(std::uint32_t t) const {
  return {static_cast<float>(1 / (1 - std::pow(beta1_, t))),
          static_cast<float>(1 / std::sqrt(1 - std::pow(beta2_, t)))};
}

}  // namespace cairn::ps
