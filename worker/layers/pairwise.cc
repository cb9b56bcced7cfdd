#include "worker/layers/pairwise.h"

#include <optional>

#include "worker/nn/ops/arithmetic.h"
#include "worker/nn/ops/shape.h"

namespace cairn::worker::layers {

using nn::Tensor;

Result<Tensor> PairwiseSum(nn::GraphBuilder& graph, const std::string& prefix, const Tensor& e) {
  ASSIGN_OR_RETURN(const Tensor sum, nn::SumTokens(graph, prefix + ".sum", e, std::nullopt),
                   prefix);
  ASSIGN_OR_RETURN(const Tensor square, nn::Multiply(graph, prefix + ".square", sum, sum), prefix);
  ASSIGN_OR_RETURN(const Tensor squares, nn::Multiply(graph, prefix + ".squares", e, e), prefix);
  ASSIGN_OR_RETURN(const Tensor own, nn::SumTokens(graph, prefix + ".own", squares, std::nullopt),
                   prefix);
  ASSIGN_OR_RETURN(const Tensor pairs, nn::Subtract(graph, prefix + ".pairs", square, own), prefix);
  return nn::Scale(graph, prefix, nn::Sum(graph, prefix + ".total", pairs), 0.5);
}

}  // namespace cairn::worker::layers
