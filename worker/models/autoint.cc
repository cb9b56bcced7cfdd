// AutoInt (Song et al. 2019): multi-head self-attention between fields. Layer l, E [F, d_l]:
//
//   A_h = softmax((E W_Q)_h (E W_K)_h^T)     eq. 5, 6; divided by sqrt(width / heads) with `scale`
//   O   = [A_1 (E W_V)_1, ..., A_H (E W_V)_H]           eq. 7; no biases
//   E'  = ReLU(O + E W_R)                               eq. 8; W_R the identity where d_l = width
//   logit = Linear(vec(E^(L)))                          eq. 9
//
// AutoInt+ adds MLP(vec(E^(0))), and first-order weights where `linear` is set.
// docs/models/autoint.md
#include "proto/config.pb.h"
#include "worker/layers/dense.h"
#include "worker/layers/mlp.h"
#include "worker/models/fields.h"
#include "worker/models/model_builders.h"
#include "worker/nn/ops/activation.h"
#include "worker/nn/ops/arithmetic.h"
#include "worker/nn/ops/attention.h"
#include "worker/nn/ops/embedding.h"

namespace cairn::worker {
namespace {

using nn::GraphBuilder;
using nn::Tensor;

// E^(l) -> E^(l+1): [F, width].
Result<Tensor> InteractingLayer(GraphBuilder& graph, const std::string& prefix,
                                const proto::AutointConfig& config, const Tensor& e) {
  const auto project = [&](const std::string& name) {
    return layers::TokenLinear(graph, prefix + name, e, config.width(), /*bias=*/false);
  };
  ASSIGN_OR_RETURN(const Tensor query, project(".query"), prefix);
  ASSIGN_OR_RETURN(const Tensor key, project(".key"), prefix);
  ASSIGN_OR_RETURN(const Tensor value, project(".value"), prefix);
  nn::AttentionOptions options;
  options.heads = static_cast<int>(config.heads());
  options.scale = config.scale() ? 0 : 1;  // 0: 1 / sqrt(width / heads)
  ASSIGN_OR_RETURN(Tensor out,
                   nn::Attention(graph, prefix + ".attention", query, key, value, options), prefix);
  if (config.residual()) {
    Tensor residual = e;
    if (e.dims[1] != config.width()) {
      ASSIGN_OR_RETURN(residual, project(".residual"), prefix);
    }
    ASSIGN_OR_RETURN(out, nn::Add(graph, prefix + ".add", out, residual), prefix);
  }
  return nn::Relu(graph, prefix + ".relu", out);
}

}  // namespace

Result<Tensor> BuildAutoint(const proto::ModelConfig& model, const ModelContext& context,
                            GraphBuilder& graph) {
  const proto::AutointConfig& config = model.autoint();
  if (config.heads() == 0 || config.width() % config.heads() != 0)
    return absl::InvalidArgumentError(StrCat("model.autoint.heads: ", config.heads(),
                                             " heads do not divide width ", config.width()));
  if (config.has_mlp() && config.mlp().hidden_size() == 0)
    return absl::InvalidArgumentError(
        "model.autoint.mlp: needs hidden layers, mlp { hidden: ... }; without them there is no "
        "MLP");
  ASSIGN_OR_RETURN(const ModelFields fields,
                   SortFields({.model = "autoint", .linear = config.linear()}, context.fields));
  ASSIGN_OR_RETURN(const Tensor first, nn::FieldEmbeddings(graph, fields.inputs));
  Tensor e = first;
  for (std::uint32_t l = 1; l <= config.layers(); ++l) {
    ASSIGN_OR_RETURN(e, InteractingLayer(graph, StrCat("layer", l), config, e));
  }
  ASSIGN_OR_RETURN(Tensor logit, layers::Linear(graph, "logit", e, 1));
  if (config.mlp().hidden_size() > 0) {
    const auto mlp = layers::Mlp::FromConfig(config.mlp(), {});
    ASSIGN_OR_RETURN(const Tensor deep, mlp(graph, "mlp", first));
    ASSIGN_OR_RETURN(logit, nn::Add(graph, "add_mlp", logit, deep));
  }
  if (config.linear()) {
    ASSIGN_OR_RETURN(const Tensor linear, FirstOrder(graph, fields.linear, /*with_bias=*/false));
    ASSIGN_OR_RETURN(logit, nn::Add(graph, "add_linear", logit, linear));
  }
  return logit;
}

}  // namespace cairn::worker
