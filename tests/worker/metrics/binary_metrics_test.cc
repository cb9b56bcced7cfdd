#include "worker/metrics/binary_metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "common/math/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cairn::worker {
namespace {

using ::testing::DoubleNear;
using ::testing::HasSubstr;
using ::testing::Optional;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The definition: every pair of a positive and a negative row.
double AucOfPairs(const std::vector<float>& logits, const std::vector<std::uint8_t>& labels) {
  double right = 0;
  double pairs = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    for (std::size_t j = 0; j < logits.size(); ++j) {
      if (labels[i] == 0 || labels[j] != 0) continue;
      pairs += 1;
      right += logits[i] > logits[j] ? 1 : logits[i] == logits[j] ? 0.5 : 0;
    }
  }
  return right / pairs;
}

struct Rows {
  std::vector<float> logits;
  std::vector<std::uint8_t> labels;
};

// `levels`: number of distinct logits, for ties; 0: practically none are tied.
Rows RandomRows(std::uint64_t seed, std::size_t count, std::uint64_t levels) {
  Rng rng(seed, 1);
  Rows rows;
  for (std::size_t i = 0; i < count; ++i) {
    const double z = levels == 0 ? rng.NextNormal() * 5
                                 : static_cast<double>(rng.NextBelow(levels)) - levels / 2.0;
    rows.logits.push_back(static_cast<float>(z));
    rows.labels.push_back(rng.NextDouble() < 1 / (1 + std::exp(-z)));
  }
  rows.labels.front() = 0;
  rows.labels.back() = 1;
  return rows;
}

TEST(ExactAuc, AgreesWithAllPairs) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    for (const std::uint64_t levels : {0, 1, 2, 7, 100}) {
      SCOPED_TRACE(::testing::Message() << "seed " << seed << ", levels " << levels);
      const Rows rows = RandomRows(seed, 2 + seed * 17, levels);
      EXPECT_THAT(ExactAuc(rows.logits, rows.labels),
                  Optional(DoubleNear(AucOfPairs(rows.logits, rows.labels), 1e-12)));
    }
  }
}

TEST(ExactAuc, KnowsPerfectReversedAndTiedScores) {
  const std::vector<float> rising = {-kInfinity, -2, -1e-30f, 1e-30f, 3, kInfinity};
  EXPECT_EQ(ExactAuc(rising, std::vector<std::uint8_t>{0, 0, 0, 1, 1, 1}), 1.0);
  EXPECT_EQ(ExactAuc(rising, std::vector<std::uint8_t>{1, 1, 1, 0, 0, 0}), 0.0);
  EXPECT_EQ(ExactAuc(std::vector<float>(6, 0.3f), std::vector<std::uint8_t>{1, 0, 1, 0, 0, 1}),
            0.5);
}

TEST(ExactAuc, ZeroesOfBothSignsAreTied) {
  EXPECT_EQ(ExactAuc(std::vector<float>{-0.0f, 0.0f}, std::vector<std::uint8_t>{0, 1}), 0.5);
  EXPECT_EQ(ExactAuc(std::vector<float>{-0.0f, 0.0f}, std::vector<std::uint8_t>{1, 0}), 0.5);
}

TEST(ExactAuc, IsUndefinedWithoutBothLabels) {
  EXPECT_EQ(ExactAuc({}, {}), std::nullopt);
  EXPECT_EQ(ExactAuc(std::vector<float>{1, 2}, std::vector<std::uint8_t>{0, 0}), std::nullopt);
  EXPECT_EQ(ExactAuc(std::vector<float>{1, 2}, std::vector<std::uint8_t>{1, 1}), std::nullopt);
}

TEST(ExactAuc, DoesNotDependOnTheOrderOfRows) {
  Rows rows = RandomRows(7, 5000, 50);
  const std::optional<double> before = ExactAuc(rows.logits, rows.labels);
  std::reverse(rows.logits.begin(), rows.logits.end());
  std::reverse(rows.labels.begin(), rows.labels.end());
  EXPECT_EQ(ExactAuc(rows.logits, rows.labels), before);
}

