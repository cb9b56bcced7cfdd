// Normalisation: LayerNorm (Ba et al. 2016), BatchNorm (Ioffe, Szegedy 2015).
#pragma once

#include <optional>
#include <string>

#include "worker/nn/graph.h"

namespace cairn::worker::nn {

inline constexpr double kNormEpsilon = 1e-5;  // inside the square root

// y = gamma * (x - mean) / sqrt(biased variance + epsilon) + beta, over the last dimension of x:
// gamma and beta [last dimension]. Reshape x to one dimension to normalise all of it.
Result<Tensor> LayerNorm(GraphBuilder& graph, std::string name, const Tensor& x,
                         const Parameter& gamma, const Parameter& beta);

// The same for each feature over the rows of the batch, in training; with the running statistics in
// evaluation. The "gradients" of the statistics are the batch's mean and unbiased variance (biased
// where there is but one value, whose unbiased variance does not exist).
// All parameters [x.Size()]: every value is a feature. Or all [d] for x [tokens, d]: statistics are
// taken over rows and tokens together.
struct BatchNormParameters {
  std::optional<Parameter> gamma;  // none: 1
  std::optional<Parameter> beta;   // none: 0
  Parameter running_mean;
  Parameter running_variance;
};
Result<Tensor> BatchNorm(GraphBuilder& graph, std::string name, const Tensor& x,
                         const BatchNormParameters& parameters);

}  // namespace cairn::worker::nn
