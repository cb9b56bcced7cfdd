// The attention kernels of every instruction set that this CPU can run, against plain loops.
#include <algorithm>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "common/math/rng.h"
#include "tests/worker/nn/gradient_check.h"
#include "worker/nn/kernels/kernels.h"

namespace cairn::worker::nn {
namespace {

struct KernelCase {
  std::size_t queries, keys, heads, dim, value_dim;
  bool softmax, key_mask, ranks, pairs, diagonal = false;
};

const KernelCase kKernelCases[] = {
    {1, 1, 1, 1, 1, true, false, false, false},     {5, 7, 1, 4, 4, true, true, false, false},
    {20, 33, 2, 6, 10, true, true, true, false},    {2, 54, 2, 32, 32, true, true, false, true},
    {37, 18, 3, 9, 12, false, true, true, true},    {17, 5, 4, 8, 8, true, true, true, true},
    {40, 40, 1, 16, 8, false, false, true, false},  {18, 7, 2, 4, 4, true, true, true, true, true},
    {7, 18, 2, 4, 4, false, true, true, true, true}};

template <typename T>
class Example {
 public:
  explicit Example(const KernelCase& c) : case_(c) {
    args_.shape = {c.queries, c.keys, c.heads, c.dim, c.value_dim, T(0.7), c.softmax};
    args_.panels = kPanels;
    Fill(q_, c.queries * c.dim, 1);
    Fill(k_, c.keys * c.dim, 2);
    Fill(v_, c.keys * c.value_dim, 3);
    Fill(do_, c.queries * c.value_dim, 4);
    Fill(mask_, c.keys, 5);
    for (std::size_t i = 0; i < mask_.size(); ++i)  // row 3 of a panel has no active key at all
      mask_[i] = mask_[i] > T(0.3) || i % kLanes == 3 ? T(0) : T(1);
    Rng rng(9, 0);
    for (std::size_t i = 0; i < kPanels * c.queries * c.keys * kLanes; ++i)
      ranks_.push_back(static_cast<T>(rng.NextBelow(c.queries * c.keys)));
    for (std::size_t i = 0; i < c.queries * c.keys; ++i)
      pairs_.push_back(rng.NextBelow(4) != 0 && i / c.keys != 1);  // nothing for the second query
    args_.q = q_.data();
    args_.k = k_.data();
    args_.v = v_.data();
    if (c.key_mask) args_.key_mask = mask_.data();
    if (c.ranks) args_.ranks = ranks_.data();
    args_.active_ranks = static_cast<T>(c.queries * c.keys / 2);
    if (c.pairs) args_.pairs = pairs_.data();
    args_.diagonal = c.diagonal;
  }

  // {out, dq, dk, dv} of the kernels; the gradients are added to `before`.
  std::vector<std::vector<T>> Run(const Kernels<T>& kernels, T before) {
    const KernelCase& c = case_;
    std::vector<T> out(kPanels * c.queries * c.value_dim * kLanes, T(77));
    std::vector<T> dq(q_.size(), before), dk(k_.size(), before), dv(v_.size(), before);
    std::vector<T> statistics(kPanels * c.heads * c.queries * 2 * kLanes, T(77));
    std::vector<T> workspace(kernels.attention_workspace(args_.shape), T(77));
    args_.out = out.data();
    args_.statistics = statistics.data();
    args_.workspace = workspace.data();
    kernels.attention(args_);
    const bool add = before != 0;
    kernels.attention_gradient(
        {args_, out.data(), do_.data(), dq.data(), dk.data(), dv.data(), add, add, add});
    return {out, dq, dk, dv};
  }

  bool IsActive(std::size_t row, std::size_t i, std::size_t j) const {
    const KernelCase& c = case_;
    if (c.diagonal && i == j) return true;
    if (c.key_mask && mask_[PanelIndex(row, c.keys, j)] == 0) return false;
    if (c.ranks && ranks_[PanelIndex(row, c.queries * c.keys, i * c.keys + j)] >=
                       static_cast<T>(c.queries * c.keys / 2))
      return false;
    return !c.pairs || pairs_[i * c.keys + j] != 0;
  }

  // The same by the definition, one row of the batch at a time.
  std::vector<std::vector<double>> Expected() const {
    const KernelCase& c = case_;
    std::vector<std::vector<double>> sums = {
        std::vector<double>(do_.size()), std::vector<double>(q_.size()),
        std::vector<double>(k_.size()), std::vector<double>(v_.size())};
    for (std::size_t row = 0; row < kPanels * kLanes; ++row)
      for (std::size_t h = 0; h < c.heads; ++h)
        for (std::size_t i = 0; i < c.queries; ++i) AddQuery(row, h, i, sums);
    return sums;
  }

 private:
  static constexpr std::size_t kPanels = 2;

  static void Fill(std::vector<T>& values, std::size_t size, std::uint64_t seed) {
    std::vector<float> normal(kPanels * size * kLanes);
    FillNormal(seed, 1, 0, 1, normal);
    values.assign(normal.begin(), normal.end());
  }

