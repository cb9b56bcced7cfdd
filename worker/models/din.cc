// DIN (Zhou et al. 2018): the events of the histories, weighted by an MLP that sees each beside the
// target. Several histories are aligned: event t is their embeddings side by side, k_t; the query q
// is made of the targets' embeddings in the same order, of a learned vector for a history without
// target.
//
//   a_t = MLP([q, k_t, q - k_t, q * k_t])    eq. 3, figure 2; with `softmax` over the events
//   v = sum over the events of a_t k_t
//   logit = MLP([e_1, ..., e_F, v])          all fields that are no histories, the targets as well
//
// docs/models/din.md
#include <glog/logging.h>

#include "proto/config.pb.h"
#include "worker/layers/mlp.h"
#include "worker/models/fields.h"
#include "worker/models/model_builders.h"
#include "worker/nn/ops/arithmetic.h"
#include "worker/nn/ops/attention.h"
#include "worker/nn/ops/embedding.h"
#include "worker/nn/ops/shape.h"

namespace cairn::worker {
namespace {

using nn::GraphBuilder;
using nn::Tensor;

// The query's part for one history: [1, dim]. e: embeddings of `inputs`.
Result<Tensor> QueryPart(GraphBuilder& graph, const ModelContext& context,
                         const std::vector<FieldSpec>& inputs, const Tensor& e,
                         const FieldSpec& history) {
  if (history.target < 0) {
    ASSIGN_OR_RETURN(
        const nn::Parameter constant,
        graph.AddParameter({.name = StrCat("query.", history.name), .dims = {1, history.dim}},
                           nn::Init::Normal(1e-4)),
        history.name);
    return nn::Broadcast(graph, "query." + history.name, constant);
  }
  CHECK_LT(static_cast<std::size_t>(history.target), context.fields.size());
  const FieldSpec& target = context.fields[history.target];
  for (std::uint32_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].name != target.name) continue;
    if (target.dim != history.dim)
      return absl::InvalidArgumentError(StrCat("feature.", history.name, ".sequence.target: dim ",
                                               target.dim, " of '", target.name, "' is not dim ",
                                               history.dim, " of the history"));
    return nn::SliceTokens(graph, "target." + target.name, e, i, 1);
  }
  return absl::InvalidArgumentError(StrCat("feature.", history.name, ".sequence.target: '",
                                           target.name, "' has no single vector"));
}

struct Pair {
  Tensor query;  // [T, width], the same in each position
  Tensor keys;   // [T, width]
};

Result<Pair> MakePair(GraphBuilder& graph, const ModelContext& context, const ModelFields& fields,
                      const Tensor& e) {
  std::vector<Tensor> queries, keys;
  for (const FieldSpec& history : fields.histories) {
    ASSIGN_OR_RETURN(queries.emplace_back(), QueryPart(graph, context, fields.inputs, e, history));
    ASSIGN_OR_RETURN(keys.emplace_back(), nn::HistoryEmbeddings(graph, history));
  }
  Pair pair;
  ASSIGN_OR_RETURN(const Tensor query, nn::ConcatFeatures(graph, "query", queries));
  ASSIGN_OR_RETURN(pair.keys, nn::ConcatFeatures(graph, "keys", keys));
  ASSIGN_OR_RETURN(pair.query, nn::RepeatToken(graph, "queries", query, pair.keys.dims[0]));
  return pair;
}

// a_t before the softmax: [T, 1].
Result<Tensor> Weights(GraphBuilder& graph, const proto::DinConfig& config, const Pair& pair) {
  ASSIGN_OR_RETURN(const Tensor difference,
                   nn::Subtract(graph, "difference", pair.query, pair.keys));
  ASSIGN_OR_RETURN(const Tensor product, nn::Multiply(graph, "product", pair.query, pair.keys));
  const Tensor parts[] = {pair.query, pair.keys, difference, product};
  ASSIGN_OR_RETURN(const Tensor input, nn::ConcatFeatures(graph, "attention.input", parts));
  auto mlp = layers::Mlp::FromConfig(config.attention(), {80, 40});
  if (config.attention().hidden_size() == 0 && !config.attention().has_activation())
    mlp.activation = layers::Activation::kSigmoid;
  return mlp.PerToken(graph, "attention", input);
}

layers::Mlp Head(const proto::MlpConfig& config) {
  auto mlp = layers::Mlp::FromConfig(config, {200, 80});
  if (config.hidden_size() > 0) return mlp;
  if (!config.has_activation()) mlp.activation = layers::Activation::kDice;
  if (!config.has_batch_norm()) mlp.batch_norm = true;
  return mlp;
}

}  // namespace

Result<Tensor> BuildDin(const proto::ModelConfig& model, const ModelContext& context,
                        GraphBuilder& graph) {
  const proto::DinConfig& config = model.din();
  ASSIGN_OR_RETURN(const ModelFields fields,
                   SortFields({.model = "din", .histories = true}, context.fields));
  ASSIGN_OR_RETURN(const Tensor e, nn::FieldEmbeddings(graph, fields.inputs));
  ASSIGN_OR_RETURN(const Tensor mask, nn::HistoryMask(graph, fields.histories));
  ASSIGN_OR_RETURN(const Pair pair, MakePair(graph, context, fields, e));
  ASSIGN_OR_RETURN(const Tensor weights, Weights(graph, config, pair));

  // Attention with scores 1 * a_t: the masked weighted sum, with or without softmax.
  nn::AttentionOptions options;
  options.scale = 1;
  options.softmax = config.softmax();
  options.mask.keys = mask;
  const Tensor one = nn::Constant(graph, "one", {1, 1}, 1);
  ASSIGN_OR_RETURN(Tensor interest,
                   nn::Attention(graph, "interest", one, weights, pair.keys, options));

  ASSIGN_OR_RETURN(interest, nn::Reshape(interest, {interest.dims[1]}));
  ASSIGN_OR_RETURN(const Tensor flat, nn::Reshape(e, {static_cast<std::uint32_t>(e.Size())}));
  const Tensor all[] = {flat, interest};
  ASSIGN_OR_RETURN(const Tensor input, nn::ConcatFeatures(graph, "join", all));
  return Head(config.mlp())(graph, "mlp", input);
}

}  // namespace cairn::worker
