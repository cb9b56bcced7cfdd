// Layers with their own parameters: each adds them under `prefix` with their usual initial values
// (models.md 1.2) and then its op.
#pragma once

#include <string>

#include "worker/nn/graph.h"

namespace cairn::worker::layers {

// y = x W + b. "prefix.weight" [x.Size(), outputs], Xavier normal; "prefix.bias" [outputs], 0.
Result<nn::Tensor> Linear(nn::GraphBuilder& graph, const std::string& prefix, const nn::Tensor& x,
                          std::uint32_t outputs);

// LayerNorm over the last dimension. "prefix.gamma", 1, and "prefix.beta", 0.
Result<nn::Tensor> LayerNorm(nn::GraphBuilder& graph, const std::string& prefix,
                             const nn::Tensor& x);

// BatchNorm of each of x's values. "prefix.gamma", 1; "prefix.beta", 0; statistics with momentum
// 0.1: "prefix.running_mean", 0, and "prefix.running_variance", 1.
Result<nn::Tensor> BatchNorm(nn::GraphBuilder& graph, const std::string& prefix,
                             const nn::Tensor& x);

// "prefix", a token-mixing matrix [x.dims[0], outputs] without bias: W^T X, [outputs, x.dims[1]].
// Kaiming uniform as PyTorch computes it for a plain matrix: U(+-sqrt(6 / outputs)).
Result<nn::Tensor> MixTokens(nn::GraphBuilder& graph, const std::string& prefix,
                             const nn::Tensor& x, std::uint32_t outputs);

}  // namespace cairn::worker::layers
