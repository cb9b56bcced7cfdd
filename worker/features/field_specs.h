// What the model must know of the inputs of a job.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "worker/data/batch.h"

namespace cairn::proto {
class FeatureConfig;
class JobConfig;
}  // namespace cairn::proto

namespace cairn::worker {

// One spec per feature, in job order. `effective`: names expanded, every table listed in `table`
// (CHECKed). A numeric feature with a bucket_width is categorical. The learned vector of a numeric
// field has the width of the job's tables if all have one width, else table_defaults.dim.
std::vector<FieldSpec> FieldSpecs(const proto::JobConfig& effective);

// Whether the feature enters the model as a number: NUMERIC without a bucket_width.
bool IsNumeric(const proto::FeatureConfig& feature);

// Index of a table in job.table; CHECKs that it is there.
std::size_t TableIndex(const proto::JobConfig& effective, std::string_view table);

}  // namespace cairn::worker
