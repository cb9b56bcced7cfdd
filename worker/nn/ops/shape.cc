#include "worker/nn/ops/shape.h"

#include <algorithm>

#include "worker/nn/op.h"

namespace cairn::worker::nn {
namespace {

template <typename T>
void CopyOrAdd(const Kernels<T>& kernels, const T* in, std::size_t n, bool accumulate, T* out) {
  if (accumulate) {
    kernels.add(out, in, n, out);
  } else {
    std::copy_n(in, n, out);
  }
}

// Inputs side by side, `parts` times: the tokens of all inputs (parts 1), or token by token.
template <typename T>
class ConcatOp final : public Op<T> {
 public:
  ConcatOp(const OpEnvironment<T>& environment, std::size_t parts, std::vector<std::size_t> sizes)
      : kernels_(*environment.kernels), parts_(parts), sizes_(std::move(sizes)) {
    for (std::size_t size : sizes_) total_ += size;
  }

  void Forward(const StepContext<T>&, const BlockContext<T>& block) override {
    for (std::size_t p = 0; p < block.panels * parts_; ++p) {
      T* out = block.out + p * total_ * kLanes;
      for (std::size_t i = 0; i < sizes_.size(); ++i) {
        const std::size_t n = sizes_[i] * kLanes;
        out = std::copy_n(block.in[i] + p * n, n, out);
      }
    }
  }

  void Backward(const StepContext<T>&, const BlockContext<T>& block) override {
    // Input by input: a tensor that is joined twice is written before it is added to.
    std::size_t begin = 0;
    for (std::size_t i = 0; i < sizes_.size(); begin += sizes_[i++]) {
      if (block.in_gradient[i] == nullptr) continue;
      const std::size_t n = sizes_[i] * kLanes;
      for (std::size_t p = 0; p < block.panels * parts_; ++p)
        CopyOrAdd(kernels_, block.out_gradient + (p * total_ + begin) * kLanes, n,
                  block.accumulate[i], block.in_gradient[i] + p * n);
    }
  }

 private:
  const Kernels<T>& kernels_;
  const std::size_t parts_;
  const std::vector<std::size_t> sizes_;  // values of each input in one part
  std::size_t total_ = 0;
};

// Values [begin, begin + count) of `size`.
template <typename T>
class SliceOp final : public Op<T> {
 public:
  SliceOp(const OpEnvironment<T>& environment, std::size_t size, std::size_t begin,
          std::size_t count)
      : kernels_(*environment.kernels),
        size_(size * kLanes),
        begin_(begin * kLanes),
        count_(count * kLanes) {}

  void Forward(const StepContext<T>&, const BlockContext<T>& block) override {
    for (std::size_t p = 0; p < block.panels; ++p)
      std::copy_n(block.in[0] + p * size_ + begin_, count_, block.out + p * count_);
  }

  void Backward(const StepContext<T>&, const BlockContext<T>& block) override {
    if (block.in_gradient[0] == nullptr) return;
    if (!block.accumulate[0]) std::fill_n(block.in_gradient[0], block.panels * size_, T(0));
    for (std::size_t p = 0; p < block.panels; ++p) {
      T* to = block.in_gradient[0] + p * size_ + begin_;
      kernels_.add(to, block.out_gradient + p * count_, count_, to);
    }
  }

 private:
  const Kernels<T>& kernels_;
  const std::size_t size_, begin_, count_;
};

template <typename T>
class RepeatOp final : public Op<T> {
 public:
  RepeatOp(const OpEnvironment<T>& environment, std::size_t size, std::size_t count)
      : kernels_(*environment.kernels), size_(size * kLanes), count_(count) {}

  void Forward(const StepContext<T>&, const BlockContext<T>& block) override {
    T* out = block.out;
    for (std::size_t p = 0; p < block.panels; ++p)
      for (std::size_t t = 0; t < count_; ++t)
        out = std::copy_n(block.in[0] + p * size_, size_, out);
  }