  void AddQuery(std::size_t row, std::size_t h, std::size_t i,
                std::vector<std::vector<double>>& sums) const {
    const KernelCase& c = case_;
    const std::size_t d = c.dim / c.heads, w = c.value_dim / c.heads;
    const auto at_q = [&](std::size_t e) {
      return PanelIndex(row, q_.size() / 32, i * c.dim + h * d + e);
    };
    const auto at_k = [&](std::size_t j, std::size_t e) {
      return PanelIndex(row, k_.size() / 32, j * c.dim + h * d + e);
    };
    const auto at_v = [&](std::size_t j, std::size_t e) {
      return PanelIndex(row, v_.size() / 32, j * c.value_dim + h * w + e);
    };
    const auto at_o = [&](std::size_t e) {
      return PanelIndex(row, do_.size() / 32, i * c.value_dim + h * w + e);
    };
    std::vector<double> a(c.keys), da(c.keys), ds(c.keys);
    double sum = 0, most = -1e300, dot = 0;
    for (std::size_t j = 0; j < c.keys; ++j) {
      for (std::size_t e = 0; e < d; ++e)
        a[j] += 0.7 * double(q_[at_q(e)]) * double(k_[at_k(j, e)]);
      if (IsActive(row, i, j)) most = std::max(most, a[j]);
    }
    for (std::size_t j = 0; j < c.keys; ++j) {
      if (c.softmax) a[j] = std::exp(a[j] - most);
      if (!IsActive(row, i, j)) a[j] = 0;
      sum += a[j];
    }
    for (std::size_t j = 0; j < c.keys; ++j) {
      if (c.softmax && sum > 0) a[j] /= sum;
      for (std::size_t e = 0; e < w; ++e) {
        sums[0][at_o(e)] += a[j] * double(v_[at_v(j, e)]);
        sums[3][at_v(j, e)] += a[j] * double(do_[at_o(e)]);
        da[j] += double(do_[at_o(e)]) * double(v_[at_v(j, e)]);
      }
      dot += a[j] * da[j];
    }
    for (std::size_t j = 0; j < c.keys; ++j) {
      ds[j] = c.softmax ? a[j] * (da[j] - dot) : IsActive(row, i, j) ? da[j] : 0;
      for (std::size_t e = 0; e < d; ++e) {
        sums[1][at_q(e)] += 0.7 * ds[j] * double(k_[at_k(j, e)]);
        sums[2][at_k(j, e)] += 0.7 * ds[j] * double(q_[at_q(e)]);
      }
    }
  }

  const KernelCase case_;
  AttentionArgs<T> args_;
  std::vector<T> q_, k_, v_, do_, mask_, ranks_;
  std::vector<std::uint8_t> pairs_;
};

template <typename T>
void ExpectAsDefined(const Kernels<T>& kernels, const KernelCase& c, double tolerance) {
  for (T before : {T(0), T(2)}) {
    Example<T> example(c);
    const auto expected = example.Expected();
    const auto actual = example.Run(kernels, before);
    for (std::size_t t = 0; t < 4; ++t) {
      double scale = 0;
      for (double value : expected[t]) scale = std::max(scale, std::abs(value));
      const double added = t == 0 ? 0 : static_cast<double>(before);
      for (std::size_t i = 0; i < expected[t].size(); ++i) {
        ASSERT_NEAR(actual[t][i], expected[t][i] + added, tolerance * (scale + added))
            << kernels.name << " result " << t << " at " << i;
        if (expected[t][i] == 0) {  // of inactive pairs: nothing at all
          ASSERT_EQ(static_cast<double>(actual[t][i]), added);
        }
      }
    }
  }
}

TEST(AttentionKernel, AgreesWithTheDefinitionAndIsZeroWithoutActiveKeys) {
  for (const KernelCase& c : kKernelCases) {
    ExpectAsDefined(*FindKernels<double>(Isa::kBest), c, 1e-13);
    for (Isa isa : RunnableIsas()) ExpectAsDefined(*FindKernels<float>(isa), c, 3e-6);
  }
}

TEST(AttentionKernel, LargeScoresDoNotOverflow) {
  for (Isa isa : RunnableIsas()) {
    const Kernels<float>& kernels = *FindKernels<float>(isa);
    const std::vector<float> q(kLanes, 1000), k(2 * kLanes, 500), v(2 * kLanes, 3);
    std::vector<float> out(kLanes), statistics(2 * kLanes);
    AttentionArgs<float> args{.shape = {.queries = 1, .keys = 2, .dim = 1, .value_dim = 1},
                              .panels = 1,
                              .q = q.data(),
                              .k = k.data(),
                              .v = v.data(),
                              .out = out.data(),
                              .statistics = statistics.data()};
    std::vector<float> workspace(kernels.attention_workspace(args.shape));
    args.workspace = workspace.data();
    kernels.attention(args);
    for (float value : out) EXPECT_FLOAT_EQ(value, 3);
  }
}

}  // namespace
}  // namespace cairn::worker::nn
