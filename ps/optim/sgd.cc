#include "ps/optim/sgd.h"

#include "proto/config.pb.h"
#include "ps/optim/check_range.h"
#include "ps/optim/gradient.h"

namespace cairn::ps {
namespace {

CAIRN_KERNEL_BODY void SgdBody(float* __restrict value, const float* __restrict grad, std::size_t n,
                               float rate, float l2) {
  for (std::size_t i = 0; i < n; ++i) value[i] -= rate * GradientOf(grad[i], l2, value[i]);
}
CAIRN_DEFINE_KERNEL(SgdStep, SgdBody,
                    (float* __restrict value, const float* __restrict grad, std::size_t n,
                     float rate, float l2),
                    (value, grad, n, rate, l2))

class Sgd : public RowOptimizer {
 public:
  Sgd(float rate, Isa isa) : rate_(rate), kernel_(CAIRN_PICK_KERNEL(isa, SgdStep)) {}
  std::string_view name() const override { return "sgd"; }
  std::size_t StateSize(std::size_t) const override { return 0; }
  void InitState(std::span<float>) const override {}
  void Apply(const RowRef& row, std::span<const float> grad, const StepInfo& step) const override {
    kernel_(row.value.data(), grad.data(), row.value.size(), rate_ * step.learning_rate_scale,
            step.l2);
  }

 private:
  const float rate_;
  void (*const kernel_)(float*, const float*, std::size_t, float, float);
};

}  // namespace

Result<std::unique_ptr<RowOptimizer>> MakeSgd(const proto::OptimizerConfig& config, Isa isa) {
  const proto::SgdConfig& sgd = config.sgd();
  RETURN_IF_ERROR(CheckPositive("sgd.learning_rate", sgd.learning_rate()));
  return std::make_unique<Sgd>(static_cast<float>(sgd.learning_rate()), isa);
}

}  // namespace cairn::ps