  void Backward(const StepContext<T>&, const BlockContext<T>& block) override {
    if (block.in_gradient[0] == nullptr) return;
    for (std::size_t p = 0; p < block.panels; ++p)
      for (std::size_t t = 0; t < count_; ++t)
        CopyOrAdd(kernels_, block.out_gradient + (p * count_ + t) * size_, size_,
                  block.accumulate[0] || t > 0, block.in_gradient[0] + p * size_);
  }

 private:
  const Kernels<T>& kernels_;
  const std::size_t size_, count_;
};

template <typename T>
class TransposeOp final : public Op<T> {
 public:
  TransposeOp(const OpEnvironment<T>& environment, std::size_t rows, std::size_t columns)
      : kernels_(*environment.kernels), rows_(rows), columns_(columns) {}

  void Forward(const StepContext<T>&, const BlockContext<T>& block) override {
    Turn(block.in[0], block.panels, rows_, columns_, false, block.out);
  }

  void Backward(const StepContext<T>&, const BlockContext<T>& block) override {
    if (block.in_gradient[0] == nullptr) return;
    Turn(block.out_gradient, block.panels, columns_, rows_, block.accumulate[0],
         block.in_gradient[0]);
  }

 private:
  // in [rows, columns] to out [columns, rows].
  void Turn(const T* in, std::size_t panels, std::size_t rows, std::size_t columns, bool accumulate,
            T* out) {
    for (std::size_t p = 0; p < panels; ++p, out += rows * columns * kLanes)
      for (std::size_t i = 0; i < rows; ++i)
        for (std::size_t j = 0; j < columns; ++j, in += kLanes)
          CopyOrAdd(kernels_, in, kLanes, accumulate, out + (j * rows + i) * kLanes);
  }

  const Kernels<T>& kernels_;
  const std::size_t rows_, columns_;
};

struct SumShape {
  std::size_t tokens, dim;
  double factor;
  int bias;  // parameter; -1: none
};

// y = factor * (sum of the tokens) + bias.
template <typename T>
class SumTokensOp final : public Op<T> {
 public:
  SumTokensOp(const OpEnvironment<T>& environment, SumShape shape)
      : kernels_(*environment.kernels),
        shape_(shape),
        factor_(static_cast<T>(shape.factor)),
        bias_(shape.bias >= 0 ? environment.offsets[shape.bias] : 0) {}

  void Forward(const StepContext<T>& step, const BlockContext<T>& block) override {
    const std::size_t n = shape_.dim * kLanes;
    for (std::size_t p = 0; p < block.panels; ++p) {
      T* out = block.out + p * n;
      std::fill_n(out, n, T(0));
      for (std::size_t j = 0; j < shape_.dim && shape_.bias >= 0; ++j)
        std::fill_n(out + j * kLanes, kLanes, step.parameters[bias_ + j]);
      for (std::size_t t = 0; t < shape_.tokens; ++t)
        kernels_.scale(block.in[0] + (p * shape_.tokens + t) * n, factor_, n, true, out);
    }
  }

  void Backward(const StepContext<T>&, const BlockContext<T>& block) override {
    if (shape_.bias >= 0)
      kernels_.feature_sums({block.rows, 1, shape_.dim, nullptr, block.out_gradient},
                            block.accumulate_parameters, block.parameter_gradients + bias_);
    if (block.in_gradient[0] == nullptr) return;
    const std::size_t n = shape_.dim * kLanes;
    for (std::size_t p = 0; p < block.panels; ++p)
      for (std::size_t t = 0; t < shape_.tokens; ++t)
        kernels_.scale(block.out_gradient + p * n, factor_, n, block.accumulate[0],
                       block.in_gradient[0] + (p * shape_.tokens + t) * n);
  }

 private:
  const Kernels<T>& kernels_;
  const SumShape shape_;
  const T factor_;
  const std::size_t bias_;
};

template <typename T>
class BroadcastOp final : public Op<T> {
 public:
  BroadcastOp(const OpEnvironment<T>& environment, std::size_t size, int parameter)
      : kernels_(*environment.kernels), size_(size), parameter_(environment.offsets[parameter]) {}

