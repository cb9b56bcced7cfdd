// Sums of products of pairs of tokens.
#pragma once

#include <string>

#include "worker/nn/graph.h"

namespace cairn::worker::layers {

// Sum over i < j of <e_i, e_j> for the tokens of e [n, d], in time linear in n (Rendle 2010, lemma
// 3.1): half the sum over the d values of (sum of e_i)^2 - sum of e_i^2. [1], no parameters.
Result<nn::Tensor> PairwiseSum(nn::GraphBuilder& graph, const std::string& prefix,
                               const nn::Tensor& e);

}  // namespace cairn::worker::layers
