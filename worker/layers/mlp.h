// Multi-layer perceptron.
#pragma once

#include <string>
#include <vector>

#include "worker/nn/graph.h"

namespace cairn::worker::layers {

struct Mlp {
  std::vector<std::uint32_t> hidden;
  std::uint32_t outputs = 1;
  bool batch_norm = true;
  double dropout = 0;

  // Each hidden layer i: Linear "prefix.i", BatchNorm "prefix.i.norm", ReLU, dropout; then a Linear
  // "prefix.<number of hidden layers>" without activation. x of any shape is flattened; the result
  // is [outputs].
  Result<nn::Tensor> operator()(nn::GraphBuilder& graph, const std::string& prefix,
                                const nn::Tensor& x) const;
};

}  // namespace cairn::worker::layers
