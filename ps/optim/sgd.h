#pragma once

#include <memory>

#include "ps/optim/isa.h"
#include "ps/optim/row_optimizer.h"

namespace cairn::ps {

// Stochastic gradient descent: w -= lr * g.  No state.
// Reads config.sgd(). InvalidArgument unless lr is finite and above 0.
Result<std::unique_ptr<RowOptimizer>> MakeSgd(const proto::OptimizerConfig& config, Isa isa);

}  // namespace cairn::ps
