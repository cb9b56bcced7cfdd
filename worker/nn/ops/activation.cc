#include "worker/nn/ops/activation.h"

#include <algorithm>

#include "common/math/hash.h"
#include "worker/nn/op.h"

namespace cairn::worker::nn {
namespace {

enum class Function { kRelu, kSigmoid, kSwish, kGelu };

// A kernel y = f(x), and one that reads x, or y of the sigmoid, for the gradient.
template <typename T>
class FunctionOp final : public Op<T> {
 public:
  FunctionOp(const OpEnvironment<T>& environment, std::size_t size, Function function)
      : size_(size), reads_output_(function == Function::kSigmoid) {
    const Kernels<T>& kernels = *environment.kernels;
    switch (function) {
      case Function::kRelu:
        forward_ = kernels.relu;
        gradient_ = kernels.relu_gradient;
        break;
      case Function::kSigmoid:
        forward_ = kernels.sigmoid;
        gradient_ = kernels.sigmoid_gradient;
        break;
      case Function::kSwish:
        forward_ = kernels.swish;
        gradient_ = kernels.swish_gradient;
        break;
      case Function::kGelu:
        forward_ = kernels.gelu;
        gradient_ = kernels.gelu_gradient;
        break;
    }
  }

  void Forward(const StepContext<T>&, const BlockContext<T>& block) override {
    forward_(block.in[0], block.panels * size_ * kLanes, block.out);
  }

  void Backward(const StepContext<T>&, const BlockContext<T>& block) override {
    if (block.in_gradient[0] == nullptr) return;
    gradient_(reads_output_ ? block.out : block.in[0], block.out_gradient,
              block.panels * size_ * kLanes, block.accumulate[0], block.in_gradient[0]);
  }

 private:
  const std::size_t size_;
  const bool reads_output_;
  decltype(Kernels<T>::relu) forward_ = nullptr;
  decltype(Kernels<T>::relu_gradient) gradient_ = nullptr;
};

template <typename T>
class FloorOp final : public Op<T> {
 public:
  FloorOp(const OpEnvironment<T>& environment, std::size_t size, double floor)
      : kernels_(*environment.kernels), size_(size), floor_(static_cast<T>(floor)) {}

  void Forward(const StepContext<T>&, const BlockContext<T>& block) override {
    kernels_.floor(block.in[0], floor_, block.panels * size_ * kLanes, block.out);
  }

  void Backward(const StepContext<T>&, const BlockContext<T>& block) override {
    if (block.in_gradient[0] == nullptr) return;
    kernels_.floor_gradient(block.in[0], floor_, block.out_gradient, block.panels * size_ * kLanes,
                            block.accumulate[0], block.in_gradient[0]);
  }

 private:
  const Kernels<T>& kernels_;
  const std::size_t size_;
  const T floor_;
};

template <typename T>
class DropoutOp final : public Op<T> {
 public:
  DropoutOp(const OpEnvironment<T>& environment, std::size_t size, double rate,
            std::uint64_t stream)
      : kernels_(*environment.kernels),
        size_(size),
        rate_(static_cast<float>(rate)),
        seed_(Mix64(environment.seed ^ stream)) {}

  void Prepare(const StepContext<T>& step, int thread, int /*threads*/) override {
    if (thread != 0 || !step.training) return;
    row_keys_.resize(PanelsOf(step.rows) * kLanes);
    const std::uint64_t key = Mix64(seed_ + step.input->step);
    for (std::size_t r = 0; r < row_keys_.size(); ++r)
      row_keys_[r] = static_cast<std::uint32_t>(Mix64(key + r) >> 32);
  }

  void Forward(const StepContext<T>& step, const BlockContext<T>& block) override {
    if (step.training) {
      Apply(block.in[0], block, false, block.out);
    } else {
      std::copy_n(block.in[0], block.panels * size_ * kLanes, block.out);
    }
  }

  void Backward(const StepContext<T>&, const BlockContext<T>& block) override {
    if (block.in_gradient[0] == nullptr) return;
    Apply(block.out_gradient, block, block.accumulate[0], block.in_gradient[0]);
  }

 private:
  void Apply(const T* in, const BlockContext<T>& block, bool accumulate, T* out) {
    kernels_.dropout(in, row_keys_.data() + block.first_row, block.panels, size_, rate_, accumulate,
                     out);
  }

  const Kernels<T>& kernels_;
  const std::size_t size_;
  const float rate_;
  const std::uint64_t seed_;
  std::vector<std::uint32_t> row_keys_;
};

OpDef ElementwiseDef(std::string name, const Tensor& x) {
  OpDef def;
  def.name = std::move(name);
  def.inputs = {x};
  def.dims = x.dims;
  def.cheap = true;
  return def;
}

Tensor AddFunction(GraphBuilder& graph, std::string name, const Tensor& x, Function function) {
  OpDef def = ElementwiseDef(std::move(name), x);
  def.reads_output = function == Function::kSigmoid;
  def.reads_input = !def.reads_output;
  SetOp<FunctionOp>(def, x.Size(), function);
  return graph.AddOp(std::move(def));
}

}  // namespace

Tensor Relu(GraphBuilder& graph, std::string name, const Tensor& x) {
  return AddFunction(graph, std::move(name), x, Function::kRelu);
}
Tensor Sigmoid(GraphBuilder& graph, std::string name, const Tensor& x) {
  return AddFunction(graph, std::move(name), x, Function::kSigmoid);
}
Tensor Swish(GraphBuilder& graph, std::string name, const Tensor& x) {
  return AddFunction(graph, std::move(name), x, Function::kSwish);
}
Tensor Gelu(GraphBuilder& graph, std::string name, const Tensor& x) {
  return AddFunction(graph, std::move(name), x, Function::kGelu);
}

Tensor Floor(GraphBuilder& graph, std::string name, const Tensor& x, double floor) {
  OpDef def = ElementwiseDef(std::move(name), x);
  SetOp<FloorOp>(def, x.Size(), floor);
  return graph.AddOp(std::move(def));
}

Result<Tensor> Dropout(GraphBuilder& graph, std::string name, const Tensor& x, double rate) {
  if (!(rate >= 0 && rate < 1))
    return absl::InvalidArgumentError(
        StrCat("op '", name, "': dropout rate must be in [0, 1), not ", rate));
  if (rate == 0) return x;
  OpDef def = ElementwiseDef(std::move(name), x);
  def.reads_input = false;
  const std::uint64_t stream = HashBytes(def.name, 0x64726f70ull);
  SetOp<DropoutOp>(def, x.Size(), rate, stream);
  return graph.AddOp(std::move(def));
}

}  // namespace cairn::worker::nn
