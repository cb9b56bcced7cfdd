// Logistic regression: logit = bias + sum over fields of the value's weight, a row of width 1.
// docs/models/lr.md
#include "worker/models/fields.h"
#include "worker/models/model_builders.h"

namespace cairn::worker {

// Every field is a first-order weight, whatever its role.
Result<nn::Tensor> BuildLr(const proto::ModelConfig&, const ModelContext& context,
                           nn::GraphBuilder& graph) {
  RETURN_IF_ERROR(RefuseHistories("lr", context.fields));
  for (const FieldSpec& field : context.fields)
    if (field.dim != 1)
      return absl::InvalidArgumentError(StrCat("model lr needs tables with dim 1, but field '",
                                               field.name, "' has dim ", field.dim));
  return FirstOrder(graph, context.fields, /*with_bias=*/true);
}

}  // namespace cairn::worker
