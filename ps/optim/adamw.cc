#include "ps/optim/adamw.h"

#include <algorithm>
#include <cmath>

#include "proto/config.pb.h"
#include "ps/optim/bias_correction.h"
#include "ps/optim/check_range.h"
#include "ps/optim/gradient.h"

namespace cairn::ps {
namespace {

struct AdamwStepParams {
  float rate;  // lr / (1 - b1^t)
  float keep;  // 1 - lr * weight_decay
  float beta1;
  float beta2;
  float rest1;  // 1 - b1 and 1 - b2, subtracted in double: they cancel in the correction
  float rest2;
  float epsilon;
  float inverse_root;  // 1 / sqrt(1 - b2^t)
  float l2;
};

CAIRN_KERNEL_BODY void AdamwBody(float* __restrict value, float* __restrict m, float* __restrict v,
                                 const float* __restrict grad, std::size_t n,
                                 const AdamwStepParams& p) {
  const float b1 = p.beta1, b2 = p.beta2, c1 = p.rest1, c2 = p.rest2, keep = p.keep;
  const float rate = p.rate, epsilon = p.epsilon, inverse_root = p.inverse_root, l2 = p.l2;
  for (std::size_t i = 0; i < n; ++i) {
    const float w = value[i];
    const float g = GradientOf(grad[i], l2, w);
    const float mean = b1 * m[i] + c1 * g;
    const float square = b2 * v[i] + c2 * (g * g);
    m[i] = mean;
    v[i] = square;
    value[i] = keep * w - rate * mean / (std::sqrt(square) * inverse_root + epsilon);
  }
}
CAIRN_DEFINE_KERNEL(AdamwStep, AdamwBody,
                    (float* __restrict value, float* __restrict m, float* __restrict v,
                     const float* __restrict grad, std::size_t n, const AdamwStepParams& p),
                    (value, m, v, grad, n, p))

class Adamw : public RowOptimizer {
 public:
  Adamw(const proto::AdamwConfig& config, Isa isa)
      : rate_(static_cast<float>(config.learning_rate())),
        beta1_(static_cast<float>(config.beta1())),
        beta2_(static_cast<float>(config.beta2())),
        rest1_(static_cast<float>(1 - config.beta1())),
        rest2_(static_cast<float>(1 - config.beta2())),
        epsilon_(static_cast<float>(config.epsilon())),
        decay_(config.learning_rate() * config.weight_decay()),
        correction_(config.beta1(), config.beta2()),
        kernel_(CAIRN_PICK_KERNEL(isa, AdamwStep)) {}
  std::string_view name() const override { return "adamw"; }
  std::size_t StateSize(std::size_t dim) const override { return 2 * dim; }
  void InitState(std::span<float> state) const override { std::ranges::fill(state, 0.0f); }
  void Apply(const RowRef& row, std::span<const float> grad, const StepInfo& step) const override {
    const std::size_t n = row.value.size();
    const BiasCorrection correction = correction_.Of(step.update_count);
    const double decay = decay_ * static_cast<double>(step.learning_rate_scale);
    kernel_(row.value.data(), row.state.data(), row.state.data() + n, grad.data(), n,
            {rate_ * step.learning_rate_scale * correction.mean, static_cast<float>(1 - decay),
             beta1_, beta2_, rest1_, rest2_, epsilon_, correction.inverse_root, step.l2});
  }

 private:
  const float rate_, beta1_, beta2_, rest1_, rest2_, epsilon_;
  const double decay_;
  const BiasCorrections correction_;
  void (*const kernel_)(float*, float*, float*, const float*, std::size_t, const AdamwStepParams&);
};

}  // namespace

Result<std::unique_ptr<RowOptimizer>> MakeAdamw(const proto::OptimizerConfig& config, Isa isa) {
  const proto::AdamwConfig& adamw = config.adamw();
  RETURN_IF_ERROR(CheckPositive("adamw.learning_rate", adamw.learning_rate()));
  RETURN_IF_ERROR(CheckPositive("adamw.epsilon", adamw.epsilon()));
  RETURN_IF_ERROR(CheckBelowOne("adamw.beta1", adamw.beta1()));
  RETURN_IF_ERROR(CheckBelowOne("adamw.beta2", adamw.beta2()));
  RETURN_IF_ERROR(CheckNotNegative("adamw.weight_decay", adamw.weight_decay()));
  return std::make_unique<Adamw>(adamw, isa);
}

}  // namespace cairn::ps
