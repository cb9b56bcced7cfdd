// FinalMLP (Mao et al. 2023): two MLPs over gated embeddings, joined by a bilinear product. With
// e = [e_1, ..., e_F], the embeddings side by side:
//
//   g_i = 2 sigmoid(Gate_i(c_i)),  h_i = g_i * e             eq. 5, 6; c_i a learned vector
//   o_i = MLP_i(h_i)                                         eq. 3; its last hidden layer
//   logit = b + w_1^T o_1 + w_2^T o_2 + sum over heads of o_1h^T W_h o_2h      eq. 8, 10
//
// docs/models/finalmlp.md
#include "proto/config.pb.h"
#include "worker/layers/dense.h"
#include "worker/layers/mlp.h"
#include "worker/models/fields.h"
#include "worker/models/model_builders.h"
#include "worker/nn/ops/activation.h"
#include "worker/nn/ops/arithmetic.h"
#include "worker/nn/ops/embedding.h"
#include "worker/nn/ops/mix.h"
#include "worker/nn/ops/shape.h"

namespace cairn::worker {
namespace {

using nn::GraphBuilder;
using nn::Tensor;

// h_i, [F * d]. The context is a vector of an embedding's width, initially 0.
Result<Tensor> SelectFeatures(GraphBuilder& graph, const std::string& prefix,
                              const proto::FinalmlpConfig& config, const Tensor& e) {
  const auto size = static_cast<std::uint32_t>(e.Size());
  ASSIGN_OR_RETURN(const Tensor flat, nn::Reshape(e, {size}), prefix);
  if (!config.gating()) return flat;
  ASSIGN_OR_RETURN(
      const nn::Parameter context,
      graph.AddParameter({.name = prefix + ".context", .dims = {e.dims[1]}}, nn::Init::Constant(0)),
      prefix);
  const Tensor c = nn::Broadcast(graph, prefix + ".context", context);
  const auto gate = layers::Mlp::FromConfig(config.gate(), {800}, size);
  ASSIGN_OR_RETURN(Tensor g, gate(graph, prefix, c), prefix);
  g = nn::Scale(graph, prefix + ".twice", nn::Sigmoid(graph, prefix + ".sigmoid", g), 2);
  return nn::Multiply(graph, prefix + ".select", flat, g);
}

// sum over heads of o_1h^T W_h o_2h. "bilinear" [heads, width of o_1h, width of o_2h].
Result<Tensor> Bilinear(GraphBuilder& graph, std::uint32_t heads, const Tensor& o1,
                        const Tensor& o2) {
  const std::uint32_t width1 = o1.dims[0] / heads, width2 = o2.dims[0] / heads;
  const std::size_t size = std::size_t{heads} * width1 * width2;
  ASSIGN_OR_RETURN(
      const nn::Parameter weight,
      graph.AddParameter({.name = "bilinear", .dims = {heads, width1, width2}, .is_weight = true},
                         nn::Init::XavierNormal(size, 1)),
      "bilinear");
  ASSIGN_OR_RETURN(const Tensor left, nn::Reshape(o1, {heads, width1}), "bilinear");
  ASSIGN_OR_RETURN(const Tensor right, nn::Reshape(o2, {heads, width2}), "bilinear");
  ASSIGN_OR_RETURN(const Tensor mapped, nn::PerTokenLinear(graph, "bilinear", left, weight, {}),
                   "bilinear");
  ASSIGN_OR_RETURN(const Tensor product, nn::Multiply(graph, "bilinear.product", mapped, right),
                   "bilinear");
  return nn::Sum(graph, "bilinear.sum", product);
}

Status CheckHeads(std::uint32_t heads, const char* mlp, std::uint32_t width) {
  if (heads > 0 && width % heads == 0) return OkStatus();
  return absl::InvalidArgumentError(StrCat("model.finalmlp.heads: ", heads,
                                           " heads do not divide the last hidden width ", width,
                                           " of ", mlp));
}

}  // namespace

Result<Tensor> BuildFinalmlp(const proto::ModelConfig& model, const ModelContext& context,
                             GraphBuilder& graph) {
  const proto::FinalmlpConfig& config = model.finalmlp();
  const auto mlp1 = layers::Mlp::FromConfig(config.mlp1(), {400, 400, 400}, /*outputs=*/0);
  const auto mlp2 = layers::Mlp::FromConfig(config.mlp2(), {400, 400, 400}, /*outputs=*/0);
  RETURN_IF_ERROR(CheckHeads(config.heads(), "mlp1", mlp1.hidden.back()));
  RETURN_IF_ERROR(CheckHeads(config.heads(), "mlp2", mlp2.hidden.back()));
  ASSIGN_OR_RETURN(const ModelFields fields, SortFields({.model = "finalmlp"}, context.fields));
  ASSIGN_OR_RETURN(const Tensor e, nn::FieldEmbeddings(graph, fields.inputs));
  ASSIGN_OR_RETURN(const Tensor h1, SelectFeatures(graph, "gate1", config, e));
  ASSIGN_OR_RETURN(const Tensor h2, SelectFeatures(graph, "gate2", config, e));
  ASSIGN_OR_RETURN(const Tensor o1, mlp1(graph, "mlp1", h1));
  ASSIGN_OR_RETURN(const Tensor o2, mlp2(graph, "mlp2", h2));

  ASSIGN_OR_RETURN(const Tensor first, layers::Linear(graph, "linear1", o1, 1));
  ASSIGN_OR_RETURN(const Tensor second, layers::Linear(graph, "linear2", o2, 1));
  ASSIGN_OR_RETURN(const Tensor sum, nn::Add(graph, "linear", first, second));
  ASSIGN_OR_RETURN(const Tensor bilinear, Bilinear(graph, config.heads(), o1, o2));
  return nn::Add(graph, "logit", sum, bilinear);
}

}  // namespace cairn::worker
