#include "tests/bench/train/plain_adam.h"

#include <algorithm>
#include <cmath>

#include "common/math/rng.h"

namespace cairn::bench {
namespace {

__attribute__((target_clones("avx512f", "avx2", "default"))) void Update(
    float* __restrict value, float* __restrict mean, float* __restrict square,
    const float* __restrict gradient, std::size_t n, AdamRates rates, float step, float root) {
  for (std::size_t i = 0; i < n; ++i) {
    mean[i] += (1 - rates.beta1) * (gradient[i] - mean[i]);
    square[i] += (1 - rates.beta2) * (gradient[i] * gradient[i] - square[i]);
    value[i] -= step * mean[i] / (__builtin_sqrtf(square[i]) * root + rates.epsilon);
  }
}

struct Corrections {
  float step, root;
};
Corrections CorrectionsOf(const AdamRates& rates, std::int64_t steps) {
  const double t = static_cast<double>(steps);
  return {static_cast<float>(rates.rate / (1 - std::pow(rates.beta1, t))),
          static_cast<float>(1 / std::sqrt(1 - std::pow(rates.beta2, t)))};
}

}  // namespace

void DenseAdam::Apply(std::span<float> values, std::span<const float> gradients, ThreadPool& pool) {
  const Corrections c = CorrectionsOf(rates_, ++steps_);
  pool.Run([&](int thread) {
    const std::size_t begin = PartBegin(values.size(), pool.threads(), thread);
    const std::size_t end = PartBegin(values.size(), pool.threads(), thread + 1);
    Update(&values[begin], &mean_[begin], &square_[begin], &gradients[begin], end - begin, rates_,
           c.step, c.root);
  });
}

RowAdam::RowAdam(std::size_t rows, std::size_t dim, float stddev, std::uint64_t seed)
    : dim_(dim), table_(rows * dim * 3, 0.f), counts_(rows, 0) {
  for (std::size_t r = 0; r < rows; ++r)
    FillNormal(seed, r, 0, stddev, std::span(table_.data() + r * dim * 3, dim));
}

void RowAdam::Gather(std::span<const std::uint64_t> rows, float* values, ThreadPool& pool) const {
  pool.Run([&](int thread) {
    const std::size_t end = PartBegin(rows.size(), pool.threads(), thread + 1);
    for (std::size_t i = PartBegin(rows.size(), pool.threads(), thread); i < end; ++i)
      std::copy_n(table_.data() + rows[i] * dim_ * 3, dim_, values + i * dim_);
  });
}

void RowAdam::Apply(std::span<const std::uint64_t> rows, const float* gradients, ThreadPool& pool) {
  pool.Run([&](int thread) {
    const std::size_t end = PartBegin(rows.size(), pool.threads(), thread + 1);
    for (std::size_t i = PartBegin(rows.size(), pool.threads(), thread); i < end; ++i) {
      float* row = table_.data() + rows[i] * dim_ * 3;
      const Corrections c = CorrectionsOf(rates_, ++counts_[rows[i]]);
      Update(row, row + dim_, row + 2 * dim_, gradients + i * dim_, dim_, rates_, c.step, c.root);
    }
  });
}

}  // namespace cairn::bench
