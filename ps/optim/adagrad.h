#pragma once

#include <memory>

#include "ps/optim/isa.h"
#include "ps/optim/row_optimizer.h"

namespace cairn::ps {

// Adagrad (Duchi, Hazan, Singer, JMLR 2011): s += g*g;  w -= lr * g / (sqrt(s) + eps).
// State: s, dim floats, from initial_accumulator.
// Reads config.adagrad(). InvalidArgument unless lr and eps are finite and above 0 and the initial
// accumulator is finite and not negative.
Result<std::unique_ptr<RowOptimizer>> MakeAdagrad(const proto::OptimizerConfig& config, Isa isa);

}  // namespace cairn::ps
