// InterFormer (Zeng et al., arXiv 2411.09852 v4). docs/models/interformer.md maps its equations to
// the functions here and says which choices are the paper's.
//
//   X^(1) [n, d]       W_dense x of all numbers, then one embedding for each other field
//   S     [T, d]       MaskNet of the histories side by side; S^(1) = [X_sum^(1) ; S]
//   X_sum = Gate(C X)  S_sum = Gate([S_CLS ; S_PMA ; S_recent])            cross arch
//   X^(l+1) = swish((T_mix H) W_x + b_x), H = LN(DOT(Z) + DCN(Z) + Z), Z = [X ; S_sum]
//   S^(l+1) = LN(U + MHA_rope(U)), U = LN(S + PFFN(X_sum, S))
//   logit = MLP([X_sum^(L+1) ; S_sum^(L+1)])
#include "proto/config.pb.h"
#include "worker/layers/attention.h"
#include "worker/layers/dense.h"
#include "worker/layers/mlp.h"
#include "worker/models/fields.h"
#include "worker/models/model_builders.h"
#include "worker/nn/ops/activation.h"
#include "worker/nn/ops/arithmetic.h"
#include "worker/nn/ops/attention.h"
#include "worker/nn/ops/embedding.h"
#include "worker/nn/ops/row_product.h"
#include "worker/nn/ops/shape.h"

namespace cairn::worker {
namespace {

using nn::GraphBuilder;
using nn::Tensor;
using Config = proto::InterformerConfig;

constexpr double kTokenStddev = 0.02;  // initial values of learned tokens

struct Fields {
  std::vector<FieldSpec> histories, numbers, others;
  std::uint32_t dim = 0;
};

Result<Fields> SplitFields(std::span<const FieldSpec> specs) {
  ASSIGN_OR_RETURN(ModelFields sorted,
                   SortFields({.model = "interformer", .histories = true}, specs));
  Fields fields;
  fields.histories = std::move(sorted.histories);
  for (const FieldSpec& spec : sorted.inputs)
    (spec.kind == FieldSpec::Kind::kNumeric ? fields.numbers : fields.others).push_back(spec);
  const FieldSpec& first = fields.histories[0];
  fields.dim = first.dim;
  for (const FieldSpec& spec : fields.histories)
    if (spec.max_length != first.max_length)
      return absl::InvalidArgumentError(
          StrCat("model interformer needs histories of one max_length: '", first.name, "' has ",
                 first.max_length, ", '", spec.name, "' ", spec.max_length));
  for (const auto* group : {&fields.histories, &fields.others})
    for (const FieldSpec& spec : *group)
      if (spec.dim != fields.dim)
        return absl::InvalidArgumentError(StrCat("model interformer needs tables of one dim: '",
                                                 first.name, "' has ", fields.dim, ", '", spec.name,
                                                 "' ", spec.dim));
  return fields;
}

// Both sides' tokens. `keys` [tokens of s]: 1 where a token of s is no padding.
struct State {
  Tensor x, s, keys;
};

class Builder {
 public:
  Builder(const Config& config, Fields fields, GraphBuilder& graph)
      : config_(config),
        fields_(std::move(fields)),
        graph_(graph),
        dim_(fields_.dim),
        has_sequence_(config.flow() != Config::SOLE),
        to_sequence_(config.flow() == Config::INT || config.flow() == Config::N2S),
        to_others_(config.flow() == Config::INT || config.flow() == Config::S2N) {}

  Result<Tensor> Build() {
    RETURN_IF_ERROR(Check());
    State state;
    ASSIGN_OR_RETURN(state.x, Tokens(), "inputs");
    if (has_sequence_) RETURN_IF_ERROR(StartSequence(&state), "sequence");
    for (std::uint32_t l = 1; l <= config_.layers(); ++l)
      RETURN_IF_ERROR(Layer(l, &state), StrCat("layer ", l));
    ASSIGN_OR_RETURN(Tensor summary, Summary("final", state.x), "final");
    if (has_sequence_) {
      ASSIGN_OR_RETURN(const Tensor sequence, SequenceSummary("final", state), "final");
      const Tensor both[] = {summary, sequence};
      ASSIGN_OR_RETURN(summary, nn::ConcatTokens(graph_, "final.join", both), "final");
    }
    layers::Mlp head = layers::Mlp::FromConfig(config_.head(), {1024, 512, 256, 128});
    if (!config_.head().has_activation()) head.activation = layers::Activation::kSwish;
    return head(graph_, "head", summary);
  }

