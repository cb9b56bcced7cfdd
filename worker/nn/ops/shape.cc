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

template <typename T>
class ConcatOp final : public Op<T> {
 public:
  ConcatOp(const OpEnvironment<T>& environment, std::vector<std::size_t> sizes)
      : kernels_(*environment.kernels), sizes_(std::move(sizes)) {
    for (std::size_t size : sizes_) total_ += size;
  }

  void Forward(const StepContext<T>&, const BlockContext<T>& block) override {
    for (std::size_t p = 0; p < block.panels; ++p) {
      T* out = block.out + p * total_ * kLanes;
      for (std::size_t i = 0; i < sizes_.size(); ++i) {
        const std::size_t n = sizes_[i] * kLanes;
        out = std::copy_n(block.in[i] + p * n, n, out);
      }
    }
  }

  void Backward(const StepContext<T>&, const BlockContext<T>& block) override {
    for (std::size_t p = 0; p < block.panels; ++p) {
      const T* gradient = block.out_gradient + p * total_ * kLanes;
      for (std::size_t i = 0; i < sizes_.size(); ++i) {
        const std::size_t n = sizes_[i] * kLanes;
        if (block.in_gradient[i] != nullptr)
          CopyOrAdd(kernels_, gradient, n, block.accumulate[i], block.in_gradient[i] + p * n);
        gradient += n;
      }
    }
  }

 private:
  const Kernels<T>& kernels_;
  const std::vector<std::size_t> sizes_;  // values of each input
  std::size_t total_ = 0;
};

template <typename T>
class AddOp final : public Op<T> {
 public:
  AddOp(const OpEnvironment<T>& environment, std::size_t size)
      : kernels_(*environment.kernels), size_(size) {}

  void Forward(const StepContext<T>&, const BlockContext<T>& block) override {
    kernels_.add(block.in[0], block.in[1], block.panels * size_ * kLanes, block.out);
  }

  void Backward(const StepContext<T>&, const BlockContext<T>& block) override {
    for (int i = 0; i < 2; ++i)
      if (block.in_gradient[i] != nullptr)
        CopyOrAdd(kernels_, block.out_gradient, block.panels * size_ * kLanes, block.accumulate[i],
                  block.in_gradient[i]);
  }

 private:
  const Kernels<T>& kernels_;
  const std::size_t size_;
};

template <typename T>
class SumTokensOp final : public Op<T> {
 public:
  SumTokensOp(const OpEnvironment<T>& environment, std::size_t tokens, std::size_t dim, int bias)
      : kernels_(*environment.kernels),
        tokens_(tokens),
        dim_(dim),
        bias_(environment.offsets[bias]) {}

  void Forward(const StepContext<T>& step, const BlockContext<T>& block) override {
    const std::size_t n = dim_ * kLanes;
    for (std::size_t p = 0; p < block.panels; ++p) {
      T* out = block.out + p * n;
      for (std::size_t j = 0; j < dim_; ++j)
        std::fill_n(out + j * kLanes, kLanes, step.parameters[bias_ + j]);
      for (std::size_t t = 0; t < tokens_; ++t)
        kernels_.add(out, block.in[0] + (p * tokens_ + t) * n, n, out);
    }
  }

  void Backward(const StepContext<T>&, const BlockContext<T>& block) override {
    const std::size_t n = dim_ * kLanes;
    T* bias = block.parameter_gradients + bias_;
    if (!block.accumulate_parameters) std::fill_n(bias, dim_, T(0));
    for (std::size_t p = 0; p < block.panels; ++p) {
      const T* gradient = block.out_gradient + p * n;
      for (std::size_t i = 0; i < n; ++i) bias[i / kLanes] += gradient[i];
      if (block.in_gradient[0] == nullptr) continue;
      for (std::size_t t = 0; t < tokens_; ++t)
        CopyOrAdd(kernels_, gradient, n, block.accumulate[0],
                  block.in_gradient[0] + (p * tokens_ + t) * n);
    }
  }

 private:
  const Kernels<T>& kernels_;
  const std::size_t tokens_, dim_, bias_;
};

}  // namespace

Result<Tensor> Reshape(const Tensor& x, std::vector<std::uint32_t> dims) {
  if (SizeOf(dims) != x.Size()) return ShapeError("reshape", "sizes differ", {x.dims, dims});
  return Tensor{x.id, std::move(dims)};
}

Result<Tensor> ConcatTokens(GraphBuilder& graph, std::string name, std::span<const Tensor> inputs) {
  if (inputs.empty()) return absl::InvalidArgumentError(StrCat("op '", name, "': nothing to join"));
  OpDef def;
  std::uint32_t tokens = 0;
  std::vector<std::size_t> sizes;
  for (const Tensor& input : inputs) {
    if (input.dims.size() != 2 || input.dims[1] != inputs[0].dims[1])
      return ShapeError(name, "inputs to join must be [tokens, d] with equal d",
                        {inputs[0].dims, input.dims});
    tokens += input.dims[0];
    sizes.push_back(input.Size());
    def.inputs.push_back(input);
  }
  def.name = std::move(name);
  def.dims = {tokens, inputs[0].dims[1]};
  def.reads_input = false;
  def.cheap = true;
  SetOp<ConcatOp>(def, std::move(sizes));
  return graph.AddOp(std::move(def));
}

Result<Tensor> Add(GraphBuilder& graph, std::string name, const Tensor& a, const Tensor& b) {
  if (a.dims != b.dims) return ShapeError(name, "shapes to add differ", {a.dims, b.dims});
  OpDef def;
  def.name = std::move(name);
  def.inputs = {a, b};
  def.dims = a.dims;
  def.reads_input = false;
  def.cheap = true;
  SetOp<AddOp>(def, a.Size());
  return graph.AddOp(std::move(def));
}

Result<Tensor> SumTokens(GraphBuilder& graph, std::string name, const Tensor& x,
                         const Parameter& bias) {
  if (x.dims.size() != 2 || SizeOf(bias.dims) != x.dims[1])
    return ShapeError(name, "tokens and bias do not fit", {x.dims, bias.dims});
  OpDef def;
  def.name = std::move(name);
  def.inputs = {x};
  def.parameters = {bias};
  def.dims = {x.dims[1]};
  def.reads_input = false;
  def.cheap = true;
  SetOp<SumTokensOp>(def, x.dims[0], x.dims[1], bias.id);
  return graph.AddOp(std::move(def));
}

}  // namespace cairn::worker::nn
