// The job's fields, sorted by what a model does with them.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "worker/data/batch.h"
#include "worker/nn/graph.h"

namespace cairn::worker {

struct ModelFields {
  std::vector<FieldSpec> inputs;     // one vector each
  std::vector<FieldSpec> histories;  // in job order
  std::vector<FieldSpec> linear;     // first-order weights, one float each
};

// What a model can do with.
struct FieldNeeds {
  std::string_view model;
  bool histories = false;  // reads histories, and needs at least one
  bool linear = false;     // has first-order weights, and needs at least one
};

// InvalidArgument, naming the model and the feature, where the job has features that the model
// would not read or lacks features that it needs. At least one of `inputs` is needed by all.
Result<ModelFields> SortFields(const FieldNeeds& needs, std::span<const FieldSpec> fields);

// InvalidArgument if one of the fields is a history.
Status RefuseHistories(std::string_view model, std::span<const FieldSpec> fields);

// Sum of the first-order weights, plus a parameter "bias" if wanted: [1].
Result<nn::Tensor> FirstOrder(nn::GraphBuilder& graph, std::span<const FieldSpec> linear,
                              bool with_bias);

}  // namespace cairn::worker
