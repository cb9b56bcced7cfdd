// DCN-V2 (Wang et al. 2021). With x_0 = [e_1, ..., e_F], the embeddings side by side:
//
//   x_{l+1} = x_0 * (W_l x_l + b_l) + x_l         eq. 1; * element by element
//   W_l = U_l V_l^T                               eq. 2, with low_rank
//   parallel:    logit = Linear([x_L, MLP(x_0)])  figure 1 (b)
//   stacked:     logit = Linear(MLP(x_L))         figure 1 (a)
//   cross only:  logit = Linear(x_L)
//
// The MLP ends with its last hidden layer. docs/models/dcnv2.md
#include "proto/config.pb.h"
#include "worker/layers/dense.h"
#include "worker/layers/mlp.h"
#include "worker/models/fields.h"
#include "worker/models/model_builders.h"
#include "worker/nn/ops/arithmetic.h"
#include "worker/nn/ops/embedding.h"
#include "worker/nn/ops/shape.h"

namespace cairn::worker {
namespace {

using nn::GraphBuilder;
using nn::Tensor;

// x_l -> x_{l+1}.
Result<Tensor> CrossLayer(GraphBuilder& graph, const std::string& prefix, std::uint32_t low_rank,
                          const Tensor& x0, const Tensor& x) {
  const std::uint32_t width = x0.dims[0];
  Tensor u = x;
  if (low_rank > 0) {
    ASSIGN_OR_RETURN(u, layers::Linear(graph, prefix + ".v", u, low_rank, /*bias=*/false), prefix);
  }
  ASSIGN_OR_RETURN(u, layers::Linear(graph, low_rank > 0 ? prefix + ".u" : prefix, u, width),
                   prefix);
  ASSIGN_OR_RETURN(u, nn::Multiply(graph, prefix + ".cross", x0, u), prefix);
  return nn::Add(graph, prefix + ".add", u, x);
}

}  // namespace

Result<Tensor> BuildDcnv2(const proto::ModelConfig& model, const ModelContext& context,
                          GraphBuilder& graph) {
  const proto::Dcnv2Config& config = model.dcnv2();
  ASSIGN_OR_RETURN(const ModelFields fields, SortFields({.model = "dcnv2"}, context.fields));
  ASSIGN_OR_RETURN(const Tensor e, nn::FieldEmbeddings(graph, fields.inputs));
  ASSIGN_OR_RETURN(const Tensor x0, nn::Reshape(e, {static_cast<std::uint32_t>(e.Size())}));
  if (config.low_rank() > x0.dims[0])
    return absl::InvalidArgumentError(StrCat("model.dcnv2.low_rank: ", config.low_rank(),
                                             " is more than the ", x0.dims[0],
                                             " values of all embeddings"));
  Tensor cross = x0;
  for (std::uint32_t l = 0; l < config.cross_layers(); ++l) {
    ASSIGN_OR_RETURN(cross, CrossLayer(graph, StrCat("cross", l), config.low_rank(), x0, cross));
  }
  const auto mlp = layers::Mlp::FromConfig(config.mlp(), {500, 500, 500}, /*outputs=*/0);
  Tensor last = cross;
  if (config.structure() == proto::Dcnv2Config::STACKED) {
    ASSIGN_OR_RETURN(last, mlp(graph, "mlp", cross));
  } else if (config.structure() == proto::Dcnv2Config::PARALLEL) {
    ASSIGN_OR_RETURN(const Tensor deep, mlp(graph, "mlp", x0));
    const Tensor both[] = {cross, deep};
    ASSIGN_OR_RETURN(last, nn::ConcatFeatures(graph, "join", both));
  }
  return layers::Linear(graph, "logit", last, 1);
}

}  // namespace cairn::worker
