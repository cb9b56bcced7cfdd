// Element-wise functions.
#pragma once

#include <string>

#include "worker/nn/graph.h"

namespace cairn::worker::nn {

// max(x, 0); gradient 0 at 0.
Tensor Relu(GraphBuilder& graph, std::string name, const Tensor& x);
// 1 / (1 + exp(-x)).
Tensor Sigmoid(GraphBuilder& graph, std::string name, const Tensor& x);
// x * sigmoid(x).
Tensor Swish(GraphBuilder& graph, std::string name, const Tensor& x);
// x * Phi(x), the exact form with erf (Hendrycks, Gimpel 2016).
Tensor Gelu(GraphBuilder& graph, std::string name, const Tensor& x);
// max(x, floor); gradient 0 where x <= floor.
Tensor Floor(GraphBuilder& graph, std::string name, const Tensor& x, double floor);

// Inverted dropout: in training an element is 0 with probability `rate`, else x / (1 - rate). The
// mask is a function of (seed, step, name of the op, row of the batch, element). In evaluation, and
// for rate 0, the identity. InvalidArgument unless 0 <= rate < 1.
Result<Tensor> Dropout(GraphBuilder& graph, std::string name, const Tensor& x, double rate);

}  // namespace cairn::worker::nn
