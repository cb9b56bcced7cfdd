// The static graph that a trainer runs: built once for a model, checked then, executed each step.
//
//   GraphBuilder builder(seed);
//   ASSIGN_OR_RETURN(Tensor logit, model->build(config, context, builder));
//   ASSIGN_OR_RETURN(auto graph, Graph::Make(builder, logit, {.max_rows = 4096, .pool = &pool}));
//   graph->TrainStep(input, output);      // forward, loss, backward
//
// Parameters are not kept here: they live in one flat vector of the caller, tensor after tensor in
// the order of builder.layout(), and come from the servers each step; gradients leave the same way.
//
// Loss: mean over the rows of the binary cross-entropy of the logit z and the label y in {0, 1},
//   max(z, 0) - z*y + log(1 + exp(-|z|)).
//
// How it runs: ops between two batch reductions (BatchNorm) form a stage. Inside a stage the batch
// is cut into blocks of rows, blocks are dealt to the threads of the pool in fixed ranges, and a
// block passes through all ops before the next one starts, so that activations stay in the cache.
// Gradients of parameters are summed per thread and then over threads in thread order: results
// are bit-identical for equal inputs and equal thread counts. docs/nn.md explains the plan.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "worker/client/ps_client.h"
#include "worker/data/batch.h"
#include "worker/nn/isa.h"

namespace cairn {
class ThreadPool;
}

namespace cairn::worker::nn {

// One value per row of the batch; `dims` is the shape of one row's part, e.g. {fields, dim}.
struct Tensor {
  int id = -1;
  std::vector<std::uint32_t> dims;
  std::size_t Size() const;  // product of dims
};

// A dense parameter: `dims` is its whole shape, row-major.
struct Parameter {
  int id = -1;  // position in GraphBuilder::layout()
  std::vector<std::uint32_t> dims;
};

// Initial values, a pure function of (seed, parameter name).
struct Init {
  enum class Kind { kConstant, kUniform, kNormal };
  Kind kind = Kind::kConstant;
  double value = 0;  // constant; or half width of U(-value, value); or standard deviation

  static Init Constant(double value) { return {Kind::kConstant, value}; }
  static Init Uniform(double bound) { return {Kind::kUniform, bound}; }
  static Init Normal(double stddev) { return {Kind::kNormal, stddev}; }
  static Init XavierNormal(std::size_t fan_in, std::size_t fan_out);  // sqrt(2 / (in + out))
  static Init KaimingUniform(std::size_t fan_in);                     // bound sqrt(6 / in)
};

struct OpDef;  // worker/nn/op.h

// Collects parameters and ops. Ops are added by the functions of worker/nn/ops/*.h, which check
// shapes and return InvalidArgument naming the op and the shapes that do not fit.
// Not thread-safe. May be destroyed once graphs were made from it.
class GraphBuilder {
 public:
  explicit GraphBuilder(std::uint64_t seed);
  ~GraphBuilder();
  GraphBuilder(GraphBuilder&&) noexcept;
  GraphBuilder& operator=(GraphBuilder&&) noexcept;

  std::uint64_t seed() const { return seed_; }

  // InvalidArgument if the name is taken or a dimension is 0.
  Result<Parameter> AddParameter(DenseTensor tensor, Init init);
  // For ops: adds an op whose inputs and shapes were checked; returns its output.
  Tensor AddOp(OpDef def);

  // All parameters, in the order in which they were added.
  const DenseLayout& layout() const { return layout_; }
  // Floats of all parameters; and of those that are trained (statistics left out).
  std::size_t ParameterFloats() const;
  std::size_t TrainedFloats() const;
  // Initial values in layout order.
  std::vector<float> InitialValues() const;

  const std::vector<OpDef>& ops() const { return ops_; }

 private:
  std::uint64_t seed_ = 0;
  DenseLayout layout_;
  std::vector<Init> inits_;
  std::vector<OpDef> ops_;
};

// Unique rows of one table that a batch refers to: [Batch::unique_keys[table].size(), dim],
// row-major. Borrowed during the call. Gradients of tables that no op reads are not written.
template <typename T>
struct BasicTableRows {
  const T* values = nullptr;
  T* gradients = nullptr;  // out, TrainStep only: d(mean loss)/d(value), summed over the batch
};

template <typename T>
struct BasicStepInput {
  const Batch* batch = nullptr;               // rows >= 1; index, offsets and numbers in range
  std::span<const BasicTableRows<T>> tables;  // [tables of the job]; unused ones may be empty
  std::span<const T> dense;                   // all parameters, layout order
  std::uint64_t step = 0;  // dropout masks are a function of (seed, step, op, row of the batch)
};

template <typename T>
struct BasicStepOutput {
  // All parameters' gradients, layout order, overwritten; for a statistic, this batch's value.
  std::span<T> dense_gradients;
  std::span<T> logits;  // [rows], or empty if not wanted
};

struct StepResult {
  double loss_sum = 0;  // over the rows, not the mean
  // First row whose loss is not finite; gradients are then meaningless. -1: all finite. If an
  // embedding or number of the batch is not finite, the first such row.
  std::int64_t first_non_finite_row = -1;
};

struct GraphOptions {
  std::size_t max_rows = 4096;  // memory is laid out for this; larger batches make it grow
  ThreadPool* pool = nullptr;   // borrowed, outlives the graph; null: the calling thread alone
  Isa isa = Isa::kBest;         // FailedPrecondition if this CPU cannot run it
  std::size_t block_rows = 0;   // 0: chosen for the cache; otherwise rounded up to 16
  std::size_t max_bytes = 0;  // InvalidArgument if activations and gradients need more; 0: no bound
};

// T = float to train; T = double is the reference that gradients are checked with.
// Thread-safety: one call at a time.
template <typename T>
class BasicGraph {
 public:
  // `logit` has one value per row. The builder is only read.
  static Result<std::unique_ptr<BasicGraph>> Make(const GraphBuilder& builder, const Tensor& logit,
                                                  const GraphOptions& options);
  virtual ~BasicGraph() = default;

  // Forward in training mode (batch statistics, dropout), loss and backward.
  virtual StepResult TrainStep(const BasicStepInput<T>& input,
                               const BasicStepOutput<T>& output) = 0;

  // Forward in evaluation mode (running statistics, no dropout). logits: [rows].
  virtual void Score(const BasicStepInput<T>& input, std::span<T> logits) = 0;

  // Bytes of activations, gradients and packed weights held now.
  virtual std::size_t MemoryBytes() const = 0;
};

using TableRows = BasicTableRows<float>;
using StepInput = BasicStepInput<float>;
using StepOutput = BasicStepOutput<float>;
using Graph = BasicGraph<float>;

}  // namespace cairn::worker::nn
