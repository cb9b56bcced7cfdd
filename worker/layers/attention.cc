#include "worker/layers/attention.h"

#include "worker/layers/dense.h"
#include "worker/layers/mlp.h"
#include "worker/nn/ops/activation.h"
#include "worker/nn/ops/arithmetic.h"

namespace cairn::worker::layers {

using nn::Tensor;

Result<Tensor> MultiHeadAttention::operator()(nn::GraphBuilder& graph, const std::string& prefix,
                                              const Tensor& query, const Tensor& memory) const {
  if (query.dims.size() != 2 || memory.dims.size() != 2)
    return absl::InvalidArgumentError(StrCat("layer '", prefix, "' needs tokens [n, d]"));
  const std::uint32_t inner = width != 0 ? width : query.dims[1];
  if (heads < 1 || inner % heads != 0)
    return absl::InvalidArgumentError(
        StrCat("layer '", prefix, "': ", heads, " heads do not divide the width ", inner));
  ASSIGN_OR_RETURN(Tensor q, TokenLinear(graph, prefix + ".query", query, inner, bias), prefix);
  ASSIGN_OR_RETURN(Tensor k, TokenLinear(graph, prefix + ".key", memory, inner, bias), prefix);
  ASSIGN_OR_RETURN(const Tensor v, TokenLinear(graph, prefix + ".value", memory, inner, bias),
                   prefix);
  if (rotary) {
    ASSIGN_OR_RETURN(q, nn::Rotary(graph, prefix + ".query.rotary", q, heads), prefix);
    ASSIGN_OR_RETURN(k, nn::Rotary(graph, prefix + ".key.rotary", k, heads), prefix);
  }
  ASSIGN_OR_RETURN(
      const Tensor attended,
      nn::Attention(graph, prefix, q, k, v, {.heads = heads, .scale = scale, .mask = mask}),
      prefix);
  if (!output) return attended;
  return TokenLinear(graph, prefix + ".output", attended, query.dims[1], bias);
}

Result<Tensor> SelfGate(nn::GraphBuilder& graph, const std::string& prefix, const Tensor& x) {
  if (x.dims.size() != 2)
    return absl::InvalidArgumentError(StrCat("layer '", prefix, "' needs tokens [n, d]"));
  const Mlp mlp{.hidden = {x.dims[1]},
                .outputs = x.dims[1],
                .batch_norm = false,
                .activation = Activation::kSwish};
  ASSIGN_OR_RETURN(Tensor gate, mlp.PerToken(graph, prefix, x), prefix);
  gate = nn::Sigmoid(graph, prefix + ".sigmoid", gate);
  return nn::Multiply(graph, prefix, x, gate);
}

}  // namespace cairn::worker::layers
