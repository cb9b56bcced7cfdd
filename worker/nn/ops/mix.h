// Products with weight matrices.
#pragma once

#include <optional>
#include <string>

#include "worker/nn/graph.h"

namespace cairn::worker::nn {

// y = x W + b for x flattened to a row vector: weight [x.Size(), outputs], bias [outputs] or none;
// y: [outputs].
Result<Tensor> Linear(GraphBuilder& graph, std::string name, const Tensor& x,
                      const Parameter& weight, const std::optional<Parameter>& bias);

// Y = W^T X: mixes tokens. x: [tokens, dim], weight [tokens, outputs]; y: [outputs, dim].
Result<Tensor> MixTokens(GraphBuilder& graph, std::string name, const Tensor& x,
                         const Parameter& weight);

// Y = X W + b, each token by itself with the same weights: x [tokens, in], weight [in, outputs],
// bias [outputs] or none; y [tokens, outputs].
Result<Tensor> TokenLinear(GraphBuilder& graph, std::string name, const Tensor& x,
                           const Parameter& weight, const std::optional<Parameter>& bias);

// Y[t] = X[t] W[t] + b[t], each token with weights of its own: x [tokens, in], weight [tokens, in,
// outputs], bias [tokens, outputs] or none; y [tokens, outputs].
Result<Tensor> PerTokenLinear(GraphBuilder& graph, std::string name, const Tensor& x,
                              const Parameter& weight, const std::optional<Parameter>& bias);

}  // namespace cairn::worker::nn