TEST(ExactAuc, ManyRowsOfAKnownDistribution) {
  // Positives are normal with mean 1, negatives with mean 0: AUC = Phi(1 / sqrt(2)).
  Rng rng(3, 0);
  Rows rows;
  constexpr int kRows = 1'000'000;
  for (int i = 0; i < kRows; ++i) {
    rows.labels.push_back(i % 4 == 0);
    rows.logits.push_back(static_cast<float>(rng.NextNormal() + (i % 4 == 0 ? 1 : 0)));
  }
  const double expected = 0.5 * std::erfc(-0.5);
  EXPECT_THAT(ExactAuc(rows.logits, rows.labels), Optional(DoubleNear(expected, 0.002)));
}

TEST(LogLoss, IsMinusTheLogOfTheProbability) {
  for (const double z : {-30.0, -3.0, -0.5, 0.0, 1e-4, 2.0, 20.0}) {
    const double p = 1 / (1 + std::exp(-static_cast<double>(static_cast<float>(z))));
    EXPECT_NEAR(RowLogLoss(static_cast<float>(z), true), -std::log(p), 1e-9 * (1 + std::abs(z)));
    EXPECT_NEAR(RowLogLoss(static_cast<float>(-z), false), -std::log(p), 1e-9 * (1 + std::abs(z)));
  }
  EXPECT_DOUBLE_EQ(RowLogLoss(0, true), std::log(2.0));
}

TEST(LogLoss, HugeLogitsCostTheirSizeOrNothing) {
  EXPECT_DOUBLE_EQ(RowLogLoss(3e38f, false), static_cast<double>(3e38f));
  EXPECT_EQ(RowLogLoss(3e38f, true), 0.0);
  EXPECT_EQ(RowLogLoss(kInfinity, true), 0.0);
  EXPECT_EQ(RowLogLoss(-kInfinity, false), 0.0);
  EXPECT_EQ(RowLogLoss(-kInfinity, true), std::numeric_limits<double>::infinity());
}

TEST(LogLoss, IsTheMeanOverRows) {
  const std::vector<float> logits = {1, -2, 0.5f};
  const std::vector<std::uint8_t> labels = {1, 0, 0};
  const double sum = RowLogLoss(1, true) + RowLogLoss(-2, false) + RowLogLoss(0.5f, false);
  EXPECT_DOUBLE_EQ(LogLoss(logits, labels), sum / 3);
  EXPECT_EQ(LogLoss({}, {}), 0.0);
}

TEST(ComputeMetrics, CountsRowsAndPositives) {
  const auto metrics =
      ComputeMetrics(std::vector<float>{1, -2, 0.5f}, std::vector<std::uint8_t>{1, 0, 0});
  ASSERT_TRUE(metrics.ok()) << metrics.status();
  EXPECT_EQ(metrics->rows, 3u);
  EXPECT_EQ(metrics->positives, 1u);
  EXPECT_EQ(metrics->auc, 1.0);
}

TEST(ComputeMetrics, RefusesNotANumberAndUnequalLengths) {
  const auto nan =
      ComputeMetrics(std::vector<float>{1, std::nanf("")}, std::vector<std::uint8_t>{1, 0});
  EXPECT_THAT(nan.status().message(), HasSubstr("row 1"));
  EXPECT_FALSE(ComputeMetrics(std::vector<float>{1}, {}).ok());
}

TEST(ComputeMetrics, OneLabelLeavesAucUndefined) {
  const auto metrics = ComputeMetrics(std::vector<float>{1, 2}, std::vector<std::uint8_t>{1, 1});
  ASSERT_TRUE(metrics.ok());
  EXPECT_EQ(metrics->auc, std::nullopt);
  EXPECT_GT(metrics->logloss, 0);
}

}  // namespace
}  // namespace cairn::worker
