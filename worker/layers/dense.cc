#include "worker/layers/dense.h"

#include <optional>

#include "worker/nn/ops/mix.h"
#include "worker/nn/ops/norm.h"

namespace cairn::worker::layers {
namespace {

using nn::Init;
using nn::Parameter;
using nn::Tensor;

Result<Parameter> AddConstant(nn::GraphBuilder& graph, std::string name,
                              std::vector<std::uint32_t> dims, double value) {
  return graph.AddParameter({.name = std::move(name), .dims = std::move(dims)},
                            Init::Constant(value));
}

Result<Parameter> AddWeight(nn::GraphBuilder& graph, std::string name,
                            std::vector<std::uint32_t> dims, Init init) {
  return graph.AddParameter({.name = std::move(name), .dims = std::move(dims), .is_weight = true},
                            init);
}

// "prefix.running_mean", 0, and "prefix.running_variance", 1.
Status AddStatistics(nn::GraphBuilder& graph, const std::string& prefix, std::uint32_t size,
                     nn::BatchNormParameters* parameters) {
  ASSIGN_OR_RETURN(
      parameters->running_mean,
      graph.AddParameter({.name = prefix + ".running_mean", .dims = {size}, .is_statistic = true},
                         Init::Constant(0)),
      prefix);
  ASSIGN_OR_RETURN(parameters->running_variance,
                   graph.AddParameter(
                       {.name = prefix + ".running_variance", .dims = {size}, .is_statistic = true},
                       Init::Constant(1)),
                   prefix);
  return OkStatus();
}

Result<Tensor> BatchNormOf(nn::GraphBuilder& graph, const std::string& prefix, const Tensor& x,
                           std::uint32_t features) {
  nn::BatchNormParameters parameters;
  ASSIGN_OR_RETURN(parameters.gamma, AddConstant(graph, prefix + ".gamma", {features}, 1), prefix);
  ASSIGN_OR_RETURN(parameters.beta, AddConstant(graph, prefix + ".beta", {features}, 0), prefix);
  RETURN_IF_ERROR(AddStatistics(graph, prefix, features, &parameters), prefix);
  return nn::BatchNorm(graph, prefix, x, parameters);
}

Status CheckTokens(const std::string& prefix, const Tensor& x) {
  if (x.dims.size() == 2) return OkStatus();
  return absl::InvalidArgumentError(StrCat("layer '", prefix, "' needs tokens [n, d]"));
}

struct LinearParameters {
  Parameter weight;  // [inputs, outputs]
  std::optional<Parameter> bias;
};

Result<LinearParameters> AddLinear(nn::GraphBuilder& graph, const std::string& prefix,
                                   std::uint32_t inputs, std::uint32_t outputs, bool bias) {
  LinearParameters parameters;
  ASSIGN_OR_RETURN(
      parameters.weight,
      AddWeight(graph, prefix + ".weight", {inputs, outputs}, Init::XavierNormal(inputs, outputs)),
      prefix);
  if (bias) {
    ASSIGN_OR_RETURN(parameters.bias, AddConstant(graph, prefix + ".bias", {outputs}, 0), prefix);
  }
  return parameters;
}

}  // namespace

Result<Tensor> Linear(nn::GraphBuilder& graph, const std::string& prefix, const Tensor& x,
                      std::uint32_t outputs, bool bias) {
  ASSIGN_OR_RETURN(const LinearParameters linear,
                   AddLinear(graph, prefix, static_cast<std::uint32_t>(x.Size()), outputs, bias),
                   prefix);
  return nn::Linear(graph, prefix, x, linear.weight, linear.bias);
}

Result<Tensor> TokenLinear(nn::GraphBuilder& graph, const std::string& prefix, const Tensor& x,
                           std::uint32_t outputs, bool bias) {
  RETURN_IF_ERROR(CheckTokens(prefix, x), prefix);
  ASSIGN_OR_RETURN(const LinearParameters linear,
                   AddLinear(graph, prefix, x.dims[1], outputs, bias), prefix);
  return nn::TokenLinear(graph, prefix, x, linear.weight, linear.bias);
}

Result<Tensor> PerTokenLinear(nn::GraphBuilder& graph, const std::string& prefix, const Tensor& x,
                              std::uint32_t outputs) {
  RETURN_IF_ERROR(CheckTokens(prefix, x), prefix);
  const std::uint32_t tokens = x.dims[0], inputs = x.dims[1];
  ASSIGN_OR_RETURN(const Parameter weight,
                   AddWeight(graph, prefix + ".weight", {tokens, inputs, outputs},
                             Init::XavierNormal(inputs, outputs)),
                   prefix);
  ASSIGN_OR_RETURN(const Parameter bias, AddConstant(graph, prefix + ".bias", {tokens, outputs}, 0),
                   prefix);
  return nn::PerTokenLinear(graph, prefix, x, weight, bias);
}

Result<Tensor> LayerNorm(nn::GraphBuilder& graph, const std::string& prefix, const Tensor& x) {
  const std::uint32_t size = x.dims.back();
  ASSIGN_OR_RETURN(const Parameter gamma, AddConstant(graph, prefix + ".gamma", {size}, 1), prefix);
  ASSIGN_OR_RETURN(const Parameter beta, AddConstant(graph, prefix + ".beta", {size}, 0), prefix);
  return nn::LayerNorm(graph, prefix, x, gamma, beta);
}

Result<Tensor> BatchNorm(nn::GraphBuilder& graph, const std::string& prefix, const Tensor& x) {
  return BatchNormOf(graph, prefix, x, static_cast<std::uint32_t>(x.Size()));
}

Result<Tensor> TokenBatchNorm(nn::GraphBuilder& graph, const std::string& prefix, const Tensor& x) {
  RETURN_IF_ERROR(CheckTokens(prefix, x), prefix);
  return BatchNormOf(graph, prefix, x, x.dims[1]);
}

Result<Tensor> PlainBatchNorm(nn::GraphBuilder& graph, const std::string& prefix, const Tensor& x) {
  nn::BatchNormParameters parameters;
  RETURN_IF_ERROR(AddStatistics(graph, prefix, x.dims.back(), &parameters), prefix);
  return nn::BatchNorm(graph, prefix, x, parameters);
}

Result<Tensor> MixTokens(nn::GraphBuilder& graph, const std::string& prefix, const Tensor& x,
                         std::uint32_t outputs, MixInit init) {
  RETURN_IF_ERROR(CheckTokens(prefix, x), prefix);
  ASSIGN_OR_RETURN(
      const Parameter weight,
      AddWeight(graph, prefix, {x.dims[0], outputs},
                init == MixInit::kKaimingUniform ? Init::KaimingUniform(outputs)
                                                 : Init::XavierNormal(x.dims[0], outputs)),
      prefix);
  return nn::MixTokens(graph, prefix, x, weight);
}

}  // namespace cairn::worker::layers
