// The builders that the catalogue in models.cc lists.
#pragma once

#include "worker/models/model.h"
#include "worker/nn/graph.h"

namespace cairn::worker {

Result<nn::Tensor> BuildAutoint(const proto::ModelConfig& config, const ModelContext& context,
                                nn::GraphBuilder& graph);
Result<nn::Tensor> BuildDcnv2(const proto::ModelConfig& config, const ModelContext& context,
                              nn::GraphBuilder& graph);
Result<nn::Tensor> BuildDeepfm(const proto::ModelConfig& config, const ModelContext& context,
                               nn::GraphBuilder& graph);
Result<nn::Tensor> BuildDin(const proto::ModelConfig& config, const ModelContext& context,
                            nn::GraphBuilder& graph);
Result<nn::Tensor> BuildDlf(const proto::ModelConfig& config, const ModelContext& context,
                            nn::GraphBuilder& graph);
Result<nn::Tensor> BuildFinalmlp(const proto::ModelConfig& config, const ModelContext& context,
                                 nn::GraphBuilder& graph);
Result<nn::Tensor> BuildFm(const proto::ModelConfig& config, const ModelContext& context,
                           nn::GraphBuilder& graph);
Result<nn::Tensor> BuildInterformer(const proto::ModelConfig& config, const ModelContext& context,
                                    nn::GraphBuilder& graph);
Result<nn::Tensor> BuildLr(const proto::ModelConfig& config, const ModelContext& context,
                           nn::GraphBuilder& graph);
Result<nn::Tensor> BuildMgdin(const proto::ModelConfig& config, const ModelContext& context,
                              nn::GraphBuilder& graph);

}  // namespace cairn::worker
