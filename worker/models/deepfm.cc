// DeepFM (Guo et al. 2017), equation 1: a factorization machine and an MLP over the same
// embeddings,
//
//   logit = y_FM + y_DNN,  y_FM as in fm.cc,  y_DNN = MLP([e_1, ..., e_F])
//
// docs/models/deepfm.md
#include "proto/config.pb.h"
#include "worker/layers/mlp.h"
#include "worker/layers/pairwise.h"
#include "worker/models/fields.h"
#include "worker/models/model_builders.h"
#include "worker/nn/ops/arithmetic.h"
#include "worker/nn/ops/embedding.h"

namespace cairn::worker {

using nn::Tensor;

Result<Tensor> BuildDeepfm(const proto::ModelConfig& model, const ModelContext& context,
                           nn::GraphBuilder& graph) {
  ASSIGN_OR_RETURN(const ModelFields fields,
                   SortFields({.model = "deepfm", .linear = true}, context.fields));
  ASSIGN_OR_RETURN(const Tensor first, FirstOrder(graph, fields.linear, /*with_bias=*/true));
  ASSIGN_OR_RETURN(const Tensor e, nn::FieldEmbeddings(graph, fields.inputs));
  ASSIGN_OR_RETURN(const Tensor second, layers::PairwiseSum(graph, "second", e));
  const auto mlp = layers::Mlp::FromConfig(model.deepfm().mlp(), {300, 300, 300});
  ASSIGN_OR_RETURN(const Tensor deep, mlp(graph, "mlp", e));

  ASSIGN_OR_RETURN(const Tensor fm, nn::Add(graph, "fm", first, second));
  return nn::Add(graph, "logit", fm, deep);
}

}  // namespace cairn::worker