  void Forward(const StepContext<T>& step, const BlockContext<T>& block) override {
    T* out = block.out;
    for (std::size_t p = 0; p < block.panels; ++p)
      for (std::size_t e = 0; e < size_; ++e)
        out = std::fill_n(out, kLanes, step.parameters[parameter_ + e]);
  }

  void Backward(const StepContext<T>&, const BlockContext<T>& block) override {
    kernels_.feature_sums({block.rows, 1, size_, nullptr, block.out_gradient},
                          block.accumulate_parameters, block.parameter_gradients + parameter_);
  }

 private:
  const Kernels<T>& kernels_;
  const std::size_t size_, parameter_;
};

template <typename T>
class ConstantOp final : public Op<T> {
 public:
  ConstantOp(const OpEnvironment<T>&, std::size_t size, double value)
      : size_(size), value_(static_cast<T>(value)) {}

  void Forward(const StepContext<T>&, const BlockContext<T>& block) override {
    std::fill_n(block.out, block.panels * size_ * kLanes, value_);
  }
  void Backward(const StepContext<T>&, const BlockContext<T>&) override {}

 private:
  const std::size_t size_;
  const T value_;
};

// Ops that only move or sum values: none needs its input for the gradient.
OpDef MoveDef(std::string name, std::vector<Tensor> inputs, std::vector<std::uint32_t> dims) {
  OpDef def;
  def.name = std::move(name);
  def.inputs = std::move(inputs);
  def.dims = std::move(dims);
  def.reads_input = false;
  def.cheap = true;
  return def;
}

Tensor AddSumTokens(GraphBuilder& graph, std::string name, const Tensor& x, SumShape shape,
                    const std::optional<Parameter>& bias) {
  OpDef def = MoveDef(std::move(name), {x}, {static_cast<std::uint32_t>(shape.dim)});
  if (bias) def.parameters.push_back(*bias);
  shape.bias = bias ? bias->id : -1;
  SetOp<SumTokensOp>(def, shape);
  return graph.AddOp(std::move(def));
}

}  // namespace

Result<Tensor> Reshape(const Tensor& x, std::vector<std::uint32_t> dims) {
  if (SizeOf(dims) != x.Size()) return ShapeError("reshape", "sizes differ", {x.dims, dims});
  return Tensor{x.id, std::move(dims)};
}

Result<Tensor> ConcatTokens(GraphBuilder& graph, std::string name, std::span<const Tensor> inputs) {
  if (inputs.empty()) return absl::InvalidArgumentError(StrCat("op '", name, "': nothing to join"));
  std::uint32_t tokens = 0;
  std::vector<std::size_t> sizes;
  for (const Tensor& input : inputs) {
    if (input.dims.size() != 2 || input.dims[1] != inputs[0].dims[1])
      return ShapeError(name, "inputs to join must be [tokens, d] with equal d",
                        {inputs[0].dims, input.dims});
    tokens += input.dims[0];
    sizes.push_back(input.Size());
  }
  OpDef def = MoveDef(std::move(name), {inputs.begin(), inputs.end()}, {tokens, inputs[0].dims[1]});
  SetOp<ConcatOp>(def, std::size_t{1}, std::move(sizes));
  return graph.AddOp(std::move(def));
}

Result<Tensor> ConcatFeatures(GraphBuilder& graph, std::string name,
                              std::span<const Tensor> inputs) {
  if (inputs.empty()) return absl::InvalidArgumentError(StrCat("op '", name, "': nothing to join"));
  const auto tokens_of = [](const Tensor& x) { return x.dims.size() == 1 ? 1 : x.dims[0]; };
  const std::uint32_t tokens = tokens_of(inputs[0]);
  std::uint32_t features = 0;
  bool all_flat = true;
  std::vector<std::size_t> sizes;
  for (const Tensor& input : inputs) {
    if (input.dims.empty() || input.dims.size() > 2 || tokens_of(input) != tokens)
      return ShapeError(name, "inputs to join must be [n, d] with equal n",
                        {inputs[0].dims, input.dims});
    features += input.dims.back();
    sizes.push_back(input.dims.back());
    all_flat = all_flat && input.dims.size() == 1;
  }
  std::vector<std::uint32_t> dims{features};
  if (!all_flat) dims.insert(dims.begin(), tokens);
  OpDef def = MoveDef(std::move(name), {inputs.begin(), inputs.end()}, std::move(dims));
  SetOp<ConcatOp>(def, std::size_t{tokens}, std::move(sizes));
  return graph.AddOp(std::move(def));
}

Result<Tensor> SliceTokens(GraphBuilder& graph, std::string name, const Tensor& x,
                           std::uint32_t begin, std::uint32_t count) {
  if (x.dims.size() != 2 || count == 0 || begin > x.dims[0] || count > x.dims[0] - begin)
    return ShapeError(name, StrCat("has no tokens ", begin, " to ", begin, " + ", count), {x.dims});
  const std::size_t dim = x.dims[1];
  OpDef def = MoveDef(std::move(name), {x}, {count, x.dims[1]});
  SetOp<SliceOp>(def, x.Size(), begin * dim, count * dim);
  return graph.AddOp(std::move(def));
}

Result<Tensor> RepeatToken(GraphBuilder& graph, std::string name, const Tensor& x,
                           std::uint32_t count) {
  if (x.dims.empty() || x.dims.back() != x.Size() || count == 0)
    return ShapeError(name, StrCat("is not one token to repeat ", count, " times"), {x.dims});
  OpDef def = MoveDef(std::move(name), {x}, {count, x.dims.back()});
  SetOp<RepeatOp>(def, x.Size(), std::size_t{count});
  return graph.AddOp(std::move(def));
}

Result<Tensor> Transpose(GraphBuilder& graph, std::string name, const Tensor& x) {
  if (x.dims.size() != 2) return ShapeError(name, "only [n, d] can be transposed", {x.dims});
  OpDef def = MoveDef(std::move(name), {x}, {x.dims[1], x.dims[0]});
  SetOp<TransposeOp>(def, x.dims[0], x.dims[1]);
  return graph.AddOp(std::move(def));
}

Result<Tensor> SumTokens(GraphBuilder& graph, std::string name, const Tensor& x,
                         const std::optional<Parameter>& bias) {
  if (x.dims.size() != 2) return ShapeError(name, "has no tokens to sum", {x.dims});
  if (bias && SizeOf(bias->dims) != x.dims[1])
    return ShapeError(name, "tokens and bias do not fit", {x.dims, bias->dims});
  return AddSumTokens(graph, std::move(name), x, {x.dims[0], x.dims[1], 1, -1}, bias);
}

Result<Tensor> MeanTokens(GraphBuilder& graph, std::string name, const Tensor& x) {
  if (x.dims.size() != 2) return ShapeError(name, "has no tokens to average", {x.dims});
  return AddSumTokens(graph, std::move(name), x, {x.dims[0], x.dims[1], 1.0 / x.dims[0], -1},
                      std::nullopt);
}

Tensor Sum(GraphBuilder& graph, std::string name, const Tensor& x) {
  return AddSumTokens(graph, std::move(name), x, {x.Size(), 1, 1, -1}, std::nullopt);
}

Tensor Broadcast(GraphBuilder& graph, std::string name, const Parameter& parameter) {
  OpDef def = MoveDef(std::move(name), {}, parameter.dims);
  def.parameters = {parameter};
  SetOp<BroadcastOp>(def, SizeOf(parameter.dims), parameter.id);
  return graph.AddOp(std::move(def));
}

Tensor Constant(GraphBuilder& graph, std::string name, std::vector<std::uint32_t> dims,
                double value) {
  OpDef def = MoveDef(std::move(name), {}, std::move(dims));
  SetOp<ConstantOp>(def, SizeOf(def.dims), value);
  return graph.AddOp(std::move(def));
}

}  // namespace cairn::worker::nn
