// DLF: "Dynamic Low-Order-Aware Fusion" (arXiv 2505.19182). docs/models/dlf.md maps the paper, the
// released code and our choices to these lines; dlf_parts.cc holds the blocks and the fusion.
//
//   E^(1) [F, d]: one embedding per field.        N = tokens of E^(l): F for l = 1, then n_o.
//   X0  = P^T E^(1)                               none where N = F
//   Z_C = MLP(LN(vec(E  (E^T Y_C))))              high-rank block,  [block_tokens, d]
//   Z_L = MLP(LN(vec(X0 (E^T Y_L))))              low-rank block,   [block_tokens, d]
//   Z_D = W_D^T E                                 implicit block,   [implicit_tokens, d]
//   Z   = [Z_C ; Z_L ; Z_D]                       profile A; profile P:
//         [U_C ; U_L ; U_D], U_s = Z_s + MHA_s(query Z_s, key and value [Z_C ; Z_L ; Z_D])
//   E^(l+1) = LN_d(Z + R^T (g * E))               R none where N = n_o
//         g = 1 in profile A, max(1e-6, E W_g) in profile P
//   logit = MLP(vec(E^(L+1)))
#include "proto/config.pb.h"
#include "worker/layers/dense.h"
#include "worker/layers/mlp.h"
#include "worker/models/dlf_parts.h"
#include "worker/models/fields.h"
#include "worker/models/model_builders.h"
#include "worker/nn/ops/activation.h"
#include "worker/nn/ops/arithmetic.h"
#include "worker/nn/ops/embedding.h"

namespace cairn::worker {
namespace {

using nn::GraphBuilder;
using nn::Tensor;

constexpr double kGateFloor = 1e-6;

// g * E, where the residual is gated.
Result<Tensor> Gated(GraphBuilder& graph, const std::string& prefix, dlf::Residual residual,
                     const Tensor& e) {
  if (residual != dlf::Residual::kFloorGate && residual != dlf::Residual::kSigmoidGate) return e;
  ASSIGN_OR_RETURN(Tensor gate, layers::TokenLinear(graph, prefix, e, e.dims[1], /*bias=*/false),
                   prefix);
  gate = residual == dlf::Residual::kFloorGate
             ? nn::Floor(graph, prefix + ".floor", gate, kGateFloor)
             : nn::Sigmoid(graph, prefix + ".sigmoid", gate);
  return nn::Multiply(graph, prefix + ".multiply", gate, e);
}

// z + R^T (g * E).
Result<Tensor> AddResidual(GraphBuilder& graph, const std::string& prefix, dlf::Residual residual,
                           const Tensor& z, const Tensor& e) {
  if (residual == dlf::Residual::kNone) return z;
  ASSIGN_OR_RETURN(Tensor kept, Gated(graph, prefix + ".gate", residual, e), prefix);
  if (e.dims[0] != z.dims[0]) {
    ASSIGN_OR_RETURN(kept, layers::MixTokens(graph, prefix + ".residual", kept, z.dims[0]), prefix);
  }
  return nn::Add(graph, prefix + ".add", z, kept);
}

// E^(l) -> E^(l+1).
Result<Tensor> Layer(GraphBuilder& graph, const std::string& prefix, const dlf::Options& options,
                     const Tensor& first, const Tensor& e) {
  ASSIGN_OR_RETURN(const std::vector<dlf::Stream> streams,
                   dlf::Streams(graph, prefix, options, first, e), prefix);
  ASSIGN_OR_RETURN(const Tensor z, dlf::Fuse(graph, prefix, options, streams), prefix);
  ASSIGN_OR_RETURN(const Tensor sum, AddResidual(graph, prefix, options.residual, z, e), prefix);
  return layers::LayerNorm(graph, prefix + ".norm", sum);
}

}  // namespace

Result<Tensor> BuildDlf(const proto::ModelConfig& model, const ModelContext& context,
                        GraphBuilder& graph) {
  const proto::DlfConfig& config = model.dlf();
  ASSIGN_OR_RETURN(const ModelFields fields, SortFields({.model = "dlf"}, context.fields));
  ASSIGN_OR_RETURN(const Tensor first, nn::FieldEmbeddings(graph, fields.inputs));
  ASSIGN_OR_RETURN(const dlf::Options options, dlf::Resolve(config, first.dims[0], first.dims[1]));
  Tensor e = first;
  for (std::uint32_t l = 1; l <= config.layers(); ++l) {
    ASSIGN_OR_RETURN(e, Layer(graph, StrCat("layer", l), options, first, e));
  }
  const layers::Mlp head{.hidden = {config.head_hidden()},
                         .batch_norm = config.batch_norm(),
                         .dropout = config.dropout()};
  return head(graph, "head", e);
}

}  // namespace cairn::worker
