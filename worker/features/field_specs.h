// What model and reader must know of the inputs of a job.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "worker/data/batch.h"

namespace cairn::proto {
class FeatureConfig;
class JobConfig;
}  // namespace cairn::proto

namespace cairn::worker {

// One spec per feature, in job order. `effective`: names expanded, every table listed in `table`,
// targets known (CHECKed). A numeric feature with a bucket_width is categorical, and so is a CROSS.
// The learned vector of a numeric field has width 1 if it is a first-order weight; else that of the
// tables of the features that are none if they all have one width, else table_defaults.dim.
std::vector<FieldSpec> FieldSpecs(const proto::JobConfig& effective);

// Whether the feature enters the model as a number: NUMERIC without a bucket_width.
bool IsNumeric(const proto::FeatureConfig& feature);

// Index of a table in job.table; CHECKs that it is there.
std::size_t TableIndex(const proto::JobConfig& effective, std::string_view table);

// A column that a text of each row comes from.
struct InputColumn {
  std::string column;  // empty: the text is not read
  std::string reader;  // for messages: `feature "age"`
};

// The texts that FeatureParser::AddRow takes, in its order: one of each feature (empty for a
// CROSS), then one for each numeric.until.
std::vector<InputColumn> InputColumns(const proto::JobConfig& effective);

}  // namespace cairn::worker
