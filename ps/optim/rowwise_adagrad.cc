#include "ps/optim/rowwise_adagrad.h"

#include <cmath>

#include "proto/config.pb.h"
#include "ps/optim/check_range.h"
#include "ps/optim/gradient.h"

namespace cairn::ps {
namespace {

constexpr std::size_t kLanes = 16;

struct RowwiseAdagradStepParams {
  float rate;
  float epsilon;
  float l2;
};

CAIRN_KERNEL_BODY float SumOfSquares(const float* __restrict value, const float* __restrict grad,
                                     std::size_t n, float l2) {
  float lanes[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::size_t j = 0; j < kLanes; ++j) {
      const float g = GradientOf(grad[i + j], l2, value[i + j]);
      lanes[j] += g * g;
    }
  }
  for (std::size_t j = 0; i + j < n; ++j) {
    const float g = GradientOf(grad[i + j], l2, value[i + j]);
    lanes[j] += g * g;
  }
  for (std::size_t j = 0; j < 8; ++j) lanes[j] += lanes[j + 8];
  for (std::size_t j = 0; j < 4; ++j) lanes[j] += lanes[j + 4];
  return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
}

CAIRN_KERNEL_BODY void RowwiseAdagradBody(float* __restrict value, float* __restrict sum,
                                          const float* __restrict grad, std::size_t n,
                                          const RowwiseAdagradStepParams& p) {
  const float l2 = p.l2;
  const float s = *sum + SumOfSquares(value, grad, n, l2) / static_cast<float>(n);
  *sum = s;
  const float rate = p.rate / (std::sqrt(s) + p.epsilon);
  for (std::size_t i = 0; i < n; ++i) value[i] -= rate * GradientOf(grad[i], l2, value[i]);
}
CAIRN_DEFINE_KERNEL(RowwiseAdagradStep, RowwiseAdagradBody,
                    (float* __restrict value, float* __restrict sum, const float* __restrict grad,
                     std::size_t n, const RowwiseAdagradStepParams& p),
                    (value, sum, grad, n, p))

class RowwiseAdagrad : public RowOptimizer {
 public:
  RowwiseAdagrad(const proto::RowwiseAdagradConfig& config, Isa isa)
      : rate_(static_cast<float>(config.learning_rate())),
        epsilon_(static_cast<float>(config.epsilon())),
        initial_(static_cast<float>(config.initial_accumulator())),
        kernel_(CAIRN_PICK_KERNEL(isa, RowwiseAdagradStep)) {}
  std::string_view name() const override { return "rowwise_adagrad"; }
  std::size_t StateSize(std::size_t) const override { return 1; }
  void InitState(std::span<float> state) const override { state[0] = initial_; }
  void Apply(const RowRef& row, std::span<const float> grad, const StepInfo& step) const override {
    kernel_(row.value.data(), row.state.data(), grad.data(), row.value.size(),
            {rate_ * step.learning_rate_scale, epsilon_, step.l2});
  }

 private:
  const float rate_, epsilon_, initial_;
  void (*const kernel_)(float*, float*, const float*, std::size_t, const RowwiseAdagradStepParams&);
};

}  // namespace

Result<std::unique_ptr<RowOptimizer>> MakeRowwiseAdagrad(const proto::OptimizerConfig& config,
                                                         Isa isa) {
  const proto::RowwiseAdagradConfig& adagrad = config.rowwise_adagrad();
  RETURN_IF_ERROR(CheckPositive("rowwise_adagrad.learning_rate", adagrad.learning_rate()));
  RETURN_IF_ERROR(CheckPositive("rowwise_adagrad.epsilon", adagrad.epsilon()));
  RETURN_IF_ERROR(
      CheckNotNegative("rowwise_adagrad.initial_accumulator", adagrad.initial_accumulator()));
  return std::make_unique<RowwiseAdagrad>(adagrad, isa);
}

}  // namespace cairn::ps
