#pragma once

#include <memory>

#include "ps/optim/isa.h"
#include "ps/optim/row_optimizer.h"

namespace cairn::ps {

// Gradient descent with momentum:
//   v = mu*v + g
//   w -= lr * v              heavy ball (Polyak 1964)
//   w -= lr * (g + mu*v)     nesterov (Nesterov 1983, as Sutskever et al., ICML 2013, write it)
// The learning rate is outside of v, so that a schedule acts at once. Lazy for rows: v decays by
// the row's own updates, and a row that gets no gradient does not move. State: v, dim floats, from
// 0. Reads config.momentum(). InvalidArgument unless lr is finite and above 0 and mu is in [0, 1).
Result<std::unique_ptr<RowOptimizer>> MakeMomentum(const proto::OptimizerConfig& config, Isa isa);

}  // namespace cairn::ps