 private:
  Status Check() const {
    if (!has_sequence_) return OkStatus();
    const std::uint32_t heads = config_.heads(), length = fields_.histories[0].max_length;
    if (dim_ % heads != 0)
      return absl::InvalidArgumentError(
          StrCat("model.interformer.heads: ", heads, " heads do not divide dim ", dim_));
    if (config_.attention() && dim_ / heads % 2 != 0)
      return absl::InvalidArgumentError(StrCat("model.interformer.heads: with ", heads,
                                               " heads of dim ", dim_, " a head is ", dim_ / heads,
                                               " wide; rotary positions need an even width"));
    if (config_.recent_tokens() > length)
      return absl::InvalidArgumentError(
          StrCat("model.interformer.recent_tokens: ", config_.recent_tokens(),
                 " is more than max_length ", length, " of '", fields_.histories[0].name, "'"));
    return OkStatus();
  }

  Result<Tensor> Learned(const std::string& name, std::uint32_t tokens) {
    ASSIGN_OR_RETURN(const nn::Parameter parameter,
                     graph_.AddParameter({.name = name, .dims = {tokens, dim_}, .is_weight = true},
                                         nn::Init::Normal(kTokenStddev)),
                     name);
    return nn::Broadcast(graph_, name, parameter);
  }

  // X^(1); without a sequence side each history is one more token, the mean of its events.
  Result<Tensor> Tokens() {
    std::vector<Tensor> parts;
    if (!fields_.numbers.empty()) {
      ASSIGN_OR_RETURN(const Tensor numbers, nn::Numbers(graph_, fields_.numbers), "numbers");
      ASSIGN_OR_RETURN(const Tensor token, layers::Linear(graph_, "dense", numbers, dim_, false),
                       "dense");
      ASSIGN_OR_RETURN(parts.emplace_back(), nn::Reshape(token, {1, dim_}), "dense");
    }
    if (!fields_.others.empty()) {
      ASSIGN_OR_RETURN(parts.emplace_back(), nn::FieldEmbeddings(graph_, fields_.others), "fields");
    }
    for (std::size_t i = 0; i < fields_.histories.size() && !has_sequence_; ++i) {
      ASSIGN_OR_RETURN(parts.emplace_back(), MeanEvent(fields_.histories[i]), "history");
    }
    return nn::ConcatTokens(graph_, "tokens", parts);
  }

  // [1, d]: attention with equal scores of all events, zeros if there are none.
  Result<Tensor> MeanEvent(const FieldSpec& history) {
    const std::string name = "mean." + history.name;
    ASSIGN_OR_RETURN(const Tensor events, nn::HistoryEmbeddings(graph_, history), name);
    ASSIGN_OR_RETURN(const Tensor keys, nn::HistoryMask(graph_, {&history, 1}), name);
    const Tensor query = nn::Constant(graph_, name + ".query", {1, dim_}, 0);
    return nn::Attention(graph_, name, query, events, events, {.mask = {.keys = keys}});
  }

  // MaskNet: S = (S_cat * sigmoid(MLP(S_cat))) W + b, [T, d], zeros where there is no event.
  Status StartSequence(State* state) {
    std::vector<Tensor> streams;
    for (const FieldSpec& history : fields_.histories) {
      ASSIGN_OR_RETURN(streams.emplace_back(), nn::HistoryEmbeddings(graph_, history),
                       history.name);
    }
    ASSIGN_OR_RETURN(const Tensor events, nn::HistoryMask(graph_, fields_.histories), "mask");
    ASSIGN_OR_RETURN(Tensor s, nn::ConcatFeatures(graph_, "streams", streams), "streams");
    ASSIGN_OR_RETURN(s, layers::SelfGate(graph_, "masknet", s), "masknet");
    ASSIGN_OR_RETURN(s, layers::TokenLinear(graph_, "masknet.compress", s, dim_), "masknet");
    ASSIGN_OR_RETURN(state->s, nn::ScaleTokens(graph_, "masknet.events", s, events), "masknet");
    const Tensor keys[] = {nn::Constant(graph_, "cls.keys", {config_.summary_tokens()}, 1), events};
    ASSIGN_OR_RETURN(state->keys, nn::ConcatFeatures(graph_, "keys", keys), "keys");
    return OkStatus();
  }

  Result<Tensor> Gate(const std::string& prefix, const Tensor& x) {
    switch (config_.gate()) {
      case Config::SELF:
        return layers::SelfGate(graph_, prefix, x);
      case Config::LITERAL: {
        const layers::Mlp mlp{.hidden = {dim_},
                              .outputs = dim_,
                              .batch_norm = false,
                              .activation = layers::Activation::kSwish};
        ASSIGN_OR_RETURN(Tensor y, mlp.PerToken(graph_, prefix, x), prefix);
        ASSIGN_OR_RETURN(y, nn::Multiply(graph_, prefix + ".multiply", x, y), prefix);
        return nn::Sigmoid(graph_, prefix + ".sigmoid", y);
      }
      case Config::OPEN:
        break;
    }
    return x;
  }

