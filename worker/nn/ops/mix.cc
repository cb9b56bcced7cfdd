#include "worker/nn/ops/mix.h"

#include "common/base/thread_pool.h"
#include "worker/nn/huge_buffer.h"
#include "worker/nn/op.h"

namespace cairn::worker::nn {
namespace {

// An output costs `depth` multiplications; to write it to memory and read it back costs as much as
// about a hundred.
constexpr std::size_t kCheapDepth = 128;

// More weights than this do not stay in the nearest caches beside the activations.
constexpr std::size_t kWideWeights = 64 * 1024 / sizeof(float);

struct MixShape {
  std::size_t depth, outputs, columns;
  int weight, bias;        // parameters; bias -1: none
  std::size_t tokens = 1;  // each with a product of its own, with the same weights
};

// dX = dY W^T, dW += X^T dY, db += column sums of dY.
template <typename T>
class MixOp final : public Op<T> {
 public:
  MixOp(const OpEnvironment<T>& environment, MixShape shape)
      : kernels_(*environment.kernels),
        shape_(shape),
        weight_(environment.offsets[shape.weight]),
        bias_(shape.bias >= 0 ? environment.offsets[shape.bias] : 0),
        packed_(PackedFloats(kernels_, shape.depth, shape.outputs)),
        packed_transpose_(PackedFloats(kernels_, shape.outputs, shape.depth)) {}

  std::size_t WorkspaceFloats() const override {
    return kernels_.mix_gradient_workspace(shape_.outputs);
  }

  void Prepare(const StepContext<T>& step, int thread, int threads) override {
    const T* w = step.parameters + weight_;
    Pack({w, shape_.depth, shape_.outputs, shape_.outputs, 1}, thread, threads, packed_);
    if (step.training)
      Pack({w, shape_.outputs, shape_.depth, 1, shape_.outputs}, thread, threads,
           packed_transpose_);
  }

  void Forward(const StepContext<T>& step, const BlockContext<T>& block) override {
    MixArgs<T> args = Args(block);
    args.packed = packed_.data();
    args.depth = shape_.depth;
    args.outputs = shape_.outputs;
    args.in = block.in[0];
    args.in_stride = InStride();
    args.out = block.out;
    args.out_stride = OutStride();
    if (shape_.bias >= 0) args.bias = step.parameters + bias_;
    kernels_.mix(args);
  }

  void Backward(const StepContext<T>&, const BlockContext<T>& block) override {
    MixGradientArgs<T> weight;
    weight.depth = shape_.depth;
    weight.outputs = shape_.outputs;
    weight.in = block.in[0];
    weight.in_stride = InStride();
    weight.out_gradient = block.out_gradient;
    weight.out_stride = OutStride();
    weight.panels = block.panels * shape_.tokens;
    weight.columns = shape_.columns;
    weight.weight_gradient = block.parameter_gradients + weight_;
    weight.bias_gradient = shape_.bias >= 0 ? block.parameter_gradients + bias_ : nullptr;
    weight.accumulate = block.accumulate_parameters;
    weight.workspace = block.workspace;
    kernels_.mix_weight_gradient(weight);
    if (block.in_gradient[0] == nullptr) return;
    MixArgs<T> args = Args(block);
    args.packed = packed_transpose_.data();
    args.depth = shape_.outputs;
    args.outputs = shape_.depth;
    args.in = block.out_gradient;
    args.in_stride = OutStride();
    args.out = block.in_gradient[0];
    args.out_stride = InStride();
    args.accumulate = block.accumulate[0];
    kernels_.mix(args);
  }

  std::size_t MemoryBytes() const override { return packed_.bytes() + packed_transpose_.bytes(); }

 private:
  std::size_t InStride() const { return shape_.depth * shape_.columns * kLanes; }
  std::size_t OutStride() const { return shape_.outputs * shape_.columns * kLanes; }

  MixArgs<T> Args(const BlockContext<T>& block) const {
    MixArgs<T> args;
    args.panels = block.panels * shape_.tokens;
    args.columns = shape_.columns;
    return args;
  }

  void Pack(const WeightView<T>& view, int thread, int threads, HugeBuffer<T>& packed) {
    const std::size_t tiles = RoundUp(view.outputs, kernels_.tile_outputs) / kernels_.tile_outputs;
    kernels_.pack_weights(view, PartBegin(tiles, threads, thread),
                          PartBegin(tiles, threads, thread + 1), packed.data());
  }

