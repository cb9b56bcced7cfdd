#include "worker/models/dlf_parts.h"

#include "worker/layers/attention.h"
#include "worker/layers/dense.h"
#include "worker/layers/mlp.h"
#include "worker/nn/ops/activation.h"
#include "worker/nn/ops/arithmetic.h"
#include "worker/nn/ops/row_product.h"
#include "worker/nn/ops/shape.h"

namespace cairn::worker::dlf {
namespace {

using nn::GraphBuilder;
using nn::Tensor;

layers::Mlp BlockMlp(const Options& options, std::uint32_t outputs) {
  return {.hidden = {options.hidden},
          .outputs = outputs,
          .batch_norm = options.batch_norm,
          .dropout = options.dropout};
}

// vec(x) -> LN -> MLP -> [rows, columns].
Result<Tensor> NormalisedMlp(GraphBuilder& graph, const std::string& prefix, const Options& options,
                             const Tensor& x, std::uint32_t rows, std::uint32_t columns) {
  ASSIGN_OR_RETURN(Tensor v, nn::Reshape(x, {static_cast<std::uint32_t>(x.Size())}), prefix);
  ASSIGN_OR_RETURN(v, layers::LayerNorm(graph, prefix + ".norm", v), prefix);
  const layers::Mlp mlp = BlockMlp(options, rows * columns);
  ASSIGN_OR_RETURN(const Tensor z, mlp(graph, prefix + ".mlp", v), prefix);
  return nn::Reshape(z, {rows, columns});
}

// ReLU(W^T x + b) as drawn: W mixes tokens, b has the shape of the result.
Result<Tensor> DrawnOutput(GraphBuilder& graph, const std::string& prefix,
                           const std::string& weight, const Tensor& x, std::uint32_t tokens) {
  ASSIGN_OR_RETURN(Tensor z, layers::MixTokens(graph, weight, x, tokens), prefix);
  ASSIGN_OR_RETURN(
      const nn::Parameter bias,
      graph.AddParameter({.name = prefix + ".bias", .dims = z.dims}, nn::Init::Constant(0)),
      prefix);
  ASSIGN_OR_RETURN(z, nn::AddBias(graph, prefix + ".add", z, bias), prefix);
  return nn::Relu(graph, prefix + ".relu", z);
}

// G = left (E^T Y), and from it block_tokens tokens.
Result<Tensor> MultiplicativeBlock(GraphBuilder& graph, const std::string& prefix,
                                   const Options& options, const Tensor& left, const Tensor& e) {
  ASSIGN_OR_RETURN(
      const nn::Parameter y,
      graph.AddParameter(
          {.name = prefix + ".compress", .dims = {e.dims[0], options.rank}, .is_weight = true},
          nn::Init::KaimingUniform(options.rank)),
      prefix);
  ASSIGN_OR_RETURN(const Tensor gram, nn::CompressedGram(graph, prefix, left, e, y), prefix);
  if (options.drawn)
    return DrawnOutput(graph, prefix, prefix + ".output", gram, options.block_tokens);
  return NormalisedMlp(graph, prefix, options, gram, options.block_tokens, e.dims[1]);
}

// X0 = P^T E^(1) at the layer's number of tokens, then as the high-rank block.
Result<Tensor> LowRankBlock(GraphBuilder& graph, const std::string& layer, const Options& options,
                            const Tensor& first, const Tensor& e) {
  Tensor x0 = first;
  if (first.dims[0] != e.dims[0]) {
    ASSIGN_OR_RETURN(x0, layers::MixTokens(graph, layer + ".project", first, e.dims[0]), layer);
  }
  return MultiplicativeBlock(graph, layer + ".low", options, x0, e);
}

// W_D^T E.
Result<Tensor> ImplicitBlock(GraphBuilder& graph, const std::string& prefix, const Options& options,
                             const Tensor& e) {
  if (options.drawn) return DrawnOutput(graph, prefix, prefix, e, options.implicit_tokens);
  return layers::MixTokens(graph, prefix, e, options.implicit_tokens);
}

// "att_cross": self-attention over E, then an MLP that makes attention_tokens tokens of it. As
// released, vec() runs over features first, and so does the MLP's output.
Result<Tensor> AttentionStream(GraphBuilder& graph, const std::string& prefix,
                               const Options& options, const Tensor& e) {
  const layers::MultiHeadAttention attention{
      .heads = options.heads, .bias = false, .output = false, .scale = 1};
  ASSIGN_OR_RETURN(const Tensor seen, attention(graph, prefix, e, e), prefix);
  ASSIGN_OR_RETURN(const Tensor by_feature, nn::Transpose(graph, prefix + ".turn", seen), prefix);
  ASSIGN_OR_RETURN(
      const Tensor z,
      NormalisedMlp(graph, prefix, options, by_feature, e.dims[1], options.attention_tokens),
      prefix);
  return nn::Transpose(graph, prefix + ".turn_back", z);
}

Result<Tensor> Join(GraphBuilder& graph, const std::string& name, std::span<const Stream> streams) {
  std::vector<Tensor> tokens;
  for (const Stream& stream : streams) tokens.push_back(stream.tokens);
  return nn::ConcatTokens(graph, name, tokens);
}

// NAF-1: U_s = Z_s + MHA_s(query = Z_s, key = value = Z_all); [U_1; U_2; ...].
Result<Tensor> AttentionFusion(GraphBuilder& graph, const std::string& prefix,
                               const Options& options, std::span<const Stream> streams,
                               const Tensor& all) {
  const layers::MultiHeadAttention attention{.heads = options.heads};
  std::vector<Stream> fused(streams.begin(), streams.end());
  for (Stream& stream : fused) {
    const std::string name = StrCat(prefix, ".fusion.", stream.name);
    ASSIGN_OR_RETURN(const Tensor seen, attention(graph, name, stream.tokens, all), name);
    ASSIGN_OR_RETURN(stream.tokens, nn::Add(graph, name + ".add", stream.tokens, seen), name);
  }
  return Join(graph, prefix + ".fusion.join", fused);
}

// m = sum over the streams of g_s mean(Z_s), g = softmax(Linear([mean(Z_1) | mean(Z_2) | ...])):
// attention of one query over the means, whose scores are the Linear's outputs. [1, d]
Result<Tensor> GatedMean(GraphBuilder& graph, const std::string& prefix,
                         std::span<const Stream> streams) {
  std::vector<Tensor> means;
  for (const Stream& stream : streams) {
    ASSIGN_OR_RETURN(const Tensor mean,
                     nn::MeanTokens(graph, StrCat(prefix, ".mean.", stream.name), stream.tokens),
                     prefix);
    ASSIGN_OR_RETURN(means.emplace_back(), nn::Reshape(mean, {1, mean.dims[0]}), prefix);
  }
  const auto count = static_cast<std::uint32_t>(means.size());
  ASSIGN_OR_RETURN(const Tensor joined, nn::ConcatTokens(graph, prefix + ".means", means), prefix);
  ASSIGN_OR_RETURN(Tensor scores, layers::Linear(graph, prefix + ".gate", joined, count), prefix);
  ASSIGN_OR_RETURN(scores, nn::Reshape(scores, {count, 1}), prefix);
  const Tensor one = nn::Constant(graph, prefix + ".one", {1, 1}, 1);
  return nn::Attention(graph, prefix + ".mean", one, scores, joined, {.scale = 1});
}

// "att_self_gate": softmax(Q Z_all^T) Z_all + m, learned queries Q [n_o, d], unscaled.
Result<Tensor> SelfGateFusion(GraphBuilder& graph, const std::string& prefix,
                              std::span<const Stream> streams, const Tensor& all) {
  ASSIGN_OR_RETURN(
      const nn::Parameter queries,
      graph.AddParameter({.name = prefix + ".queries", .dims = all.dims, .is_weight = true},
                         nn::Init::Normal(1)),
      prefix);
  const Tensor query = nn::Broadcast(graph, prefix + ".query", queries);
  ASSIGN_OR_RETURN(const Tensor seen,
                   nn::Attention(graph, prefix + ".attention", query, all, all, {.scale = 1}),
                   prefix);
  ASSIGN_OR_RETURN(Tensor mean, GatedMean(graph, prefix, streams), prefix);
  ASSIGN_OR_RETURN(mean, nn::RepeatToken(graph, prefix + ".repeat", mean, all.dims[0]), prefix);
  return nn::Add(graph, prefix + ".add", seen, mean);
}

}  // namespace

Result<std::vector<Stream>> Streams(GraphBuilder& graph, const std::string& prefix,
                                    const Options& options, const Tensor& first, const Tensor& e) {
  std::vector<Stream> streams;
  const auto add = [&](const std::string& name, Result<Tensor> tokens) -> Status {
    ASSIGN_OR_RETURN(Tensor z, std::move(tokens), prefix, ".", name);
    streams.push_back({name, std::move(z)});
    return OkStatus();
  };
  if (options.high_rank_block)
    RETURN_IF_ERROR(add("high", MultiplicativeBlock(graph, prefix + ".high", options, e, e)));
  if (options.low_rank_block)
    RETURN_IF_ERROR(add("low", LowRankBlock(graph, prefix, options, first, e)));
  if (options.implicit_block)
    RETURN_IF_ERROR(add("implicit", ImplicitBlock(graph, prefix + ".implicit", options, e)));
  if (options.attention_tokens > 0)
    RETURN_IF_ERROR(add("attention", AttentionStream(graph, prefix + ".attention", options, e)));
  return streams;
}

Result<Tensor> Fuse(GraphBuilder& graph, const std::string& prefix, const Options& options,
                    std::span<const Stream> streams) {
  ASSIGN_OR_RETURN(const Tensor all, Join(graph, prefix + ".join", streams), prefix);
  switch (options.fusion) {
    case Fusion::kAttention:
      return AttentionFusion(graph, prefix, options, streams, all);
    case Fusion::kSelfGate:
      return SelfGateFusion(graph, prefix + ".fusion", streams, all);
    case Fusion::kJoin:
      break;
  }
  return all;
}

}  // namespace cairn::worker::dlf
