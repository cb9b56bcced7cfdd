// Bias correction of Adam's moments (Kingma, Ba, ICLR 2015, section 3).
#pragma once

#include <cstdint>
#include <vector>

namespace cairn::ps {

struct BiasCorrection {
  float mean;          // 1 / (1 - beta1^t)
  float inverse_root;  // 1 / sqrt(1 - beta2^t)
};

// The corrections for any number of updates, from a table as far as they differ from 1 or the
// table is as large as a small cache.
// Thread-safety: immutable after construction.
class BiasCorrections {
 public:
  // Both betas in [0, 1).
  BiasCorrections(double beta1, double beta2);

  // t: updates so far, the current one included; 0 counts as 1.
  BiasCorrection Of(std::uint32_t t) const {
    if (t < table_.size()) return table_[t];
    return table_.size() < kMaxTable ? BiasCorrection{1, 1} : Compute(t);
  }

 private:
  static constexpr std::uint32_t kMaxTable = 1 << 16;

  BiasCorrection Compute(std::uint32_t t) const;

  const double beta1_, beta2_;
  std::vector<BiasCorrection> table_;
};

}  // namespace cairn::ps
