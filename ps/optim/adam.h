#pragma once

#include <memory>

#include "ps/optim/isa.h"
#include "ps/optim/row_optimizer.h"

namespace cairn::ps {

// Adam (Kingma, Ba, ICLR 2015), lazy for rows: a row that gets no gradient does not move, and bias
// is corrected by t, the number of updates of the row itself (StepInfo::update_count):
//   m = b1*m + (1-b1)*g;  v = b2*v + (1-b2)*g*g
//   w -= lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
// State: m then v, 2 * dim floats, from 0.
// Reads config.adam(). InvalidArgument unless lr and eps are finite and above 0 and both betas are
// in [0, 1).
Result<std::unique_ptr<RowOptimizer>> MakeAdam(const proto::OptimizerConfig& config, Isa isa);

}  // namespace cairn::ps