  // X_sum [summary_tokens, d].
  Result<Tensor> Summary(const std::string& prefix, const Tensor& x) {
    ASSIGN_OR_RETURN(const Tensor mixed,
                     layers::MixTokens(graph_, prefix + ".summary.mix", x, config_.summary_tokens(),
                                       layers::MixInit::kXavierNormal),
                     prefix);
    return Gate(prefix + ".summary.gate", mixed);
  }

  // S_sum [summary_tokens + pma_tokens + recent_tokens, d].
  Result<Tensor> SequenceSummary(const std::string& layer, const State& state) {
    const std::string prefix = layer + ".sequence_summary";
    const std::uint32_t tokens = state.s.dims[0], recent = config_.recent_tokens();
    std::vector<Tensor> parts;
    ASSIGN_OR_RETURN(parts.emplace_back(),
                     nn::SliceTokens(graph_, prefix + ".cls", state.s, 0, config_.summary_tokens()),
                     prefix);
    if (config_.pma_tokens() > 0) {
      ASSIGN_OR_RETURN(const Tensor query, Learned(prefix + ".queries", config_.pma_tokens()),
                       prefix);
      const layers::MultiHeadAttention pool{.heads = static_cast<int>(config_.heads()),
                                            .mask = {.keys = state.keys}};
      ASSIGN_OR_RETURN(parts.emplace_back(), pool(graph_, prefix + ".pma", query, state.s), prefix);
    }
    if (recent > 0) {
      ASSIGN_OR_RETURN(
          parts.emplace_back(),
          nn::SliceTokens(graph_, prefix + ".recent", state.s, tokens - recent, recent), prefix);
    }
    ASSIGN_OR_RETURN(const Tensor joined, nn::ConcatTokens(graph_, prefix + ".join", parts),
                     prefix);
    return Gate(prefix + ".gate", joined);
  }

  // What the sequence side reads in layer l: X_sum^(l); or, where nothing flows that way, as many
  // learned tokens.
  Result<Tensor> Guide(const std::string& prefix, const Tensor& x) {
    return to_sequence_ ? Summary(prefix, x)
                        : Learned(prefix + ".learned_summary", config_.summary_tokens());
  }

  Status Layer(std::uint32_t l, State* state) {
    const std::string prefix = StrCat("layer", l);
    Tensor guide, z = state->x;
    if (has_sequence_ && (l == 1 || config_.pffn() != Config::NO_PFFN)) {
      ASSIGN_OR_RETURN(guide, Guide(prefix, state->x), prefix);
    }
    if (has_sequence_ && l == 1) {
      const Tensor both[] = {guide, state->s};
      ASSIGN_OR_RETURN(state->s, nn::ConcatTokens(graph_, "cls", both), prefix);
    }
    if (to_others_) {
      ASSIGN_OR_RETURN(const Tensor summary, SequenceSummary(prefix, *state), prefix);
      const Tensor both[] = {state->x, summary};
      ASSIGN_OR_RETURN(z, nn::ConcatTokens(graph_, prefix + ".join", both), prefix);
    }
    ASSIGN_OR_RETURN(state->x, Interaction(prefix + ".interaction", z, state->x.dims[0]), prefix);
    if (!has_sequence_) return OkStatus();
    return SequenceArch(prefix, guide, state);
  }

  // PFFN(X_sum, S): S times a matrix that X_sum makes.
  Result<Tensor> Pffn(const std::string& prefix, const Tensor& guide, const Tensor& s) {
    if (config_.pffn() == Config::LOW_RANK) {
      ASSIGN_OR_RETURN(const Tensor h, layers::TokenLinear(graph_, prefix, s, guide.dims[0], false),
                       prefix);
      return nn::RowMatrixProduct(graph_, prefix + ".apply", h, guide);
    }
    const layers::Mlp mlp{.hidden = {2 * dim_},
                          .outputs = dim_ * dim_,
                          .batch_norm = false,
                          .activation = layers::Activation::kSwish};
    ASSIGN_OR_RETURN(const Tensor flat, mlp(graph_, prefix, guide), prefix);
    ASSIGN_OR_RETURN(const Tensor matrix, nn::Reshape(flat, {dim_, dim_}), prefix);
    return nn::RowMatrixProduct(graph_, prefix + ".apply", s, matrix);
  }

