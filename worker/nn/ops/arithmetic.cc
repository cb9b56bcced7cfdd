#include "worker/nn/ops/arithmetic.h"

#include <algorithm>

#include "worker/nn/op.h"

namespace cairn::worker::nn {
namespace {

// a + sign * b.
template <typename T>
class SumOp final : public Op<T> {
 public:
  SumOp(const OpEnvironment<T>& environment, std::size_t size, bool subtract)
      : kernels_(*environment.kernels), size_(size), subtract_(subtract) {}

  void Forward(const StepContext<T>&, const BlockContext<T>& block) override {
    const auto function = subtract_ ? kernels_.subtract : kernels_.add;
    function(block.in[0], block.in[1], block.panels * size_ * kLanes, block.out);
  }

  void Backward(const StepContext<T>&, const BlockContext<T>& block) override {
    for (int i = 0; i < 2; ++i)
      if (block.in_gradient[i] != nullptr)
        kernels_.scale(block.out_gradient, i == 1 && subtract_ ? T(-1) : T(1),
                       block.panels * size_ * kLanes, block.accumulate[i], block.in_gradient[i]);
  }

 private:
  const Kernels<T>& kernels_;
  const std::size_t size_;
  const bool subtract_;
};

template <typename T>
class MultiplyOp final : public Op<T> {
 public:
  MultiplyOp(const OpEnvironment<T>& environment, std::size_t size)
      : kernels_(*environment.kernels), size_(size) {}

  void Forward(const StepContext<T>&, const BlockContext<T>& block) override {
    kernels_.multiply(block.in[0], block.in[1], block.panels * size_ * kLanes, false, block.out);
  }

  void Backward(const StepContext<T>&, const BlockContext<T>& block) override {
    for (int i = 0; i < 2; ++i)
      if (block.in_gradient[i] != nullptr)
        kernels_.multiply(block.out_gradient, block.in[1 - i], block.panels * size_ * kLanes,
                          block.accumulate[i], block.in_gradient[i]);
  }

 private:
  const Kernels<T>& kernels_;
  const std::size_t size_;
};

template <typename T>
class ScaleOp final : public Op<T> {
 public:
  ScaleOp(const OpEnvironment<T>& environment, std::size_t size, double factor)
      : kernels_(*environment.kernels), size_(size), factor_(static_cast<T>(factor)) {}

  void Forward(const StepContext<T>&, const BlockContext<T>& block) override {
    kernels_.scale(block.in[0], factor_, block.panels * size_ * kLanes, false, block.out);
  }

  void Backward(const StepContext<T>&, const BlockContext<T>& block) override {
    if (block.in_gradient[0] == nullptr) return;
    kernels_.scale(block.out_gradient, factor_, block.panels * size_ * kLanes, block.accumulate[0],
                   block.in_gradient[0]);
  }

 private:
  const Kernels<T>& kernels_;
  const std::size_t size_;
  const T factor_;
};

struct FeatureShape {
  std::size_t tokens, features;
  int parameter;  // [features]
};

// y = x * w: dx = dy * w, dw = sum of dy * x.
template <typename T>
class ScaleFeaturesOp final : public Op<T> {
 public:
  ScaleFeaturesOp(const OpEnvironment<T>& environment, FeatureShape shape)
      : kernels_(*environment.kernels),
        shape_(shape),
        parameter_(environment.offsets[shape.parameter]) {}

  void Forward(const StepContext<T>& step, const BlockContext<T>& block) override {
    Apply(step, block, block.in[0], false, block.out);
  }

  void Backward(const StepContext<T>& step, const BlockContext<T>& block) override {
    kernels_.feature_sums(
        {block.rows, shape_.tokens, shape_.features, block.in[0], block.out_gradient},
        block.accumulate_parameters, block.parameter_gradients + parameter_);
    if (block.in_gradient[0] != nullptr)
      Apply(step, block, block.out_gradient, block.accumulate[0], block.in_gradient[0]);
  }

 private:
  void Apply(const StepContext<T>& step, const BlockContext<T>& block, const T* in, bool accumulate,
             T* out) {
    const T* w = step.parameters + parameter_;
    for (std::size_t t = 0; t < block.panels * shape_.tokens; ++t)
      for (std::size_t j = 0; j < shape_.features; ++j, in += kLanes, out += kLanes)
        kernels_.scale(in, w[j], kLanes, accumulate, out);
  }

  const Kernels<T>& kernels_;
  const FeatureShape shape_;
  const std::size_t parameter_;
};

// y = x + b: dx = dy, db = sum of dy.
template <typename T>
class AddBiasOp final : public Op<T> {
 public:
  AddBiasOp(const OpEnvironment<T>& environment, FeatureShape shape)
      : kernels_(*environment.kernels),
        shape_(shape),
        parameter_(environment.offsets[shape.parameter]) {}

  void Forward(const StepContext<T>& step, const BlockContext<T>& block) override {
    const T* bias = step.parameters + parameter_;
    const T* in = block.in[0];
    T* out = block.out;
    for (std::size_t t = 0; t < block.panels * shape_.tokens; ++t)
      for (std::size_t j = 0; j < shape_.features; ++j, in += kLanes, out += kLanes)
        for (std::size_t lane = 0; lane < kLanes; ++lane) out[lane] = in[lane] + bias[j];
  }

