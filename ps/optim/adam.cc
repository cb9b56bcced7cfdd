#include "ps/optim/adam.h"

#include <algorithm>
#include <cmath>

#include "proto/config.pb.h"
#include "ps/optim/bias_correction.h"
#include "ps/optim/check_range.h"
#include "ps/optim/gradient.h"

namespace cairn::ps {
namespace {

struct AdamStepParams {
  float rate;  // lr / (1 - b1^t)
  float beta1;
  float beta2;
  float rest1;  // 1 - b1 and 1 - b2, subtracted in double: they cancel in the correction
  float rest2;
  float epsilon;
  float inverse_root;  // 1 / sqrt(1 - b2^t)
  float l2;
};

CAIRN_KERNEL_BODY void AdamBody(float* __restrict value, float* __restrict m, float* __restrict v,
                                const float* __restrict grad, std::size_t n,
                                const AdamStepParams& p) {
  const float b1 = p.beta1, b2 = p.beta2, c1 = p.rest1, c2 = p.rest2;
  const float rate = p.rate, epsilon = p.epsilon, inverse_root = p.inverse_root, l2 = p.l2;
  for (std::size_t i = 0; i < n; ++i) {
    const float g = GradientOf(grad[i], l2, value[i]);
    const float mean = b1 * m[i] + c1 * g;
    const float square = b2 * v[i] + c2 * (g * g);
    m[i] = mean;
    v[i] = square;
    value[i] -= rate * mean / (std::sqrt(square) * inverse_root + epsilon);
  }
}
CAIRN_DEFINE_KERNEL(AdamStep, AdamBody,
                    (float* __restrict value, float* __restrict m, float* __restrict v,
                     const float* __restrict grad, std::size_t n, const AdamStepParams& p),
                    (value, m, v, grad, n, p))

class Adam : public RowOptimizer {
 public:
  Adam(const proto::AdamConfig& config, Isa isa)
      : rate_(static_cast<float>(config.learning_rate())),
        beta1_(static_cast<float>(config.beta1())),
        beta2_(static_cast<float>(config.beta2())),
        rest1_(static_cast<float>(1 - config.beta1())),
        rest2_(static_cast<float>(1 - config.beta2())),
        epsilon_(static_cast<float>(config.epsilon())),
        correction_(config.beta1(), config.beta2()),
        kernel_(CAIRN_PICK_KERNEL(isa, AdamStep)) {}
  std::string_view name() const override { return "adam"; }
  std::size_t StateSize(std::size_t dim) const override { return 2 * dim; }
  void InitState(std::span<float> state) const override { std::ranges::fill(state, 0.0f); }
  void Apply(const RowRef& row, std::span<const float> grad, const StepInfo& step) const override {
    const std::size_t n = row.value.size();
    const BiasCorrection correction = correction_.Of(step.update_count);
    kernel_(row.value.data(), row.state.data(), row.state.data() + n, grad.data(), n,
            {rate_ * step.learning_rate_scale * correction.mean, beta1_, beta2_, rest1_, rest2_,
             epsilon_, correction.inverse_root, step.l2});
  }

 private:
  const float rate_, beta1_, beta2_, rest1_, rest2_, epsilon_;
  const BiasCorrections correction_;
  void (*const kernel_)(float*, float*, float*, const float*, std::size_t, const AdamStepParams&);
};

}  // namespace

Result<std::unique_ptr<RowOptimizer>> MakeAdam(const proto::OptimizerConfig& config, Isa isa) {
  const proto::AdamConfig& adam = config.adam();
  RETURN_IF_ERROR(CheckPositive("adam.learning_rate", adam.learning_rate()));
  RETURN_IF_ERROR(CheckPositive("adam.epsilon", adam.epsilon()));
  RETURN_IF_ERROR(CheckBelowOne("adam.beta1", adam.beta1()));
  RETURN_IF_ERROR(CheckBelowOne("adam.beta2", adam.beta2()));
  return std::make_unique<Adam>(adam, isa);
}

}  // namespace cairn::ps
