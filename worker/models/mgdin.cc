// MGDIN: "Multi-Granularity Information-Aware Deferred Interaction Network" (arXiv 2603.12586).
// docs/models/mgdin.md says what is the paper's and what is our choice; mgdin_groups.h makes the
// windows and the static masks.
//
// A branch for each granularity g, over windows of g fields in the order of their density:
//   X      = Linear([e_1 | ... | e_g])             tokens [M, width], one Linear for all tokens
//   A0     = (X Q_1)(X K_1)^T                      initial scores, of the first layer
//   mask_l = the floor(l/L M^2) largest of A0      nested; all ones in the last layer
//   Z      = attention(X Q_l, X K_l, X V_l, mask_l)
//   Y      = LN(Z + X)                             (6)
//   X'     = LN(PFFN(Y) + Y)                       (7)
//   PFFN   = Linear, GELU, dropout, Linear, dropout, with weights of each token's own
// logit = MLP([mean of the tokens of branch 1 | branch 2 | ...])
#include <algorithm>

#include "proto/config.pb.h"
#include "worker/layers/dense.h"
#include "worker/layers/mlp.h"
#include "worker/models/fields.h"
#include "worker/models/mgdin_groups.h"
#include "worker/models/model_builders.h"
#include "worker/nn/ops/activation.h"
#include "worker/nn/ops/arithmetic.h"
#include "worker/nn/ops/attention.h"
#include "worker/nn/ops/embedding.h"
#include "worker/nn/ops/row_product.h"
#include "worker/nn/ops/shape.h"

namespace cairn::worker {
namespace {

using mgdin::Windows;
using nn::GraphBuilder;
using nn::Tensor;
using proto::MgdinConfig;

// One granularity's tokens and the masks of its layers.
class Branch {
 public:
  Branch(const MgdinConfig& config, std::uint64_t seed, Windows windows)
      : config_(config),
        seed_(seed),
        windows_(std::move(windows)),
        prefix_(StrCat("branch", windows_.size)) {}

  // embeddings: [fields, dim] in the order of the windows; result [M, width].
  Result<Tensor> operator()(GraphBuilder& graph, const Tensor& embeddings) {
    ASSIGN_OR_RETURN(Tensor x, Tokens(graph, embeddings), prefix_);
    for (std::uint32_t l = 1; l <= config_.layers(); ++l) {
      ASSIGN_OR_RETURN(x, Layer(graph, l, x), prefix_);
    }
    return x;
  }

 private:
  // Joins the embeddings of each window, after the dummies, and projects them to the common width.
  Result<Tensor> Tokens(GraphBuilder& graph, const Tensor& embeddings) {
    const std::uint32_t dim = embeddings.dims[1];
    Tensor fields = embeddings;
    if (windows_.dummies > 0) {
      const Tensor zeros = nn::Constant(graph, prefix_ + ".dummies", {windows_.dummies, dim}, 0);
      Tensor parts[] = {embeddings, zeros};
      if (windows_.dummies_first) std::swap(parts[0], parts[1]);
      ASSIGN_OR_RETURN(fields, nn::ConcatTokens(graph, prefix_ + ".windows", parts));
    }
    ASSIGN_OR_RETURN(const Tensor joined,
                     nn::Reshape(fields, {windows_.count, windows_.size * dim}));
    return layers::TokenLinear(graph, prefix_ + ".project", joined, config_.width());
  }

  Result<Tensor> Layer(GraphBuilder& graph, std::uint32_t l, const Tensor& x) {
    const std::string prefix = StrCat(prefix_, ".layer", l);
    ASSIGN_OR_RETURN(const Tensor z, Interaction(graph, prefix, l, x));
    ASSIGN_OR_RETURN(Tensor y, nn::Add(graph, prefix + ".attention.add", z, x));
    ASSIGN_OR_RETURN(y, layers::LayerNorm(graph, prefix + ".attention.norm", y));
    ASSIGN_OR_RETURN(const Tensor f, FeedForward(graph, prefix + ".ffn", y));
    ASSIGN_OR_RETURN(y, nn::Add(graph, prefix + ".ffn.add", f, y));
    return layers::LayerNorm(graph, prefix + ".ffn.norm", y);
  }

  Result<Tensor> Interaction(GraphBuilder& graph, const std::string& prefix, std::uint32_t l,
                             const Tensor& x) {
    const auto project = [&](const std::string& name, std::uint32_t width) {
      return layers::TokenLinear(graph, StrCat(prefix, ".", name), x, width, /*bias=*/false);
    };
    ASSIGN_OR_RETURN(const Tensor q, project("query", config_.attention_width()));
    ASSIGN_OR_RETURN(const Tensor k, project("key", config_.attention_width()));
    ASSIGN_OR_RETURN(const Tensor v, project("value", config_.width()));
    nn::AttentionOptions options{.softmax = config_.attention() == MgdinConfig::SOFTMAX};
    ASSIGN_OR_RETURN(options.mask, Mask(graph, l, q, k));
    return nn::Attention(graph, prefix + ".attention", q, k, v, options);
  }

