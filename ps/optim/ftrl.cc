#include "ps/optim/ftrl.h"

#include <algorithm>
#include <cmath>

#include "proto/config.pb.h"
#include "ps/optim/check_range.h"
#include "ps/optim/gradient.h"

namespace cairn::ps {
namespace {

struct FtrlStepParams {
  float inverse_alpha;
  float beta;
  float lambda1;
  float lambda2;
  float scale;
  float l2;
};

// z of a row at its initial value.
CAIRN_KERNEL_BODY void FtrlStartBody(const float* __restrict value, float* __restrict z,
                                     std::size_t n, const FtrlStepParams& p) {
  const float curvature = p.beta * p.inverse_alpha + p.lambda2, lambda1 = p.lambda1;
  for (std::size_t i = 0; i < n; ++i) {
    const float w = value[i];
    const float start = w * curvature + std::copysign(lambda1, w);
    z[i] = w == 0 ? 0 : -start;
  }
}
CAIRN_DEFINE_KERNEL(FtrlStart, FtrlStartBody,
                    (const float* __restrict value, float* __restrict z, std::size_t n,
                     const FtrlStepParams& p),
                    (value, z, n, p))

CAIRN_KERNEL_BODY void FtrlBody(float* __restrict value, float* __restrict z, float* __restrict sum,
                                const float* __restrict grad, std::size_t n,
                                const FtrlStepParams& p) {
  const float inverse_alpha = p.inverse_alpha, beta = p.beta, scale = p.scale, l2 = p.l2;
  const float lambda1 = p.lambda1, lambda2 = p.lambda2;
  for (std::size_t i = 0; i < n; ++i) {
    const float w = value[i];
    const float g = GradientOf(grad[i], l2, w);
    const float s = sum[i] + g * g;
    const float root = std::sqrt(s);
    const float sigma = (root - std::sqrt(sum[i])) * inverse_alpha;
    sum[i] = s;
    const float linear = z[i] + (scale * g - sigma * w);
    z[i] = linear;
    const float beyond = linear - std::copysign(lambda1, linear);
    const float moved = -beyond / ((beta + root) * inverse_alpha + lambda2);
    const float next = std::abs(linear) <= lambda1 ? 0 : moved;
    value[i] = g == 0 ? w : next;
  }
}
CAIRN_DEFINE_KERNEL(FtrlStep, FtrlBody,
                    (float* __restrict value, float* __restrict z, float* __restrict sum,
                     const float* __restrict grad, std::size_t n, const FtrlStepParams& p),
                    (value, z, sum, grad, n, p))

class Ftrl : public RowOptimizer {
 public:
  Ftrl(const proto::FtrlConfig& config, Isa isa)
      : inverse_alpha_(static_cast<float>(1 / config.alpha())),
        beta_(static_cast<float>(config.beta())),
        lambda1_(static_cast<float>(config.lambda1())),
        lambda2_(static_cast<float>(config.lambda2())),
        start_(CAIRN_PICK_KERNEL(isa, FtrlStart)),
        step_(CAIRN_PICK_KERNEL(isa, FtrlStep)) {}
  std::string_view name() const override { return "ftrl"; }
  std::size_t StateSize(std::size_t dim) const override { return 2 * dim; }
  void InitState(std::span<float> state) const override { std::ranges::fill(state, 0.0f); }
  void Apply(const RowRef& row, std::span<const float> grad, const StepInfo& step) const override {
    const std::size_t n = row.value.size();
    float* const z = row.state.data();
    const FtrlStepParams params{inverse_alpha_,           beta_,  lambda1_, lambda2_,
                                step.learning_rate_scale, step.l2};
    if (step.update_count == 1) start_(row.value.data(), z, n, params);
    step_(row.value.data(), z, z + n, grad.data(), n, params);
  }

 private:
  const float inverse_alpha_, beta_, lambda1_, lambda2_;
  void (*const start_)(const float*, float*, std::size_t, const FtrlStepParams&);
  void (*const step_)(float*, float*, float*, const float*, std::size_t, const FtrlStepParams&);
};

}  // namespace

Result<std::unique_ptr<RowOptimizer>> MakeFtrl(const proto::OptimizerConfig& config, Isa isa) {
  const proto::FtrlConfig& ftrl = config.ftrl();
  RETURN_IF_ERROR(CheckPositive("ftrl.alpha", ftrl.alpha()));
  RETURN_IF_ERROR(CheckPositive("ftrl.beta", ftrl.beta()));
  RETURN_IF_ERROR(CheckNotNegative("ftrl.lambda1", ftrl.lambda1()));
  RETURN_IF_ERROR(CheckNotNegative("ftrl.lambda2", ftrl.lambda2()));
  return std::make_unique<Ftrl>(ftrl, isa);
}

}  // namespace cairn::ps