  const Kernels<T>& kernels_;
  const MixShape shape_;
  const std::size_t weight_, bias_;
  HugeBuffer<T> packed_;            // W
  HugeBuffer<T> packed_transpose_;  // W^T
};

// PerTokenLinear: a Linear for each token, whose panels lie a whole row of tokens apart.
template <typename T>
class PerTokenMixOp final : public Op<T> {
 public:
  PerTokenMixOp(const OpEnvironment<T>& environment, MixShape shape)
      : kernels_(*environment.kernels),
        shape_(shape),
        weight_(environment.offsets[shape.weight]),
        bias_(shape.bias >= 0 ? environment.offsets[shape.bias] : 0),
        packed_token_(PackedFloats(kernels_, shape.depth, shape.outputs)),
        packed_transpose_token_(PackedFloats(kernels_, shape.outputs, shape.depth)),
        packed_(packed_token_ * shape.tokens),
        packed_transpose_(packed_transpose_token_ * shape.tokens) {}

  std::size_t WorkspaceFloats() const override {
    return kernels_.mix_gradient_workspace(shape_.outputs);
  }
  std::size_t MemoryBytes() const override { return packed_.bytes() + packed_transpose_.bytes(); }

  void Prepare(const StepContext<T>& step, int thread, int threads) override {
    const std::size_t end = PartBegin(shape_.tokens, threads, thread + 1);
    for (std::size_t t = PartBegin(shape_.tokens, threads, thread); t < end; ++t) {
      const T* w = step.parameters + weight_ + t * shape_.depth * shape_.outputs;
      Pack({w, shape_.depth, shape_.outputs, shape_.outputs, 1},
           packed_.data() + t * packed_token_);
      if (step.training)
        Pack({w, shape_.outputs, shape_.depth, 1, shape_.outputs},
             packed_transpose_.data() + t * packed_transpose_token_);
    }
  }

  void Forward(const StepContext<T>& step, const BlockContext<T>& block) override {
    for (std::size_t t = 0; t < shape_.tokens; ++t) {
      MixArgs<T> args;
      args.packed = packed_.data() + t * packed_token_;
      args.depth = shape_.depth;
      args.outputs = shape_.outputs;
      args.in = block.in[0] + t * shape_.depth * kLanes;
      args.in_stride = InStride();
      args.out = block.out + t * shape_.outputs * kLanes;
      args.out_stride = OutStride();
      args.panels = block.panels;
      if (shape_.bias >= 0) args.bias = step.parameters + bias_ + t * shape_.outputs;
      kernels_.mix(args);
    }
  }

  void Backward(const StepContext<T>&, const BlockContext<T>& block) override {
    for (std::size_t t = 0; t < shape_.tokens; ++t) {
      const T* out_gradient = block.out_gradient + t * shape_.outputs * kLanes;
      MixGradientArgs<T> weight;
      weight.depth = shape_.depth;
      weight.outputs = shape_.outputs;
      weight.in = block.in[0] + t * shape_.depth * kLanes;
      weight.in_stride = InStride();
      weight.out_gradient = out_gradient;
      weight.out_stride = OutStride();
      weight.panels = block.panels;
      weight.weight_gradient =
          block.parameter_gradients + weight_ + t * shape_.depth * shape_.outputs;
      if (shape_.bias >= 0)
        weight.bias_gradient = block.parameter_gradients + bias_ + t * shape_.outputs;
      weight.accumulate = block.accumulate_parameters;
      weight.workspace = block.workspace;
      kernels_.mix_weight_gradient(weight);
      if (block.in_gradient[0] == nullptr) continue;
      MixArgs<T> args;
      args.packed = packed_transpose_.data() + t * packed_transpose_token_;
      args.depth = shape_.outputs;
      args.outputs = shape_.depth;
      args.in = out_gradient;
      args.in_stride = OutStride();
      args.out = block.in_gradient[0] + t * shape_.depth * kLanes;
      args.out_stride = InStride();
      args.panels = block.panels;
      args.accumulate = block.accumulate[0];
      kernels_.mix(args);
    }
  }

 private:
  std::size_t InStride() const { return shape_.tokens * shape_.depth * kLanes; }
  std::size_t OutStride() const { return shape_.tokens * shape_.outputs * kLanes; }

  void Pack(const WeightView<T>& view, T* packed) {
    const std::size_t tiles = RoundUp(view.outputs, kernels_.tile_outputs) / kernels_.tile_outputs;
    kernels_.pack_weights(view, 0, tiles, packed);
  }

