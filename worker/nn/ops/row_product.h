// Products of two activations, row of the batch by row.
#pragma once

#include <string>

#include "worker/nn/graph.h"

namespace cairn::worker::nn {

// C = A B^T for each row of the batch. a: [m, d], b: [n, d]; c: [m, n]. a and b may be one tensor.
Result<Tensor> RowProduct(GraphBuilder& graph, std::string name, const Tensor& a, const Tensor& b);

// C = A B. a: [m, k], b: [k, d]; c: [m, d].
Result<Tensor> RowMatrixProduct(GraphBuilder& graph, std::string name, const Tensor& a,
                                const Tensor& b);

// Inner products of the tokens z [m, d]: o_(ij) = <z_i, z_j> for i < j, row-major; [m (m - 1) / 2].
// m >= 2. Gradient: with D the strictly upper matrix of dO, dZ = (D + D^T) Z.
Result<Tensor> PairwiseDots(GraphBuilder& graph, std::string name, const Tensor& z);

// The compressed Gram block: G = X0 (E^T Y), with weight Y [tokens of e, rank].
// x0: [n, d], e: [tokens, d]; g: [n, rank]. The n x n Gram matrix is never formed. Both steps are
// ops of their own: q^T = Y^T E mixes tokens, G = X0 (q^T)^T is a RowProduct.
Result<Tensor> CompressedGram(GraphBuilder& graph, const std::string& name, const Tensor& x0,
                              const Tensor& e, const Parameter& weight);

}  // namespace cairn::worker::nn
