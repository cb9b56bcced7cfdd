// Attention between the tokens of a row.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "worker/nn/graph.h"

namespace cairn::worker::nn {

// Which (query i, key j) pairs are active: those that all given conditions allow; and with
// `diagonal` the pairs (i, i).
struct AttentionMask {
  std::optional<Tensor> keys = {};   // [m]: active where not 0
  std::optional<Tensor> ranks = {};  // [n, m] of Ranks(): active where the rank is below `active`
  std::uint32_t active = 0;
  std::vector<std::uint8_t> pairs = {};  // [n * m], row-major, active where not 0; empty: all
  bool diagonal = false;
};

struct AttentionOptions {
  int heads = 1;
  double scale = 0;  // of the scores; 0: 1 / sqrt(d / heads)
  bool softmax = true;
  AttentionMask mask = {};
};

// O = A V for each head. q [n, d], k [m, d], v [m, d_v]; o [n, d_v]; d and d_v divisible by heads.
//   S = scale * Q_h K_h^T     Q_h, K_h: columns [h d / heads, (h + 1) d / heads)
//   softmax: A_ij = M_ij exp(S_ij - max_active) / sum_active, all zeros for a row without an active
//            key; its gradient S' = A * (A' - rowsum(A * A'))
//   linear:  A = S * M
// The mask is a constant to the gradient.
// InvalidArgument for shapes or heads that do not fit.
Result<Tensor> Attention(GraphBuilder& graph, std::string name, const Tensor& q, const Tensor& k,
                         const Tensor& v, const AttentionOptions& options);

// Position of each value of x [n, m] when all n * m values are sorted, the largest first (rank 0);
// of equal values the one with the lower row-major index first. As whole numbers; no gradient.
Result<Tensor> Ranks(GraphBuilder& graph, std::string name, const Tensor& x);

// Rotary position embedding (Su et al. 2021): in each head of width w, pair j of token p (columns
// 2j and 2j + 1) is turned by the angle p * base^(-2j / w). x [tokens, d]; w = d / heads is even.
Result<Tensor> Rotary(GraphBuilder& graph, std::string name, const Tensor& x, int heads,
                      double base = 10000);

}  // namespace cairn::worker::nn
