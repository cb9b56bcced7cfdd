#pragma once

#include <memory>

#include "ps/optim/isa.h"
#include "ps/optim/row_optimizer.h"

namespace cairn::ps {

// FTRL-proximal (McMahan et al., KDD 2013, algorithm 1), for each element:
//   sigma = (sqrt(n + g*g) - sqrt(n)) / alpha;  z += g - sigma*w;  n += g*g
//   w = 0                                                                  if |z| <= lambda1
//   w = -(z - sign(z)*lambda1) / ((beta + sqrt(n)) / alpha + lambda2)      otherwise
// Without lambdas this is Adagrad with the rate alpha / (beta + sqrt(n)); lambda1 makes exact
// zeros.
//
// Initial value: the algorithm starts at w = 0, rows and dense tensors may not. At the first update
// of a row (StepInfo::update_count 1), z is set to the number of which the second line makes the
// row's value, -(w * (beta/alpha + lambda2) + sign(w)*lambda1), and 0 for w = 0. So the first step
// moves w from its initial value by its gradient, and does not jump to the regularised optimum.
//
// learning_rate_scale weighs the gradient in z, not in n: without lambdas this scales the rate, and
// a change of scale never moves w by itself. StepInfo::l2 adds l2*w to g, and so to n; lambda2 is
// the algorithm's own penalty, (lambda2/2) w^2 against the sum of the losses so far. An element
// whose gradient is 0 stays as it is. Lazy by nature: nothing depends on time.
// State: z then n, 2 * dim floats, from 0.
// Reads config.ftrl(). InvalidArgument unless alpha and beta are finite and above 0 and the lambdas
// are finite and not negative.
Result<std::unique_ptr<RowOptimizer>> MakeFtrl(const proto::OptimizerConfig& config, Isa isa);

}  // namespace cairn::ps
