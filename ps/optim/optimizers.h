// Catalogue of the optimizers that a job can name.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "ps/optim/row_optimizer.h"

namespace cairn::ps {

struct OptimizerEntry {
  std::string_view name;  // = the field of proto::OptimizerConfig
  Result<std::unique_ptr<RowOptimizer>> (*make)(const proto::OptimizerConfig& config);
};

// Sorted by name.
std::span<const OptimizerEntry> Optimizers();

// The optimizer that `config` names; an unset one is adam with its defaults.
// InvalidArgument, naming the field, for hyper-parameters out of range.
Result<std::unique_ptr<RowOptimizer>> MakeOptimizer(const proto::OptimizerConfig& config);

}  // namespace cairn::ps
