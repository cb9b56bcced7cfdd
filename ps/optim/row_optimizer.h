// Interface of the optimizers that run on the parameter servers, for embedding rows and for chunks
// of dense tensors alike.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "common/base/status.h"

namespace cairn::proto {
class OptimizerConfig;
}  // namespace cairn::proto

namespace cairn::ps {

// A row in memory, see ps/table/row_layout.h. value: dim floats, state: StateSize(dim) floats.
struct RowRef {
  std::span<float> value;
  std::span<float> state;
};

struct StepInfo {
  float learning_rate_scale = 1;   // of the schedule; multiplies the configured rate
  float l2 = 0;                    // the gradient of a step is grad + l2 * value, see gradient.h
  std::uint32_t update_count = 1;  // steps of this row, this one included: from 1
};

// Updates one row in place from its gradient.
// Thread-safety: immutable after construction. Apply() may run at once on different rows; the
//   caller holds the row's lock.
// Errors: none at run time; bad hyper-parameters are refused by the factory.
// Results do not depend on the instruction set of the machine: kernels are compiled for several,
// picked at run time, and never fuse a multiplication with an addition.
class RowOptimizer {
 public:
  virtual ~RowOptimizer() = default;

  // The catalogue's name, which checkpoints record.
  virtual std::string_view name() const = 0;
  // Floats of state for a row of width `dim`; constant for the life of the object.
  virtual std::size_t StateSize(std::size_t dim) const = 0;
  virtual void InitState(std::span<float> state) const = 0;
  // grad: d(loss)/d(value) summed over the batch, value.size() finite floats that do not overlap
  // the row.
  virtual void Apply(const RowRef& row, std::span<const float> grad,
                     const StepInfo& step) const = 0;
};

}  // namespace cairn::ps
