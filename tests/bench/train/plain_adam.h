// Adam (Kingma, Ba 2015) as the parameter servers apply it, on plain arrays: what a training step
// costs besides the model, so that a comparison counts the same work on both sides.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/base/thread_pool.h"

namespace cairn::bench {

struct AdamRates {
  float rate = 1e-3f, beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f;
};

// One vector of parameters.
class DenseAdam {
 public:
  explicit DenseAdam(std::size_t size) : mean_(size), square_(size) {}
  void Apply(std::span<float> values, std::span<const float> gradients, ThreadPool& pool);

 private:
  AdamRates rates_;
  std::int64_t steps_ = 0;
  std::vector<float> mean_, square_;
};

// A table of rows [value | mean | square]; only the rows of a batch move, each by its own count.
class RowAdam {
 public:
  RowAdam(std::size_t rows, std::size_t dim, float stddev, std::uint64_t seed);
  void Gather(std::span<const std::uint64_t> rows, float* values, ThreadPool& pool) const;
  void Apply(std::span<const std::uint64_t> rows, const float* gradients, ThreadPool& pool);

 private:
  AdamRates rates_;
  std::size_t dim_;
  std::vector<float> table_;
  std::vector<std::uint32_t> counts_;
};

}  // namespace cairn::bench