  void Backward(const StepContext<T>&, const BlockContext<T>& block) override {
    kernels_.feature_sums({block.rows, shape_.tokens, shape_.features, nullptr, block.out_gradient},
                          block.accumulate_parameters, block.parameter_gradients + parameter_);
    if (block.in_gradient[0] != nullptr)
      kernels_.scale(block.out_gradient, T(1),
                     block.panels * shape_.tokens * shape_.features * kLanes, block.accumulate[0],
                     block.in_gradient[0]);
  }

 private:
  const Kernels<T>& kernels_;
  const FeatureShape shape_;
  const std::size_t parameter_;
};

// dx[t, j] = dy[t, j] * w[t], dw[t] = sum over j of dy[t, j] * x[t, j].
template <typename T>
class ScaleTokensOp final : public Op<T> {
 public:
  ScaleTokensOp(const OpEnvironment<T>& environment, std::size_t tokens, std::size_t dim)
      : kernels_(*environment.kernels), tokens_(tokens), dim_(dim) {}

  void Forward(const StepContext<T>&, const BlockContext<T>& block) override {
    kernels_.scale_tokens(block.in[0], block.in[1], block.panels * tokens_, dim_, false, block.out);
  }

  void Backward(const StepContext<T>&, const BlockContext<T>& block) override {
    if (block.in_gradient[0] != nullptr)
      kernels_.scale_tokens(block.out_gradient, block.in[1], block.panels * tokens_, dim_,
                            block.accumulate[0], block.in_gradient[0]);
    if (block.in_gradient[1] != nullptr)
      kernels_.dot_tokens(block.out_gradient, block.in[0], block.panels * tokens_, dim_,
                          block.accumulate[1], block.in_gradient[1]);
  }

 private:
  const Kernels<T>& kernels_;
  const std::size_t tokens_, dim_;
};

OpDef CheapDef(std::string name, std::vector<Tensor> inputs) {
  OpDef def;
  def.name = std::move(name);
  def.dims = inputs[0].dims;
  def.inputs = std::move(inputs);
  def.cheap = true;
  return def;
}

Result<Tensor> AddSum(GraphBuilder& graph, std::string name, const Tensor& a, const Tensor& b,
                      bool subtract) {
  if (a.dims != b.dims)
    return ShapeError(name, subtract ? "shapes to subtract differ" : "shapes to add differ",
                      {a.dims, b.dims});
  OpDef def = CheapDef(std::move(name), {a, b});
  def.reads_input = false;
  SetOp<SumOp>(def, a.Size(), subtract);
  return graph.AddOp(std::move(def));
}

}  // namespace

Result<Tensor> Add(GraphBuilder& graph, std::string name, const Tensor& a, const Tensor& b) {
  return AddSum(graph, std::move(name), a, b, false);
}

Result<Tensor> Subtract(GraphBuilder& graph, std::string name, const Tensor& a, const Tensor& b) {
  return AddSum(graph, std::move(name), a, b, true);
}

Result<Tensor> Multiply(GraphBuilder& graph, std::string name, const Tensor& a, const Tensor& b) {
  if (a.dims != b.dims) return ShapeError(name, "shapes to multiply differ", {a.dims, b.dims});
  OpDef def = CheapDef(std::move(name), {a, b});
  SetOp<MultiplyOp>(def, a.Size());
  return graph.AddOp(std::move(def));
}

Tensor Scale(GraphBuilder& graph, std::string name, const Tensor& x, double factor) {
  OpDef def = CheapDef(std::move(name), {x});
  def.reads_input = false;
  SetOp<ScaleOp>(def, x.Size(), factor);
  return graph.AddOp(std::move(def));
}

Result<Tensor> ScaleFeatures(GraphBuilder& graph, std::string name, const Tensor& x,
                             const Parameter& scale) {
  const std::size_t features = SizeOf(scale.dims);
  if (x.dims.empty() || (features != x.dims.back() && features != 1))
    return ShapeError(name, "last dimension and scale do not fit", {x.dims, scale.dims});
  OpDef def = CheapDef(std::move(name), {x});
  def.parameters = {scale};
  SetOp<ScaleFeaturesOp>(def, FeatureShape{x.Size() / features, features, scale.id});
  return graph.AddOp(std::move(def));
}

Result<Tensor> AddBias(GraphBuilder& graph, std::string name, const Tensor& x,
                       const Parameter& bias) {
  const std::size_t features = SizeOf(bias.dims);
  if (x.dims.empty() || (features != x.dims.back() && features != x.Size()))
    return ShapeError(name, "input and bias do not fit", {x.dims, bias.dims});
  OpDef def = CheapDef(std::move(name), {x});
  def.parameters = {bias};
  def.reads_input = false;
  SetOp<AddBiasOp>(def, FeatureShape{x.Size() / features, features, bias.id});
  return graph.AddOp(std::move(def));
}

Result<Tensor> ScaleTokens(GraphBuilder& graph, std::string name, const Tensor& x,
                           const Tensor& weights) {
  if (x.dims.size() != 2 || weights.Size() != x.dims[0])
    return ShapeError(name, "tokens and their weights do not fit", {x.dims, weights.dims});
  OpDef def = CheapDef(std::move(name), {x, weights});
  SetOp<ScaleTokensOp>(def, x.dims[0], x.dims[1]);
  return graph.AddOp(std::move(def));
}

}  // namespace cairn::worker::nn
