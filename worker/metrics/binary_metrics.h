// Quality of scores against labels 0 and 1.
//
// AUC = share of the pairs (positive row, negative row) in which the positive one has the larger
// score, a tie counting half: the area under the ROC curve, exact, from a sort of all rows. Where
// all rows have one label there is no such pair and no AUC: it is std::nullopt, never a number.
// Log loss = mean over the rows of  max(z, 0) - z * y + log(1 + exp(-|z|))  for logit z and label
// y, which never overflows and needs no clipping of probabilities. In double.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "common/base/status.h"

namespace cairn::worker {

// `logits` are not NaN (infinite ones are fine); a label is positive unless 0. Both have the same
// length, at most 2^32 rows (CHECKed). Any monotone map of the logits gives the same value. Time
// and memory are linear (a radix sort, 16 bytes a row). Nothing for an empty span.
std::optional<double> ExactAuc(std::span<const float> logits, std::span<const std::uint8_t> labels);

// Log loss of one row.
double RowLogLoss(float logit, bool is_positive);

// Mean of RowLogLoss; 0 for an empty span.
double LogLoss(std::span<const float> logits, std::span<const std::uint8_t> labels);

struct BinaryMetrics {
  std::uint64_t rows = 0;
  std::uint64_t positives = 0;
  std::optional<double> auc;  // nothing unless both labels occur
  double logloss = 0;         // of natural logarithms; 0 without rows
  // See group_metrics.h; nothing without groups, or if none has both labels.
  std::optional<double> gauc;
  std::optional<double> pairwise;
};

// `groups`: one for each row, or empty. InvalidArgument when the lengths differ or a logit is NaN
// (with its position).
Result<BinaryMetrics> ComputeMetrics(std::span<const float> logits,
                                     std::span<const std::uint8_t> labels,
                                     std::span<const std::uint64_t> groups = {});

}  // namespace cairn::worker
