#include "worker/metrics/binary_metrics.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <utility>
#include <vector>

#include "glog/logging.h"
#include "worker/metrics/group_metrics.h"

namespace cairn::worker {
namespace {

// A row as 33 bits: its logit as an unsigned number of the same order, then its label.
std::uint64_t PackedRow(float logit, std::uint8_t label) {
  // + 0.0f makes -0 equal to +0.
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(logit + 0.0f);
  const std::uint32_t key = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return std::uint64_t{key} << 1 | (label != 0 ? 1u : 0u);
}

// Sorts by bits 1..33, least significant digit first; a pass whose digit is the same in all rows is
// left out.
void SortByLogit(std::vector<std::uint64_t>& rows) {
  constexpr int kDigitBits = 11;
  constexpr std::size_t kBuckets = std::size_t{1} << kDigitBits;
  std::vector<std::uint64_t> other(rows.size());
  for (int shift = 1; shift < 33; shift += kDigitBits) {
    std::array<std::size_t, kBuckets> start{};
    for (const std::uint64_t row : rows) ++start[(row >> shift) & (kBuckets - 1)];
    if (start[(rows.front() >> shift) & (kBuckets - 1)] == rows.size()) continue;
    std::size_t sum = 0;
    for (std::size_t& count : start) sum += std::exchange(count, sum);
    for (const std::uint64_t row : rows) other[start[(row >> shift) & (kBuckets - 1)]++] = row;
    rows.swap(other);
  }
}

}  // namespace

std::optional<double> ExactAuc(std::span<const float> logits,
                               std::span<const std::uint8_t> labels) {
  CHECK_EQ(logits.size(), labels.size());
  CHECK_LE(logits.size(), std::size_t{1} << 32);
  if (logits.empty()) return std::nullopt;
  std::vector<std::uint64_t> rows(logits.size());
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = PackedRow(logits[i], labels[i]);
  SortByLogit(rows);

  // Twice the number of pairs in the right order: at most 2 * 2^31 * 2^31.
  std::uint64_t twice_right = 0;
  std::uint64_t positives = 0;
  std::uint64_t negatives = 0;
  for (std::size_t i = 0; i < rows.size();) {
    const std::uint64_t key = rows[i] >> 1;
    std::uint64_t tied[2] = {0, 0};
    for (; i < rows.size() && rows[i] >> 1 == key; ++i) ++tied[rows[i] & 1];
    twice_right += tied[1] * (2 * negatives + tied[0]);
    negatives += tied[0];
    positives += tied[1];
  }
  if (positives == 0 || negatives == 0) return std::nullopt;
  return static_cast<double>(twice_right) / 2 /
         (static_cast<double>(positives) * static_cast<double>(negatives));
}

double RowLogLoss(float logit, bool is_positive) {
  const double z = logit;
  // An infinite logit of the right sign costs nothing: 0 * inf must not appear.
  const double linear = is_positive ? std::max(-z, 0.0) : std::max(z, 0.0);
  return linear + std::log1p(std::exp(-std::abs(z)));
}

double LogLoss(std::span<const float> logits, std::span<const std::uint8_t> labels) {
  CHECK_EQ(logits.size(), labels.size());
  if (logits.empty()) return 0;
  double sum = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) sum += RowLogLoss(logits[i], labels[i] != 0);
  return sum / static_cast<double>(logits.size());
}

Result<BinaryMetrics> ComputeMetrics(std::span<const float> logits,
                                     std::span<const std::uint8_t> labels,
                                     std::span<const std::uint64_t> groups) {
  if (logits.size() != labels.size()) {
    return absl::InvalidArgumentError(
        StrCat(logits.size(), " scores for ", labels.size(), " labels"));
  }
  if (!groups.empty() && groups.size() != labels.size()) {
    return absl::InvalidArgumentError(
        StrCat(groups.size(), " groups for ", labels.size(), " labels"));
  }
  const auto nan =
      std::find_if(logits.begin(), logits.end(), [](float z) { return std::isnan(z); });
  if (nan != logits.end()) {
    return absl::InvalidArgumentError(
        StrCat("the score of row ", nan - logits.begin(), " is not a number"));
  }
  BinaryMetrics metrics;
  metrics.rows = logits.size();
  metrics.positives = static_cast<std::uint64_t>(
      std::count_if(labels.begin(), labels.end(), [](std::uint8_t label) { return label != 0; }));
  metrics.auc = ExactAuc(logits, labels);
  metrics.logloss = LogLoss(logits, labels);
  if (groups.empty()) return metrics;
  if (const auto in_groups = ComputeGroupMetrics(logits, labels, groups)) {
    metrics.gauc = in_groups->gauc;
    metrics.pairwise = in_groups->pairwise;
  }
  return metrics;
}

}  // namespace cairn::worker
