#include "worker/nn/ops/activation.h"

#include <algorithm>

#include "common/math/hash.h"
#include "worker/nn/op.h"

namespace cairn::worker::nn {
namespace {

template <typename T>
class ReluOp final : public Op<T> {
 public:
  ReluOp(const OpEnvironment<T>& environment, std::size_t size)
      : kernels_(*environment.kernels), size_(size) {}

  void Forward(const StepContext<T>&, const BlockContext<T>& block) override {
    kernels_.relu(block.in[0], block.panels * size_ * kLanes, block.out);
  }

  void Backward(const StepContext<T>&, const BlockContext<T>& block) override {
    if (block.in_gradient[0] == nullptr) return;
    kernels_.relu_gradient(block.in[0], block.out_gradient, block.panels * size_ * kLanes,
                           block.accumulate[0], block.in_gradient[0]);
  }

 private:
  const Kernels<T>& kernels_;
  const std::size_t size_;
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

}  // namespace

Tensor Relu(GraphBuilder& graph, std::string name, const Tensor& x) {
  OpDef def = ElementwiseDef(std::move(name), x);
  SetOp<ReluOp>(def, x.Size());
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
