// Catalogue of the optimizers that a job can name.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "ps/optim/isa.h"
#include "ps/optim/row_optimizer.h"

namespace cairn::ps {

struct OptimizerEntry {
  std::string_view name;  // = the field of proto::OptimizerConfig
  Result<std::unique_ptr<RowOptimizer>> (*make)(const proto::OptimizerConfig& config, Isa isa);
};

// Sorted by name.
std::span<const OptimizerEntry> Optimizers();

// The optimizer that `config` names; an unset one is adam with its defaults.
// InvalidArgument, naming the field, for hyper-parameters out of range.
// isa: whose kernels run, one that the machine has; they differ in speed alone.
Result<std::unique_ptr<RowOptimizer>> MakeOptimizer(const proto::OptimizerConfig& config,
                                                    Isa isa = BestIsa());

}  // namespace cairn::ps
