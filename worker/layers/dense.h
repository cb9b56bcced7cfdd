// Layers with their own parameters: each adds them under `prefix` with their usual initial values
// (Linear: Xavier normal, bias 0) and then its op.
#pragma once

#include <string>

#include "worker/nn/graph.h"

namespace cairn::worker::layers {

// y = x W + b. "prefix.weight" [x.Size(), outputs], Xavier normal; "prefix.bias" [outputs], 0.
Result<nn::Tensor> Linear(nn::GraphBuilder& graph, const std::string& prefix, const nn::Tensor& x,
                          std::uint32_t outputs, bool bias = true);

// The same for each token of x [tokens, in]: "prefix.weight" [in, outputs]; y [tokens, outputs].
Result<nn::Tensor> TokenLinear(nn::GraphBuilder& graph, const std::string& prefix,
                               const nn::Tensor& x, std::uint32_t outputs, bool bias = true);

// With weights of its own for each token: "prefix.weight" [tokens, in, outputs], Xavier normal of
// (in, outputs); "prefix.bias" [tokens, outputs].
Result<nn::Tensor> PerTokenLinear(nn::GraphBuilder& graph, const std::string& prefix,
                                  const nn::Tensor& x, std::uint32_t outputs);

// LayerNorm over the last dimension. "prefix.gamma", 1, and "prefix.beta", 0.
Result<nn::Tensor> LayerNorm(nn::GraphBuilder& graph, const std::string& prefix,
                             const nn::Tensor& x);

// BatchNorm of each of x's values. "prefix.gamma", 1; "prefix.beta", 0; statistics with momentum
// 0.1: "prefix.running_mean", 0, and "prefix.running_variance", 1.
Result<nn::Tensor> BatchNorm(nn::GraphBuilder& graph, const std::string& prefix,
                             const nn::Tensor& x);

// BatchNorm of x [tokens, d] where a feature's statistics are taken over rows and tokens together:
// all parameters [d].
Result<nn::Tensor> TokenBatchNorm(nn::GraphBuilder& graph, const std::string& prefix,
                                  const nn::Tensor& x);

// BatchNorm over the last dimension of x, [d] or [tokens, d], without gamma and beta.
Result<nn::Tensor> PlainBatchNorm(nn::GraphBuilder& graph, const std::string& prefix,
                                  const nn::Tensor& x);

// "prefix", a token-mixing matrix [x.dims[0], outputs] without bias: W^T X, [outputs, x.dims[1]].
enum class MixInit {
  kKaimingUniform,  // as PyTorch computes it for a plain matrix: U(+-sqrt(6 / outputs))
  kXavierNormal,    // fans outputs and x.dims[0]
};
Result<nn::Tensor> MixTokens(nn::GraphBuilder& graph, const std::string& prefix,
                             const nn::Tensor& x, std::uint32_t outputs,
                             MixInit init = MixInit::kKaimingUniform);

}  // namespace cairn::worker::layers
