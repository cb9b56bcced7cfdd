// Logistic regression: logit = bias + sum over fields of the value's weight, a row of width 1.
// docs/models/lr.md
#include "worker/models/model_builders.h"
#include "worker/nn/ops/embedding.h"
#include "worker/nn/ops/shape.h"

namespace cairn::worker {

Result<nn::Tensor> BuildLr(const proto::ModelConfig&, const ModelContext& context,
                           nn::GraphBuilder& graph) {
  for (const FieldSpec& field : context.fields)
    if (field.dim != 1)
      return absl::InvalidArgumentError(StrCat("model lr needs tables with dim 1, but field '",
                                               field.name, "' has dim ", field.dim));
  ASSIGN_OR_RETURN(const nn::Tensor weights, nn::FieldEmbeddings(graph, context.fields), "lr");
  ASSIGN_OR_RETURN(const nn::Parameter bias,
                   graph.AddParameter({.name = "bias", .dims = {1}}, nn::Init::Constant(0)), "lr");
  return nn::SumTokens(graph, "lr", weights, bias);
}

}  // namespace cairn::worker
