// Joining, cutting and summing activations.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "worker/nn/graph.h"

namespace cairn::worker::nn {

// The same values under another shape of equal size.
Result<Tensor> Reshape(const Tensor& x, std::vector<std::uint32_t> dims);

// [n_1, d], [n_2, d], ... -> [n_1 + n_2 + ..., d], tokens in this order.
Result<Tensor> ConcatTokens(GraphBuilder& graph, std::string name, std::span<const Tensor> inputs);
// [n, d_1], [n, d_2], ... -> [n, d_1 + d_2 + ...]. Inputs of one dimension count as [1, d]; if all
// are, the result has one dimension too.
Result<Tensor> ConcatFeatures(GraphBuilder& graph, std::string name,
                              std::span<const Tensor> inputs);
// Tokens [begin, begin + count) of x [n, d]: [count, d].
Result<Tensor> SliceTokens(GraphBuilder& graph, std::string name, const Tensor& x,
                           std::uint32_t begin, std::uint32_t count);
// x [1, d] or [d], `count` times: [count, d].
Result<Tensor> RepeatToken(GraphBuilder& graph, std::string name, const Tensor& x,
                           std::uint32_t count);
// x [n, d] -> [d, n].
Result<Tensor> Transpose(GraphBuilder& graph, std::string name, const Tensor& x);

// Sum of the tokens, plus a bias [d] if there is one: x [n, d]; y [d].
Result<Tensor> SumTokens(GraphBuilder& graph, std::string name, const Tensor& x,
                         const std::optional<Parameter>& bias);
// Mean of the tokens: x [n, d]; y [d].
Result<Tensor> MeanTokens(GraphBuilder& graph, std::string name, const Tensor& x);
// Sum of all values: [1].
Tensor Sum(GraphBuilder& graph, std::string name, const Tensor& x);

// The same for every row: a parameter of any shape; or a constant.
Tensor Broadcast(GraphBuilder& graph, std::string name, const Parameter& parameter);
Tensor Constant(GraphBuilder& graph, std::string name, std::vector<std::uint32_t> dims,
                double value);

}  // namespace cairn::worker::nn
