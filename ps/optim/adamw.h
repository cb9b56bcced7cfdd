#pragma once

#include <memory>

#include "ps/optim/isa.h"
#include "ps/optim/row_optimizer.h"

namespace cairn::ps {

// AdamW: Adam with decoupled weight decay (Loshchilov, Hutter, ICLR 2019). The decay is not part of
// the gradient and so not of the moments; the learning rate, with its schedule, scales it:
//   m = b1*m + (1-b1)*g;  v = b2*v + (1-b2)*g*g
//   w = (1 - lr * weight_decay) * w - lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
// Lazy as adam.h: a row that gets no gradient neither moves nor decays, and t counts the row's own
// updates. StepInfo::l2 adds to g, as in every optimizer: usually one of the two is 0.
// State: m then v, 2 * dim floats, from 0.
// Reads config.adamw(). InvalidArgument unless lr and eps are finite and above 0, both betas are in
// [0, 1) and the decay is finite and not negative.
Result<std::unique_ptr<RowOptimizer>> MakeAdamw(const proto::OptimizerConfig& config, Isa isa);

}  // namespace cairn::ps
