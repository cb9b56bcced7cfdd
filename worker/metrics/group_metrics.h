// Quality of scores within groups of rows, usually the rows of one user.
//
// Only groups with both labels count: elsewhere there is no pair to rank.
//   gauc     = sum of n_g AUC_g over sum of n_g,  n_g = rows of group g    (FuxiCTR's gAUC)
//   pairwise = mean over groups of the share of the group's pairs (positive, negative) in which the
//              positive one has the larger score; a tie counts nothing. With one positive and one
//              negative row for each user it is the share of users whose positive scores higher.
// In double; infinite scores are fine.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace cairn::worker {

struct GroupMetrics {
  std::uint64_t groups = 0;  // with both labels
  std::uint64_t rows = 0;    // in them
  double gauc = 0;
  double pairwise = 0;
};

// Row i belongs to the group groups[i]; all three have one length (CHECKed). Logits are not NaN; a
// label is positive unless 0. Nothing if no group has both labels. O(n log n).
std::optional<GroupMetrics> ComputeGroupMetrics(std::span<const float> logits,
                                                std::span<const std::uint8_t> labels,
                                                std::span<const std::uint64_t> groups);

}  // namespace cairn::worker
