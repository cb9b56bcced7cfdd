// Joining, adding and summing activations.
#pragma once

#include <span>
#include <string>

#include "worker/nn/graph.h"

namespace cairn::worker::nn {

// The same values under another shape of equal size.
Result<Tensor> Reshape(const Tensor& x, std::vector<std::uint32_t> dims);

// [n_1, d], [n_2, d], ... -> [n_1 + n_2 + ..., d], tokens in this order.
Result<Tensor> ConcatTokens(GraphBuilder& graph, std::string name, std::span<const Tensor> inputs);

// a + b, equal shapes.
Result<Tensor> Add(GraphBuilder& graph, std::string name, const Tensor& a, const Tensor& b);

// Sum of the tokens plus a bias: x [n, d], bias [d]; y [d].
Result<Tensor> SumTokens(GraphBuilder& graph, std::string name, const Tensor& x,
                         const Parameter& bias);

}  // namespace cairn::worker::nn