  // q, k: the layer's queries and keys; those of the first layer give the initial scores.
  Result<nn::AttentionMask> Mask(GraphBuilder& graph, std::uint32_t l, const Tensor& q,
                                 const Tensor& k) {
    nn::AttentionMask mask;
    if (l == config_.layers() || config_.schedule() == MgdinConfig::ALL) return mask;
    const std::uint32_t active = mgdin::ActivePairs(l, config_.layers(), windows_.count);
    switch (config_.schedule()) {
      case MgdinConfig::GROUP:
        mask.pairs = mgdin::GroupMask(windows_, l, config_.layers());
        return mask;
      case MgdinConfig::PAIR_RANDOM:
        mask.pairs = mgdin::RandomMask(windows_, active, seed_);
        break;
      default:
        if (!ranks_) {
          ASSIGN_OR_RETURN(ranks_, InitialRanks(graph, q, k));
        }
        mask.ranks = ranks_;
        mask.active = active;
    }
    mask.diagonal = config_.force_diagonal();
    return mask;
  }

  Result<Tensor> InitialRanks(GraphBuilder& graph, const Tensor& q, const Tensor& k) {
    ASSIGN_OR_RETURN(Tensor scores, nn::RowProduct(graph, prefix_ + ".scores", q, k));
    if (config_.schedule() == MgdinConfig::PAIR_REVERSED)
      scores = nn::Scale(graph, prefix_ + ".reversed", scores, -1);
    return nn::Ranks(graph, prefix_ + ".ranks", scores);
  }

  Result<Tensor> FeedForward(GraphBuilder& graph, const std::string& prefix, const Tensor& x) {
    const auto linear = [&](int i, const Tensor& in, std::uint32_t outputs) {
      const std::string name = StrCat(prefix, ".", i);
      return config_.shared_ffn() ? layers::TokenLinear(graph, name, in, outputs)
                                  : layers::PerTokenLinear(graph, name, in, outputs);
    };
    ASSIGN_OR_RETURN(Tensor y, linear(0, x, config_.ffn_factor() * config_.width()));
    y = nn::Gelu(graph, prefix + ".gelu", y);
    ASSIGN_OR_RETURN(y, nn::Dropout(graph, prefix + ".0.dropout", y, config_.dropout()));
    ASSIGN_OR_RETURN(y, linear(1, y, config_.width()));
    return nn::Dropout(graph, prefix + ".1.dropout", y, config_.dropout());
  }

  const MgdinConfig& config_;
  const std::uint64_t seed_;
  const Windows windows_;
  const std::string prefix_;
  std::optional<Tensor> ranks_;
};

// The window sizes of the branches.
Result<std::vector<std::uint32_t>> Granularities(const MgdinConfig& config, std::size_t fields) {
  std::vector<std::uint32_t> sizes(config.granularity().begin(), config.granularity().end());
  if (sizes.empty()) sizes = {1, 2, 4};
  for (auto size = sizes.begin(); size != sizes.end(); ++size) {
    if (*size > fields)
      return absl::InvalidArgumentError(
          StrCat("model.mgdin.granularity: ", *size,
                 config.granularity().empty() ? " (of 1, 2, 4, where none is given)" : "",
                 " is more than the ", fields, " fields of the job"));
    if (std::find(sizes.begin(), size, *size) != size)
      return absl::InvalidArgumentError(
          StrCat("model.mgdin.granularity: ", *size, " stands there twice"));
  }
  return sizes;
}

// [width] of each branch: the mean of its tokens; or all of them.
Result<Tensor> Pool(GraphBuilder& graph, const std::string& name, MgdinConfig::Pooling pooling,
                    const Tensor& x) {
  if (pooling == MgdinConfig::MEAN) return nn::MeanTokens(graph, name, x);
  return nn::Reshape(x, {static_cast<std::uint32_t>(x.Size())});
}

}  // namespace

Result<Tensor> BuildMgdin(const proto::ModelConfig& model, const ModelContext& context,
                          GraphBuilder& graph) {
  const MgdinConfig& config = model.mgdin();
  ASSIGN_OR_RETURN(const ModelFields sorted, SortFields({.model = "mgdin"}, context.fields));
  ASSIGN_OR_RETURN(const std::vector<std::uint32_t> sizes,
                   Granularities(config, sorted.inputs.size()));
  ASSIGN_OR_RETURN(const std::vector<FieldSpec> fields,
                   mgdin::OrderFields(config, sorted.inputs, context.seed));
  ASSIGN_OR_RETURN(const Tensor embeddings, nn::FieldEmbeddings(graph, fields));
  std::vector<Tensor> pooled;
  for (std::uint32_t size : sizes) {
    Branch branch(config, context.seed, mgdin::CutWindows(config, fields, size));
    ASSIGN_OR_RETURN(const Tensor x, branch(graph, embeddings));
    ASSIGN_OR_RETURN(pooled.emplace_back(),
                     Pool(graph, StrCat("branch", size, ".pool"), config.pooling(), x));
  }
  ASSIGN_OR_RETURN(const Tensor joined, nn::ConcatFeatures(graph, "join", pooled));
  return layers::Mlp::FromConfig(config.head(), {256, 128})(graph, "head", joined);
}

}  // namespace cairn::worker
