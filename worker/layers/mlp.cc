#include "worker/layers/mlp.h"

#include "worker/layers/dense.h"
#include "worker/nn/ops/activation.h"

namespace cairn::worker::layers {

Result<nn::Tensor> Mlp::operator()(nn::GraphBuilder& graph, const std::string& prefix,
                                   const nn::Tensor& x) const {
  nn::Tensor y = x;
  for (std::size_t i = 0; i < hidden.size(); ++i) {
    const std::string name = StrCat(prefix, ".", i);
    ASSIGN_OR_RETURN(y, Linear(graph, name, y, hidden[i]), prefix);
    if (batch_norm) {
      ASSIGN_OR_RETURN(y, BatchNorm(graph, name + ".norm", y), prefix);
    }
    y = nn::Relu(graph, name + ".relu", y);
    ASSIGN_OR_RETURN(y, nn::Dropout(graph, name + ".dropout", y, dropout), prefix);
  }
  return Linear(graph, StrCat(prefix, ".", hidden.size()), y, outputs);
}

}  // namespace cairn::worker::layers
