// Multi-layer perceptron.
#pragma once

#include <string>
#include <vector>

#include "worker/nn/graph.h"

namespace cairn::proto {
class MlpConfig;
}

namespace cairn::worker::layers {

enum class Activation { kRelu, kSwish, kGelu, kSigmoid, kDice };

// x (p + alpha (1 - p)), p = sigmoid(BatchNorm(x) without gamma and beta); "prefix.alpha" [d], 0;
// statistics "prefix.norm.running_mean" and "prefix.norm.running_variance". For kDice; any other
// activation has no parameters.
Result<nn::Tensor> Activate(nn::GraphBuilder& graph, const std::string& prefix, const nn::Tensor& x,
                            Activation activation);

struct Mlp {
  std::vector<std::uint32_t> hidden = {};
  std::uint32_t outputs = 1;  // 0: no last Linear, the result is the last hidden layer
  bool batch_norm = true;
  double dropout = 0;
  Activation activation = Activation::kRelu;

  // Of a job, with `hidden` where it gives none.
  static Mlp FromConfig(const proto::MlpConfig& config, std::vector<std::uint32_t> hidden,
                        std::uint32_t outputs = 1);

  // Each hidden layer i: Linear "prefix.i", BatchNorm "prefix.i.norm", activation "prefix.i.dice"
  // (where it has parameters), dropout; then a Linear "prefix.<number of hidden layers>" without
  // activation. x of any shape is flattened; the result is [outputs].
  Result<nn::Tensor> operator()(nn::GraphBuilder& graph, const std::string& prefix,
                                const nn::Tensor& x) const;

  // The same for each token of x [tokens, d], with shared weights (BatchNorm over rows and tokens):
  // [tokens, outputs].
  Result<nn::Tensor> PerToken(nn::GraphBuilder& graph, const std::string& prefix,
                              const nn::Tensor& x) const;
};

}  // namespace cairn::worker::layers
