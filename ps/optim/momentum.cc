#include "ps/optim/momentum.h"

#include <algorithm>

#include "proto/config.pb.h"
#include "ps/optim/check_range.h"
#include "ps/optim/gradient.h"

namespace cairn::ps {
namespace {

struct MomentumStepParams {
  float rate;
  float momentum;
  // The step is of_gradient * g + of_velocity * v: 0 and 1, or 1 and momentum (Nesterov).
  float of_gradient;
  float of_velocity;
  float l2;
};

CAIRN_KERNEL_BODY void MomentumBody(float* __restrict value, float* __restrict velocity,
                                    const float* __restrict grad, std::size_t n,
                                    const MomentumStepParams& p) {
  const float rate = p.rate, momentum = p.momentum, l2 = p.l2;
  const float of_gradient = p.of_gradient, of_velocity = p.of_velocity;
  for (std::size_t i = 0; i < n; ++i) {
    const float g = GradientOf(grad[i], l2, value[i]);
    const float v = momentum * velocity[i] + g;
    velocity[i] = v;
    value[i] -= rate * (of_gradient * g + of_velocity * v);
  }
}
CAIRN_DEFINE_KERNEL(MomentumStep, MomentumBody,
                    (float* __restrict value, float* __restrict velocity,
                     const float* __restrict grad, std::size_t n, const MomentumStepParams& p),
                    (value, velocity, grad, n, p))

class Momentum : public RowOptimizer {
 public:
  Momentum(const proto::MomentumConfig& config, Isa isa)
      : rate_(static_cast<float>(config.learning_rate())),
        momentum_(static_cast<float>(config.momentum())),
        nesterov_(config.nesterov()),
        kernel_(CAIRN_PICK_KERNEL(isa, MomentumStep)) {}
  std::string_view name() const override { return "momentum"; }
  std::size_t StateSize(std::size_t dim) const override { return dim; }
  void InitState(std::span<float> state) const override { std::ranges::fill(state, 0.0f); }
  void Apply(const RowRef& row, std::span<const float> grad, const StepInfo& step) const override {
    kernel_(row.value.data(), row.state.data(), grad.data(), row.value.size(),
            {rate_ * step.learning_rate_scale, momentum_, nesterov_ ? 1.0f : 0.0f,
             nesterov_ ? momentum_ : 1.0f, step.l2});
  }

 private:
  const float rate_, momentum_;
  const bool nesterov_;
  void (*const kernel_)(float*, float*, const float*, std::size_t, const MomentumStepParams&);
};

}  // namespace

Result<std::unique_ptr<RowOptimizer>> MakeMomentum(const proto::OptimizerConfig& config, Isa isa) {
  const proto::MomentumConfig& momentum = config.momentum();
  RETURN_IF_ERROR(CheckPositive("momentum.learning_rate", momentum.learning_rate()));
  RETURN_IF_ERROR(CheckBelowOne("momentum.momentum", momentum.momentum()));
  return std::make_unique<Momentum>(momentum, isa);
}

}  // namespace cairn::ps
