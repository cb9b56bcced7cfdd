// Factorization machine (Rendle 2010), equation 1:
//
//   logit = w_0 + sum over fields of w_i + sum over pairs of fields of <e_i, e_j>
//
// w_i, a row of width 1, and e_i, a row of width d, belong to the field's value; a numeric field
// has its number times a learned weight or vector. docs/models/fm.md
#include "worker/layers/pairwise.h"
#include "worker/models/fields.h"
#include "worker/models/model_builders.h"
#include "worker/nn/ops/arithmetic.h"
#include "worker/nn/ops/embedding.h"

namespace cairn::worker {

using nn::Tensor;

Result<Tensor> BuildFm(const proto::ModelConfig&, const ModelContext& context,
                       nn::GraphBuilder& graph) {
  ASSIGN_OR_RETURN(const ModelFields fields,
                   SortFields({.model = "fm", .linear = true}, context.fields));
  ASSIGN_OR_RETURN(const Tensor first, FirstOrder(graph, fields.linear, /*with_bias=*/true));
  ASSIGN_OR_RETURN(const Tensor e, nn::FieldEmbeddings(graph, fields.inputs));
  ASSIGN_OR_RETURN(const Tensor second, layers::PairwiseSum(graph, "second", e));
  return nn::Add(graph, "logit", first, second);
}

}  // namespace cairn::worker
