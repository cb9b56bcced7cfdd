#include "ps/optim/adagrad.h"

#include <algorithm>
#include <cmath>

#include "proto/config.pb.h"
#include "ps/optim/check_range.h"
#include "ps/optim/gradient.h"

namespace cairn::ps {
namespace {

struct AdagradStepParams {
  float rate;
  float epsilon;
  float l2;
};

CAIRN_KERNEL_BODY void AdagradBody(float* __restrict value, float* __restrict sum,
                                   const float* __restrict grad, std::size_t n,
                                   const AdagradStepParams& p) {
  const float rate = p.rate, epsilon = p.epsilon, l2 = p.l2;
  for (std::size_t i = 0; i < n; ++i) {
    const float g = GradientOf(grad[i], l2, value[i]);
    const float s = sum[i] + g * g;
    sum[i] = s;
    value[i] -= rate * g / (std::sqrt(s) + epsilon);
  }
}
CAIRN_DEFINE_KERNEL(AdagradStep, AdagradBody,
                    (float* __restrict value, float* __restrict sum, const float* __restrict grad,
                     std::size_t n, const AdagradStepParams& p),
                    (value, sum, grad, n, p))

class Adagrad : public RowOptimizer {
 public:
  Adagrad(const proto::AdagradConfig& config, Isa isa)
      : rate_(static_cast<float>(config.learning_rate())),
        epsilon_(static_cast<float>(config.epsilon())),
        initial_(static_cast<float>(config.initial_accumulator())),
        kernel_(CAIRN_PICK_KERNEL(isa, AdagradStep)) {}
  std::string_view name() const override { return "adagrad"; }
  std::size_t StateSize(std::size_t dim) const override { return dim; }
  void InitState(std::span<float> state) const override { std::ranges::fill(state, initial_); }
  void Apply(const RowRef& row, std::span<const float> grad, const StepInfo& step) const override {
    kernel_(row.value.data(), row.state.data(), grad.data(), row.value.size(),
            {rate_ * step.learning_rate_scale, epsilon_, step.l2});
  }

 private:
  const float rate_, epsilon_, initial_;
  void (*const kernel_)(float*, float*, const float*, std::size_t, const AdagradStepParams&);
};

}  // namespace

Result<std::unique_ptr<RowOptimizer>> MakeAdagrad(const proto::OptimizerConfig& config, Isa isa) {
  const proto::AdagradConfig& adagrad = config.adagrad();
  RETURN_IF_ERROR(CheckPositive("adagrad.learning_rate", adagrad.learning_rate()));
  RETURN_IF_ERROR(CheckPositive("adagrad.epsilon", adagrad.epsilon()));
  RETURN_IF_ERROR(CheckNotNegative("adagrad.initial_accumulator", adagrad.initial_accumulator()));
  return std::make_unique<Adagrad>(adagrad, isa);
}

}  // namespace cairn::ps
