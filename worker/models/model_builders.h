// The builders that the catalogue in models.cc lists.
#pragma once

#include "worker/models/model.h"
#include "worker/nn/graph.h"

namespace cairn::worker {

Result<nn::Tensor> BuildDlf(const proto::ModelConfig& config, const ModelContext& context,
                            nn::GraphBuilder& graph);
Result<nn::Tensor> BuildLr(const proto::ModelConfig& config, const ModelContext& context,
                           nn::GraphBuilder& graph);

}  // namespace cairn::worker
