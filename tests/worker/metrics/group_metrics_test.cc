#include "worker/metrics/group_metrics.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "common/math/rng.h"
#include "worker/metrics/binary_metrics.h"

namespace cairn::worker {
namespace {

using Labels = std::vector<std::uint8_t>;
using Groups = std::vector<std::uint64_t>;

// User 1: 3 right of 4 pairs. User 2: one pair, tied. User 3: one label. User 4: one pair, right.
TEST(GroupMetrics, HandComputed) {
  const std::vector<float> logits = {0.9f, 0.2f, 0.1f, 0.5f, 7, 7, 1, 2, 3, -1};
  const Labels labels = {1, 1, 0, 0, 1, 0, 1, 1, 1, 0};
  const Groups groups = {1, 1, 1, 1, 2, 2, 3, 3, 4, 4};
  const auto metrics = ComputeGroupMetrics(logits, labels, groups);
  ASSERT_TRUE(metrics.has_value());
  EXPECT_EQ(metrics->groups, 3u);
  EXPECT_EQ(metrics->rows, 8u);
  EXPECT_DOUBLE_EQ(metrics->gauc, (4 * 0.75 + 2 * 0.5 + 2 * 1) / 8);
  EXPECT_DOUBLE_EQ(metrics->pairwise, (0.75 + 0 + 1) / 3);
}

TEST(GroupMetrics, NothingToRank) {
  EXPECT_FALSE(ComputeGroupMetrics({}, {}, {}).has_value());
  EXPECT_FALSE(
      ComputeGroupMetrics(std::vector<float>{1, 2}, Labels{1, 0}, Groups{1, 2}).has_value());
}

TEST(GroupMetrics, InfiniteScoresAndBothZeros) {
  const float inf = std::numeric_limits<float>::infinity();
  const auto ranked =
      ComputeGroupMetrics(std::vector<float>{inf, -inf, -0.0f}, Labels{1, 0, 0}, Groups{5, 5, 5});
  EXPECT_EQ(ranked->pairwise, 1);
  const auto tied =
      ComputeGroupMetrics(std::vector<float>{-0.0f, 0.0f}, Labels{1, 0}, Groups{5, 5});
  EXPECT_EQ(tied->gauc, 0.5);
  EXPECT_EQ(tied->pairwise, 0);
}

TEST(GroupMetrics, OneGroupIsTheAuc) {
  Rng rng(3, 0);
  std::vector<float> logits;
  Labels labels;
  for (int i = 0; i < 999; ++i) {
    logits.push_back(static_cast<float>(rng.NextBelow(50)));
    labels.push_back(rng.NextBelow(3) == 0);
  }
  const auto metrics = ComputeGroupMetrics(logits, labels, Groups(999, 4));
  EXPECT_NEAR(metrics->gauc, *ExactAuc(logits, labels), 1e-15);
  EXPECT_LT(metrics->pairwise, metrics->gauc) << "ties count half in one, nothing in the other";
}

TEST(GroupMetrics, OrderOfRowsDoesNotMatter) {
  const std::vector<float> a = {1, 2, 3, 4}, b = {4, 3, 2, 1};
  const auto first = ComputeGroupMetrics(a, Labels{0, 1, 1, 0}, Groups{1, 2, 1, 2});
  const auto second = ComputeGroupMetrics(b, Labels{0, 1, 1, 0}, Groups{2, 1, 2, 1});
  EXPECT_EQ(first->gauc, second->gauc);
  EXPECT_EQ(first->pairwise, 0.5);
}

TEST(ComputeMetrics, TakesGroupsWhereThereAreSome) {
  const std::vector<float> logits = {1, 2, 3, 4};
  const Labels labels = {0, 1, 1, 0};
  const auto without = ComputeMetrics(logits, labels);
  ASSERT_TRUE(without.ok());
  EXPECT_FALSE(without->gauc.has_value());
  const auto with = ComputeMetrics(logits, labels, Groups{1, 1, 2, 2});
  ASSERT_TRUE(with.ok());
  EXPECT_EQ(with->gauc, 0.5);
  EXPECT_EQ(with->pairwise, 0.5);
  EXPECT_EQ(with->auc, 0.5);
  EXPECT_EQ(ComputeMetrics(logits, labels, Groups{1}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace cairn::worker
