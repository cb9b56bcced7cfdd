// DLF, profile A: the released code of "Dynamic Low-Order-Aware Fusion" (arXiv 2505.19182).
// Equations and names: reference section 3.3; docs/models/dlf.md maps each to a line here.
//
//   E^(1) [F, d]: one embedding per field.        N = tokens of E^(l): F for l = 1, then n_o.
//   X0  = P^T E^(1)                               none where N = F
//   Z_C = MLP(LN(vec(E  (E^T Y_C))))              high-rank block,  [block_tokens, d]
//   Z_L = MLP(LN(vec(X0 (E^T Y_L))))              low-rank block,   [block_tokens, d]
//   Z_D = W_D^T E                                 implicit block,   [implicit_tokens, d]
//   E^(l+1) = LN_d([Z_C ; Z_L ; Z_D] + R^T E)     R none where N = n_o
//   logit = MLP(vec(E^(L+1)))
#include "proto/config.pb.h"
#include "worker/layers/dense.h"
#include "worker/layers/mlp.h"
#include "worker/models/model_builders.h"
#include "worker/nn/ops/arithmetic.h"
#include "worker/nn/ops/embedding.h"
#include "worker/nn/ops/row_product.h"
#include "worker/nn/ops/shape.h"

namespace cairn::worker {
namespace {

using nn::GraphBuilder;
using nn::Tensor;

// One multiplicative block: MLP(LN(vec(left (E^T Y)))), [block_tokens, d].
Result<Tensor> MultiplicativeBlock(GraphBuilder& graph, const std::string& prefix,
                                   const proto::DlfConfig& config, const Tensor& left,
                                   const Tensor& e) {
  const std::uint32_t dim = e.dims[1];
  ASSIGN_OR_RETURN(
      const nn::Parameter y,
      graph.AddParameter(
          {.name = prefix + ".compress", .dims = {e.dims[0], config.rank()}, .is_weight = true},
          nn::Init::KaimingUniform(config.rank())),
      prefix);
  ASSIGN_OR_RETURN(Tensor gram, nn::CompressedGram(graph, prefix, left, e, y), prefix);
  ASSIGN_OR_RETURN(gram, nn::Reshape(gram, {static_cast<std::uint32_t>(gram.Size())}), prefix);
  ASSIGN_OR_RETURN(gram, layers::LayerNorm(graph, prefix + ".norm", gram), prefix);
  const layers::Mlp mlp{.hidden = {config.hidden()},
                        .outputs = config.block_tokens() * dim,
                        .dropout = config.dropout()};
  ASSIGN_OR_RETURN(const Tensor z, mlp(graph, prefix + ".mlp", gram), prefix);
  return nn::Reshape(z, {config.block_tokens(), dim});
}

// E^(l) -> E^(l+1).
Result<Tensor> Layer(GraphBuilder& graph, const std::string& prefix, const proto::DlfConfig& config,
                     const Tensor& first, const Tensor& e) {
  Tensor x0 = first;
  if (first.dims[0] != e.dims[0]) {
    ASSIGN_OR_RETURN(x0, layers::MixTokens(graph, prefix + ".project", first, e.dims[0]), prefix);
  }
  ASSIGN_OR_RETURN(const Tensor high, MultiplicativeBlock(graph, prefix + ".high", config, e, e),
                   prefix);
  ASSIGN_OR_RETURN(const Tensor low, MultiplicativeBlock(graph, prefix + ".low", config, x0, e),
                   prefix);
  ASSIGN_OR_RETURN(const Tensor implicit,
                   layers::MixTokens(graph, prefix + ".implicit", e, config.implicit_tokens()),
                   prefix);
  const Tensor blocks[] = {high, low, implicit};
  ASSIGN_OR_RETURN(Tensor sum, nn::ConcatTokens(graph, prefix + ".join", blocks), prefix);

  Tensor residual = e;
  if (e.dims[0] != sum.dims[0]) {
    ASSIGN_OR_RETURN(residual, layers::MixTokens(graph, prefix + ".residual", e, sum.dims[0]),
                     prefix);
  }
  ASSIGN_OR_RETURN(sum, nn::Add(graph, prefix + ".add", sum, residual), prefix);
  return layers::LayerNorm(graph, prefix + ".norm", sum);
}

}  // namespace

Result<Tensor> BuildDlf(const proto::ModelConfig& model, const ModelContext& context,
                        GraphBuilder& graph) {
  const proto::DlfConfig& config = model.dlf();
  ASSIGN_OR_RETURN(const Tensor first, nn::FieldEmbeddings(graph, context.fields), "dlf");
  Tensor e = first;
  for (std::uint32_t l = 1; l <= config.layers(); ++l) {
    ASSIGN_OR_RETURN(e, Layer(graph, StrCat("layer", l), config, first, e), "dlf");
  }
  const layers::Mlp head{.hidden = {config.head_hidden()}, .dropout = config.dropout()};
  return head(graph, "head", e);
}

}  // namespace cairn::worker
