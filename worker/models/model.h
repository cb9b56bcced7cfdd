// A model is a static graph over named dense parameters and the embeddings of the job's fields. It
// is built once for a job, checks all shapes then, and maps [rows, fields] of embeddings to one
// logit per row.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "worker/data/batch.h"

namespace cairn::proto {
class ModelConfig;
}  // namespace cairn::proto

namespace cairn::worker {

namespace nn {
class GraphBuilder;
struct Tensor;
}  // namespace nn

// What a model is built from.
struct ModelContext {
  std::vector<FieldSpec> fields;
  std::uint64_t seed = 0;  // dense initial values and dropout are functions of it
};

// Adds the model's parameters and ops to `graph` and returns the logit tensor, [1] per row.
// InvalidArgument when the job does not fit (no fields, unequal dimensions, ...), naming field and
// value.
using BuildModel = Result<nn::Tensor> (*)(const proto::ModelConfig& config,
                                          const ModelContext& context, nn::GraphBuilder& graph);

struct ModelEntry {
  std::string_view name;  // the field's name in ModelConfig.kind
  BuildModel build;
};

// Sorted by name.
std::span<const ModelEntry> Models();

// The entry of the kind that is set in `config`; InvalidArgument, listing the known names, if none
// is.
Result<const ModelEntry*> FindModel(const proto::ModelConfig& config);

}  // namespace cairn::worker
