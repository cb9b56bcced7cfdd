// Multi-head attention with projections (Vaswani et al. 2017).
#pragma once

#include <string>

#include "worker/nn/graph.h"
#include "worker/nn/ops/attention.h"

namespace cairn::worker::layers {

struct MultiHeadAttention {
  int heads = 1;
  bool bias = true;     // of the projections
  bool output = true;   // the output Linear
  bool rotary = false;  // positions = token indices, on queries and keys after their projections
  double scale = 0;     // of the scores; 0: 1 / sqrt(width / heads)
  std::uint32_t width = 0;  // of queries, keys and values; 0: that of `query`
  nn::AttentionMask mask = {};

  // "prefix.query", "prefix.key", "prefix.value", "prefix.output", each ".weight" [in, out], Xavier
  // normal, and ".bias", 0. query [n, d], memory [m, d']; result [n, d] (or [n, width] without an
  // output Linear). InvalidArgument where heads do not divide the width, naming both.
  Result<nn::Tensor> operator()(nn::GraphBuilder& graph, const std::string& prefix,
                                const nn::Tensor& query, const nn::Tensor& memory) const;
};

// x * sigmoid(MLP(x)) per token, MLP = Linear "prefix.0" d -> d, swish, Linear "prefix.1" d -> d.
Result<nn::Tensor> SelfGate(nn::GraphBuilder& graph, const std::string& prefix,
                            const nn::Tensor& x);

}  // namespace cairn::worker::layers
