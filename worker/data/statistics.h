// One counting pass over the training files, for what a job must know of them before it trains:
//
//   density     FeatureConfig.density = ln(rows / e^H), H = -sum_v p_v ln p_v over the feature's
//               values. A missing value is a value; rare ones (min_count) are one; a sequence
//               counts all its values; a plain number has H = 0.
//   vocabulary  for features with min_count > 1: the keys of the table that occur so often in all
//               features of the table together. Missing values are in no vocabulary.
//
// Counts are exact and in memory: 32 to 64 bytes for each different value of each feature counted.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "common/base/status.h"
#include "worker/features/vocabulary.h"

namespace cairn::proto {
class JobConfig;
}  // namespace cairn::proto

namespace cairn::worker {

struct Statistics {
  std::uint64_t rows = 0;
  std::uint64_t bad_rows = 0;   // left out, with data.bad_row: SKIP
  std::vector<double> density;  // [features]; of those that are not counted: NaN
  Vocabulary vocabulary;
};

// Whether the model needs the density of a feature that has none: mgdin, where it orders or reveals
// fields by density.
bool NeedsDensity(const proto::JobConfig& job);

// Counts what NeedsDensity and NeedsVocabulary ask for. `job` is effective. Errors as Dataset's.
Result<Statistics> CountStatistics(const proto::JobConfig& job);

}  // namespace cairn::worker
