// GraphBuilder: parameters, their initial values, ops.
#include <algorithm>
#include <cmath>

#include <glog/logging.h>

#include "common/math/hash.h"
#include "common/math/rng.h"
#include "worker/nn/op.h"

namespace cairn::worker::nn {

std::size_t Tensor::Size() const { return SizeOf(dims); }

std::string ShapeText(const std::vector<std::uint32_t>& dims) {
  std::string text = "[";
  for (std::size_t i = 0; i < dims.size(); ++i) StrAppend(text, i == 0 ? "" : ", ", dims[i]);
  return text + "]";
}

Status ShapeError(std::string_view op, std::string_view problem,
                  std::initializer_list<std::vector<std::uint32_t>> shapes) {
  std::string text = StrCat("op '", op, "': ", problem, ":");
  for (const auto& dims : shapes) StrAppend(text, " ", ShapeText(dims));
  return absl::InvalidArgumentError(text);
}

Init Init::XavierNormal(std::size_t fan_in, std::size_t fan_out) {
  return Normal(std::sqrt(2.0 / static_cast<double>(fan_in + fan_out)));
}
Init Init::KaimingUniform(std::size_t fan_in) {
  return Uniform(std::sqrt(6.0 / static_cast<double>(fan_in)));
}

GraphBuilder::GraphBuilder(std::uint64_t seed) : seed_(seed) {}
GraphBuilder::~GraphBuilder() = default;
GraphBuilder::GraphBuilder(GraphBuilder&&) noexcept = default;
GraphBuilder& GraphBuilder::operator=(GraphBuilder&&) noexcept = default;

Result<Parameter> GraphBuilder::AddParameter(DenseTensor tensor, Init init) {
  const bool taken = std::any_of(layout_.begin(), layout_.end(),
                                 [&](const DenseTensor& t) { return t.name == tensor.name; });
  if (taken)
    return absl::InvalidArgumentError(StrCat("two parameters are named '", tensor.name, "'"));
  if (tensor.Floats() == 0)
    return ShapeError(tensor.name, "a parameter must not be empty", {tensor.dims});
  Parameter parameter{static_cast<int>(layout_.size()), tensor.dims};
  layout_.push_back(std::move(tensor));
  inits_.push_back(init);
  return parameter;
}

Tensor GraphBuilder::AddOp(OpDef def) {
  for (const Parameter& parameter : def.parameters)
    for (const OpDef& other : ops_)
      for (const Parameter& used : other.parameters)
        CHECK_NE(used.id, parameter.id) << "ops '" << other.name << "' and '" << def.name
                                        << "' share the parameter " << layout_[used.id].name;
  for (const Tensor& input : def.inputs) {
    CHECK_GE(input.id, 0) << def.name;
    CHECK_EQ(SizeOf(ops_[input.id].dims), input.Size()) << def.name;
  }
  Tensor output{static_cast<int>(ops_.size()), def.dims};
  ops_.push_back(std::move(def));
  return output;
}

std::size_t GraphBuilder::ParameterFloats() const {
  std::size_t n = 0;
  for (const DenseTensor& tensor : layout_) n += tensor.Floats();
  return n;
}

std::size_t GraphBuilder::TrainedFloats() const {
  std::size_t n = 0;
  for (const DenseTensor& tensor : layout_)
    if (!tensor.is_statistic) n += tensor.Floats();
  return n;
}

std::vector<float> GraphBuilder::InitialValues() const {
  std::vector<float> values(ParameterFloats());
  std::size_t at = 0;
  for (std::size_t i = 0; i < layout_.size(); ++i) {
    const std::span<float> out(values.data() + at, layout_[i].Floats());
    const std::uint64_t stream = HashBytes(layout_[i].name, 0);
    const auto value = static_cast<float>(inits_[i].value);
    switch (inits_[i].kind) {
      case Init::Kind::kConstant:
        std::fill(out.begin(), out.end(), value);
        break;
      case Init::Kind::kUniform:
        FillUniform(seed_, stream, -value, value, out);
        break;
      case Init::Kind::kNormal:
        FillNormal(seed_, stream, 0, value, out);
        break;
    }
    at += out.size();
  }
  return values;
}

}  // namespace cairn::worker::nn