  const Kernels<T>& kernels_;
  const MixShape shape_;
  const std::size_t weight_, bias_;
  const std::size_t packed_token_, packed_transpose_token_;  // floats of one token's weights
  HugeBuffer<T> packed_;                                     // W of each token
  HugeBuffer<T> packed_transpose_;                           // W^T
};

template <template <typename> class OpClass>
Tensor AddMix(GraphBuilder& graph, std::string name, const Tensor& x,
              std::vector<std::uint32_t> dims, std::vector<Parameter> parameters, MixShape shape) {
  OpDef def;
  def.name = std::move(name);
  def.inputs = {x};
  def.parameters = std::move(parameters);
  def.dims = std::move(dims);
  def.cheap = shape.depth <= kCheapDepth;
  def.wide = SizeOf(def.parameters[0].dims) > kWideWeights;
  SetOp<OpClass>(def, shape);
  return graph.AddOp(std::move(def));
}

}  // namespace

Result<Tensor> Linear(GraphBuilder& graph, std::string name, const Tensor& x,
                      const Parameter& weight, const std::optional<Parameter>& bias) {
  if (weight.dims.size() != 2 || weight.dims[0] != x.Size())
    return ShapeError(name, "input and weight do not fit", {x.dims, weight.dims});
  if (bias && SizeOf(bias->dims) != weight.dims[1])
    return ShapeError(name, "weight and bias do not fit", {weight.dims, bias->dims});
  const MixShape shape{weight.dims[0], weight.dims[1], 1, weight.id, bias ? bias->id : -1};
  std::vector<Parameter> parameters{weight};
  if (bias) parameters.push_back(*bias);
  return AddMix<MixOp>(graph, std::move(name), x, {weight.dims[1]}, std::move(parameters), shape);
}

Result<Tensor> MixTokens(GraphBuilder& graph, std::string name, const Tensor& x,
                         const Parameter& weight) {
  if (x.dims.size() != 2 || weight.dims.size() != 2 || weight.dims[0] != x.dims[0])
    return ShapeError(name, "tokens and weight do not fit", {x.dims, weight.dims});
  const MixShape shape{weight.dims[0], weight.dims[1], x.dims[1], weight.id, -1};
  return AddMix<MixOp>(graph, std::move(name), x, {weight.dims[1], x.dims[1]}, {weight}, shape);
}

Result<Tensor> TokenLinear(GraphBuilder& graph, std::string name, const Tensor& x,
                           const Parameter& weight, const std::optional<Parameter>& bias) {
  if (x.dims.size() != 2 || weight.dims.size() != 2 || weight.dims[0] != x.dims[1])
    return ShapeError(name, "tokens and weight do not fit", {x.dims, weight.dims});
  if (bias && SizeOf(bias->dims) != weight.dims[1])
    return ShapeError(name, "weight and bias do not fit", {weight.dims, bias->dims});
  const MixShape shape{weight.dims[0], weight.dims[1],       1,
                       weight.id,      bias ? bias->id : -1, x.dims[0]};
  std::vector<Parameter> parameters{weight};
  if (bias) parameters.push_back(*bias);
  return AddMix<MixOp>(graph, std::move(name), x, {x.dims[0], weight.dims[1]},
                       std::move(parameters), shape);
}

Result<Tensor> PerTokenLinear(GraphBuilder& graph, std::string name, const Tensor& x,
                              const Parameter& weight, const std::optional<Parameter>& bias) {
  if (x.dims.size() != 2 || weight.dims.size() != 3 || weight.dims[0] != x.dims[0] ||
      weight.dims[1] != x.dims[1])
    return ShapeError(name, "tokens and weights do not fit", {x.dims, weight.dims});
  if (bias && SizeOf(bias->dims) != std::size_t{weight.dims[0]} * weight.dims[2])
    return ShapeError(name, "weights and bias do not fit", {weight.dims, bias->dims});
  const MixShape shape{weight.dims[1], weight.dims[2],       1,
                       weight.id,      bias ? bias->id : -1, x.dims[0]};
  std::vector<Parameter> parameters{weight};
  if (bias) parameters.push_back(*bias);
  return AddMix<PerTokenMixOp>(graph, std::move(name), x, {x.dims[0], weight.dims[2]},
                               std::move(parameters), shape);
}

}  // namespace cairn::worker::nn
