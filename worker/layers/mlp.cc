#include "worker/layers/mlp.h"

#include "proto/config.pb.h"
#include "worker/layers/dense.h"
#include "worker/nn/ops/activation.h"
#include "worker/nn/ops/arithmetic.h"
#include "worker/nn/ops/shape.h"

namespace cairn::worker::layers {
namespace {

using nn::GraphBuilder;
using nn::Tensor;

// With p = sigmoid(norm(x)): x p + alpha (x - x p).
Result<Tensor> Dice(GraphBuilder& graph, const std::string& prefix, const Tensor& x) {
  ASSIGN_OR_RETURN(const nn::Parameter alpha,
                   graph.AddParameter({.name = prefix + ".alpha", .dims = {x.dims.back()}},
                                      nn::Init::Constant(0)),
                   prefix);
  ASSIGN_OR_RETURN(const Tensor normal, PlainBatchNorm(graph, prefix + ".norm", x), prefix);
  const Tensor p = nn::Sigmoid(graph, prefix + ".p", normal);
  ASSIGN_OR_RETURN(const Tensor kept, nn::Multiply(graph, prefix + ".kept", x, p), prefix);
  ASSIGN_OR_RETURN(Tensor rest, nn::Subtract(graph, prefix + ".rest", x, kept), prefix);
  ASSIGN_OR_RETURN(rest, nn::ScaleFeatures(graph, prefix + ".scale", rest, alpha), prefix);
  return nn::Add(graph, prefix, kept, rest);
}

// Runs the layers with `linear` and `norm`, which are those of a vector or of tokens.
template <typename LinearLayer, typename NormLayer>
Result<Tensor> Run(const Mlp& mlp, GraphBuilder& graph, const std::string& prefix, Tensor y,
                   LinearLayer linear, NormLayer norm) {
  for (std::size_t i = 0; i < mlp.hidden.size(); ++i) {
    const std::string name = StrCat(prefix, ".", i);
    ASSIGN_OR_RETURN(y, linear(graph, name, y, mlp.hidden[i], true), prefix);
    if (mlp.batch_norm) {
      ASSIGN_OR_RETURN(y, norm(graph, name + ".norm", y), prefix);
    }
    const std::string activation = name + (mlp.activation == Activation::kDice ? ".dice" : ".act");
    ASSIGN_OR_RETURN(y, Activate(graph, activation, y, mlp.activation), prefix);
    ASSIGN_OR_RETURN(y, nn::Dropout(graph, name + ".dropout", y, mlp.dropout), prefix);
  }
  if (mlp.outputs == 0) return y;
  return linear(graph, StrCat(prefix, ".", mlp.hidden.size()), y, mlp.outputs, true);
}

Activation ActivationOf(proto::MlpConfig::Activation activation) {
  switch (activation) {
    case proto::MlpConfig::RELU:
      return Activation::kRelu;
    case proto::MlpConfig::SWISH:
      return Activation::kSwish;
    case proto::MlpConfig::GELU:
      return Activation::kGelu;
    case proto::MlpConfig::SIGMOID:
      return Activation::kSigmoid;
    case proto::MlpConfig::DICE:
      return Activation::kDice;
  }
  return Activation::kRelu;
}

}  // namespace

Result<Tensor> Activate(GraphBuilder& graph, const std::string& prefix, const Tensor& x,
                        Activation activation) {
  switch (activation) {
    case Activation::kRelu:
      return nn::Relu(graph, prefix, x);
    case Activation::kSwish:
      return nn::Swish(graph, prefix, x);
    case Activation::kGelu:
      return nn::Gelu(graph, prefix, x);
    case Activation::kSigmoid:
      return nn::Sigmoid(graph, prefix, x);
    case Activation::kDice:
      return Dice(graph, prefix, x);
  }
  return absl::InvalidArgumentError(StrCat("layer '", prefix, "': unknown activation"));
}

Mlp Mlp::FromConfig(const proto::MlpConfig& config, std::vector<std::uint32_t> hidden,
                    std::uint32_t outputs) {
  Mlp mlp;
  mlp.hidden = std::move(hidden);
  if (config.hidden_size() > 0) mlp.hidden.assign(config.hidden().begin(), config.hidden().end());
  mlp.outputs = outputs;
  mlp.batch_norm = config.batch_norm();
  mlp.dropout = config.dropout();
  mlp.activation = ActivationOf(config.activation());
  return mlp;
}

Result<Tensor> Mlp::operator()(GraphBuilder& graph, const std::string& prefix,
                               const Tensor& x) const {
  ASSIGN_OR_RETURN(const Tensor flat, nn::Reshape(x, {static_cast<std::uint32_t>(x.Size())}),
                   prefix);
  return Run(*this, graph, prefix, flat, Linear, BatchNorm);
}

Result<Tensor> Mlp::PerToken(GraphBuilder& graph, const std::string& prefix,
                             const Tensor& x) const {
  return Run(*this, graph, prefix, x, TokenLinear, TokenBatchNorm);
}

}  // namespace cairn::worker::layers
