// Element-wise arithmetic of activations. Shapes are equal unless said otherwise.
#pragma once

#include <string>

#include "worker/nn/graph.h"

namespace cairn::worker::nn {

// a + b.
Result<Tensor> Add(GraphBuilder& graph, std::string name, const Tensor& a, const Tensor& b);
// a - b.
Result<Tensor> Subtract(GraphBuilder& graph, std::string name, const Tensor& a, const Tensor& b);
// a * b, element by element. a and b may be one tensor.
Result<Tensor> Multiply(GraphBuilder& graph, std::string name, const Tensor& a, const Tensor& b);
// factor * x.
Tensor Scale(GraphBuilder& graph, std::string name, const Tensor& x, double factor);
// x [..., d] times the parameter [d] (or [1]), element by element over the last dimension.
Result<Tensor> ScaleFeatures(GraphBuilder& graph, std::string name, const Tensor& x,
                             const Parameter& scale);
// x [..., d] plus the parameter [d]; or plus a parameter of x's whole shape.
Result<Tensor> AddBias(GraphBuilder& graph, std::string name, const Tensor& x,
                       const Parameter& bias);
// y[t, j] = x[t, j] * w[t]: x [n, d], w [n]. Gradients go to both.
Result<Tensor> ScaleTokens(GraphBuilder& graph, std::string name, const Tensor& x,
                           const Tensor& weights);

}  // namespace cairn::worker::nn
