// Products of two activations, row of the batch by row.
#pragma once

#include <string>

#include "worker/nn/graph.h"

namespace cairn::worker::nn {

// C = A B^T for each row of the batch. a: [m, d], b: [n, d]; c: [m, n].
Result<Tensor> RowProduct(GraphBuilder& graph, std::string name, const Tensor& a, const Tensor& b);

// The compressed Gram block of models.md 2.9: G = X0 (E^T Y), with weight Y [tokens of e, rank].
// x0: [n, d], e: [tokens, d]; g: [n, rank]. The n x n Gram matrix is never formed. Both steps are
// ops of their own: q^T = Y^T E mixes tokens, G = X0 (q^T)^T is a RowProduct.
Result<Tensor> CompressedGram(GraphBuilder& graph, const std::string& name, const Tensor& x0,
                              const Tensor& e, const Parameter& weight);

}  // namespace cairn::worker::nn
