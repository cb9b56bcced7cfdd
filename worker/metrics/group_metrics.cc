#include "worker/metrics/group_metrics.h"

#include <algorithm>
#include <tuple>
#include <vector>

#include "glog/logging.h"

namespace cairn::worker {
namespace {

struct Row {
  std::uint64_t group;
  float logit;
  bool is_positive;
};

// Pairs (positive, negative) of one group.
struct Pairs {
  std::uint64_t right = 0;  // the positive one has the larger score
  std::uint64_t tied = 0;
  std::uint64_t all = 0;
};

// `rows` ascend by logit.
Pairs CountPairs(std::span<const Row> rows) {
  Pairs pairs;
  std::uint64_t labels[2] = {0, 0};
  for (std::size_t i = 0; i < rows.size();) {
    const float logit = rows[i].logit;
    std::uint64_t tied[2] = {0, 0};
    for (; i < rows.size() && rows[i].logit == logit; ++i) ++tied[rows[i].is_positive ? 1 : 0];
    pairs.right += tied[1] * labels[0];
    pairs.tied += tied[1] * tied[0];
    labels[0] += tied[0];
    labels[1] += tied[1];
  }
  pairs.all = labels[0] * labels[1];
  return pairs;
}

}  // namespace

std::optional<GroupMetrics> ComputeGroupMetrics(std::span<const float> logits,
                                                std::span<const std::uint8_t> labels,
                                                std::span<const std::uint64_t> groups) {
  CHECK_EQ(logits.size(), labels.size());
  CHECK_EQ(logits.size(), groups.size());
  std::vector<Row> rows(logits.size());
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = {groups[i], logits[i], labels[i] != 0};
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
    return std::tie(a.group, a.logit) < std::tie(b.group, b.logit);
  });
  GroupMetrics metrics;
  for (std::size_t begin = 0, end = 0; begin < rows.size(); begin = end) {
    while (end < rows.size() && rows[end].group == rows[begin].group) ++end;
    const Pairs pairs = CountPairs(std::span(rows).subspan(begin, end - begin));
    if (pairs.all == 0) continue;
    const auto all = static_cast<double>(pairs.all);
    const auto n = static_cast<double>(end - begin);
    metrics.gauc +=
        n * (static_cast<double>(pairs.right) + static_cast<double>(pairs.tied) / 2) / all;
    metrics.pairwise += static_cast<double>(pairs.right) / all;
    ++metrics.groups;
    metrics.rows += end - begin;
  }
  if (metrics.groups == 0) return std::nullopt;
  metrics.gauc /= static_cast<double>(metrics.rows);
  metrics.pairwise /= static_cast<double>(metrics.groups);
  return metrics;
}

}  // namespace cairn::worker
