// What an op is: its definition while the graph is built, and its executable form for one number
// type. One file of worker/nn/ops holds the definition, forward and gradient of a family of ops.
//
// Adding an op: derive from Op<T>, describe it in an OpDef (what its gradient reads, whether it
// is cheap enough to be computed again instead of kept), give it to GraphBuilder::AddOp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "worker/nn/graph.h"
#include "worker/nn/kernels/kernels.h"

namespace cairn::worker::nn {

// The step as all threads see it.
template <typename T>
struct StepContext {
  const BasicStepInput<T>* input = nullptr;
  std::size_t rows = 0;
  std::size_t blocks = 0;
  bool training = false;
  const T* parameters = nullptr;  // layout order
};

// A block of rows, or for ops that are not wide a few panels of one, on one thread. Tensors lie in
// panels; pointers are those of the block.
template <typename T>
struct BlockContext {
  std::size_t index = 0;  // of the batch's blocks; Reduce and ReduceGradient get whole blocks
  std::size_t first_row = 0;
  std::size_t rows = 0;    // of the block; the last panel may be part
  std::size_t panels = 0;  // of the block
  // Gradients of parameters: overwrite in a thread's first block of a step, then add.
  bool accumulate_parameters = false;
  T* parameter_gradients = nullptr;  // of this thread, layout order; Backward only
  T* workspace = nullptr;            // WorkspaceFloats(), 64-byte aligned
  // Forward: the same block was computed before in this step, its output was not kept.
  bool again = false;

  const T* const* in = nullptr;
  T* out = nullptr;                  // Forward: to write. Backward: the value, if reads_output
  const T* out_gradient = nullptr;   // Backward and ReduceGradient
  T* const* in_gradient = nullptr;   // Backward: to write
  const bool* accumulate = nullptr;  // Backward, for each input: add to in_gradient
};

// Calls come in this order: BeginStep on one thread; Prepare on all threads; then block by block
// Reduce, Combine (one thread), Forward; and for the gradient ReduceGradient, CombineGradient (one
// thread), Backward; FinishGradient on all threads. Only ops that reduce have the four calls about
// reductions; in evaluation mode Forward alone is called.
template <typename T>
class Op {
 public:
  virtual ~Op() = default;

  virtual std::size_t WorkspaceFloats() const { return 0; }
  virtual void BeginStep(const StepContext<T>&) {}
  virtual void Prepare(const StepContext<T>&, int /*thread*/, int /*threads*/) {}

  virtual void Reduce(const StepContext<T>&, const BlockContext<T>&) {}
  virtual void Combine(const StepContext<T>&) {}
  virtual void Forward(const StepContext<T>& step, const BlockContext<T>& block) = 0;

  virtual void ReduceGradient(const StepContext<T>&, const BlockContext<T>&) {}
  // Writes its parameters' gradients, if Backward does not.
  virtual void CombineGradient(const StepContext<T>&, T* /*parameter_gradients*/) {}
  virtual void Backward(const StepContext<T>& step, const BlockContext<T>& block) = 0;
  // Sees the whole batch's gradient of its output (OpDef::finishes_gradient). One op after the
  // other: adds to the gradients of the tables that it reads, which the graph has set to zero.
  virtual void FinishGradient(const StepContext<T>&, const T* /*out_gradient*/, int /*thread*/,
                              int /*threads*/) {}

  // First row of the batch whose input data are not finite, or -1. Only data ops know.
  virtual std::int64_t FirstNonFiniteRow(const StepContext<T>&) const { return -1; }
  virtual std::size_t MemoryBytes() const { return 0; }
};

// What an executable op is made from.
template <typename T>
struct OpEnvironment {
  const Kernels<T>* kernels = nullptr;
  int threads = 1;
  std::uint64_t seed = 0;
  // Parameter -> first float in the flat vector.
  std::vector<std::size_t> offsets;
};

// A table of embeddings that an op reads and, in FinishGradient, adds gradients to.
struct TableUse {
  int table = -1;
  std::uint32_t dim = 0;
};

struct OpDef {
  std::string name;
  std::vector<Tensor> inputs;
  std::vector<Parameter> parameters;  // each parameter belongs to one op
  std::vector<std::uint32_t> dims;    // of the output
  std::vector<TableUse> tables;       // each once
  // Inputs from this one on are constants to the gradient: nothing flows back through them.
  std::size_t first_constant_input = static_cast<std::size_t>(-1);
  bool reads_input = true;    // Backward reads `in`
  bool reads_output = false;  // Backward reads `out`
  // Cheaper to compute again in the backward pass than to write to memory and read back.
  bool cheap = false;
  // Reads so many weights that it should see a whole block at once. Other ops run on a few panels
  // at a time, one after the other, so that what they hand on stays in the nearest caches.
  bool wide = false;
  bool reduces = false;            // over the batch: Reduce and ReduceGradient
  bool finishes_gradient = false;  // FinishGradient
  std::function<std::unique_ptr<Op<float>>(const OpEnvironment<float>&)> make_float;
  std::function<std::unique_ptr<Op<double>>(const OpEnvironment<double>&)> make_double;
};

// Sets both factories to OpClass<T>(environment, args...).
template <template <typename> class OpClass, typename... Args>
void SetOp(OpDef& def, Args... args) {
  def.make_float = [=](const OpEnvironment<float>& environment) {
    return std::make_unique<OpClass<float>>(environment, args...);
  };
  def.make_double = [=](const OpEnvironment<double>& environment) {
    return std::make_unique<OpClass<double>>(environment, args...);
  };
}

// "[2, 3]"
std::string ShapeText(const std::vector<std::uint32_t>& dims);
// InvalidArgument "op 'name': what [shape] ..."
Status ShapeError(std::string_view op, std::string_view problem,
                  std::initializer_list<std::vector<std::uint32_t>> shapes);
inline std::size_t SizeOf(const std::vector<std::uint32_t>& dims) {
  std::size_t n = 1;
  for (std::uint32_t d : dims) n *= d;
  return n;
}

}  // namespace cairn::worker::nn