  Status SequenceArch(const std::string& prefix, const Tensor& guide, State* state) {
    Tensor& s = state->s;
    if (config_.pffn() != Config::NO_PFFN) {
      ASSIGN_OR_RETURN(const Tensor y, Pffn(prefix + ".pffn", guide, s), prefix);
      ASSIGN_OR_RETURN(s, AddAndNormalise(prefix + ".pffn", s, y), prefix);
    }
    if (config_.attention()) {
      const layers::MultiHeadAttention attention{.heads = static_cast<int>(config_.heads()),
                                                 .rotary = true,
                                                 .mask = {.keys = state->keys}};
      ASSIGN_OR_RETURN(const Tensor y, attention(graph_, prefix + ".attention", s, s), prefix);
      ASSIGN_OR_RETURN(s, AddAndNormalise(prefix + ".attention", s, y), prefix);
    }
    ASSIGN_OR_RETURN(s, nn::ScaleTokens(graph_, prefix + ".events", s, state->keys), prefix);
    return OkStatus();
  }

  Result<Tensor> AddAndNormalise(const std::string& prefix, const Tensor& a, const Tensor& b) {
    ASSIGN_OR_RETURN(const Tensor sum, nn::Add(graph_, prefix + ".add", a, b), prefix);
    return layers::LayerNorm(graph_, prefix + ".norm", sum);
  }

  // z [m, d] -> `outputs` tokens.
  Result<Tensor> Interaction(const std::string& prefix, const Tensor& z, std::uint32_t outputs) {
    const auto size = static_cast<std::uint32_t>(z.Size());
    ASSIGN_OR_RETURN(const Tensor flat, nn::Reshape(z, {size}), prefix);
    std::vector<Tensor> modules;
    if (config_.backbone() != Config::DCN) {
      ASSIGN_OR_RETURN(modules.emplace_back(), Dots(prefix + ".dot", z), prefix);
    }
    if (config_.backbone() != Config::DOT) {
      ASSIGN_OR_RETURN(modules.emplace_back(), Cross(prefix + ".cross", flat), prefix);
    }
    Tensor y = modules[0];
    if (config_.ensemble() == Config::CONCAT) {
      ASSIGN_OR_RETURN(y, nn::ConcatFeatures(graph_, prefix + ".join", modules), prefix);
      ASSIGN_OR_RETURN(y, layers::Linear(graph_, prefix + ".ensemble", y, size), prefix);
    } else if (modules.size() == 2) {
      ASSIGN_OR_RETURN(y, nn::Add(graph_, prefix + ".sum", y, modules[1]), prefix);
    }
    ASSIGN_OR_RETURN(y, nn::Add(graph_, prefix + ".add", y, flat), prefix);
    ASSIGN_OR_RETURN(y, nn::Reshape(y, z.dims), prefix);
    ASSIGN_OR_RETURN(y, layers::LayerNorm(graph_, prefix + ".norm", y), prefix);
    ASSIGN_OR_RETURN(
        y, layers::MixTokens(graph_, prefix + ".mix", y, outputs, layers::MixInit::kXavierNormal),
        prefix);
    ASSIGN_OR_RETURN(y, layers::TokenLinear(graph_, prefix + ".linear", y, dim_), prefix);
    return nn::Swish(graph_, prefix + ".swish", y);
  }

  // DOT: all inner products of two tokens, and a Linear.
  Result<Tensor> Dots(const std::string& prefix, const Tensor& z) {
    if (z.dims[0] < 2)
      return absl::InvalidArgumentError(
          "model.interformer.backbone: products of tokens need at least two tokens that are no "
          "history");
    ASSIGN_OR_RETURN(const Tensor dots, nn::PairwiseDots(graph_, prefix + ".pairs", z), prefix);
    return layers::Linear(graph_, prefix, dots, static_cast<std::uint32_t>(z.Size()));
  }

  // DCN: z * (z W + b) + z; W is a product of two with a cross_rank.
  Result<Tensor> Cross(const std::string& prefix, const Tensor& z) {
    const std::uint32_t size = z.dims[0];
    Tensor u = z;
    if (config_.cross_rank() > 0) {
      ASSIGN_OR_RETURN(
          u, layers::Linear(graph_, prefix + ".compress", z, config_.cross_rank(), false), prefix);
    }
    ASSIGN_OR_RETURN(u, layers::Linear(graph_, prefix, u, size), prefix);
    ASSIGN_OR_RETURN(u, nn::Multiply(graph_, prefix + ".multiply", z, u), prefix);
    return nn::Add(graph_, prefix + ".add", u, z);
  }

  const Config& config_;
  const Fields fields_;
  GraphBuilder& graph_;
  const std::uint32_t dim_;
  const bool has_sequence_;
  const bool to_sequence_;  // from X to S
  const bool to_others_;    // from S to X
};

}  // namespace

Result<Tensor> BuildInterformer(const proto::ModelConfig& config, const ModelContext& context,
                                GraphBuilder& graph) {
  ASSIGN_OR_RETURN(Fields fields, SplitFields(context.fields));
  return Builder(config.interformer(), std::move(fields), graph).Build();
}

}  // namespace cairn::worker
