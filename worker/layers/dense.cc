#include "worker/layers/dense.h"

#include "worker/nn/ops/mix.h"
#include "worker/nn/ops/norm.h"

namespace cairn::worker::layers {

using nn::Init;
using nn::Parameter;
using nn::Tensor;

Result<Tensor> Linear(nn::GraphBuilder& graph, const std::string& prefix, const Tensor& x,
                      std::uint32_t outputs) {
  const auto inputs = static_cast<std::uint32_t>(x.Size());
  ASSIGN_OR_RETURN(
      const Parameter weight,
      graph.AddParameter({.name = prefix + ".weight", .dims = {inputs, outputs}, .is_weight = true},
                         Init::XavierNormal(inputs, outputs)),
      prefix);
  ASSIGN_OR_RETURN(
      const Parameter bias,
      graph.AddParameter({.name = prefix + ".bias", .dims = {outputs}}, Init::Constant(0)), prefix);
  return nn::Linear(graph, prefix, x, weight, bias);
}

Result<Tensor> LayerNorm(nn::GraphBuilder& graph, const std::string& prefix, const Tensor& x) {
  const std::uint32_t size = x.dims.back();
  ASSIGN_OR_RETURN(
      const Parameter gamma,
      graph.AddParameter({.name = prefix + ".gamma", .dims = {size}}, Init::Constant(1)), prefix);
  ASSIGN_OR_RETURN(
      const Parameter beta,
      graph.AddParameter({.name = prefix + ".beta", .dims = {size}}, Init::Constant(0)), prefix);
  return nn::LayerNorm(graph, prefix, x, gamma, beta);
}

Result<Tensor> BatchNorm(nn::GraphBuilder& graph, const std::string& prefix, const Tensor& x) {
  const auto size = static_cast<std::uint32_t>(x.Size());
  nn::BatchNormParameters parameters;
  ASSIGN_OR_RETURN(
      parameters.gamma,
      graph.AddParameter({.name = prefix + ".gamma", .dims = {size}}, Init::Constant(1)), prefix);
  ASSIGN_OR_RETURN(
      parameters.beta,
      graph.AddParameter({.name = prefix + ".beta", .dims = {size}}, Init::Constant(0)), prefix);
  ASSIGN_OR_RETURN(
      parameters.running_mean,
      graph.AddParameter({.name = prefix + ".running_mean", .dims = {size}, .is_statistic = true},
                         Init::Constant(0)),
      prefix);
  ASSIGN_OR_RETURN(parameters.running_variance,
                   graph.AddParameter(
                       {.name = prefix + ".running_variance", .dims = {size}, .is_statistic = true},
                       Init::Constant(1)),
                   prefix);
  return nn::BatchNorm(graph, prefix, x, parameters);
}

Result<Tensor> MixTokens(nn::GraphBuilder& graph, const std::string& prefix, const Tensor& x,
                         std::uint32_t outputs) {
  ASSIGN_OR_RETURN(
      const Parameter weight,
      graph.AddParameter({.name = prefix, .dims = {x.dims.front(), outputs}, .is_weight = true},
                         Init::KaimingUniform(outputs)),
      prefix);
  return nn::MixTokens(graph, prefix, x, weight);
}

}  // namespace cairn::worker::layers
