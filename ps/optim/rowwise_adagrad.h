#pragma once

#include <memory>

#include "ps/optim/isa.h"
#include "ps/optim/row_optimizer.h"

namespace cairn::ps {

// Row-wise Adagrad, the exact variant of Meta's recommendation models (Naumov et al., DLRM, 2019):
// Adagrad with one accumulator for the row,
//   s += (1/dim) * sum_j g_j*g_j;  w_j -= lr * g_j / (sqrt(s) + eps)
// Of a dense tensor, each chunk is a row. Squares are added in an order that is a function of dim
// alone: 16 sums of every 16th element, then halves.
// State: s, 1 float, from initial_accumulator.
// Reads config.rowwise_adagrad(). InvalidArgument unless lr and eps are finite and above 0 and the
// initial accumulator is finite and not negative.
Result<std::unique_ptr<RowOptimizer>> MakeRowwiseAdagrad(const proto::OptimizerConfig& config,
                                                         Isa isa);

}  // namespace cairn::ps
