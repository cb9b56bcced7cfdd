#include "worker/nn/ops/norm.h"

#include <cmath>

#include "worker/nn/huge_buffer.h"
#include "worker/nn/op.h"

namespace cairn::worker::nn {
namespace {

template <typename T>
class LayerNormOp final : public Op<T> {
 public:
  LayerNormOp(const OpEnvironment<T>& environment, std::size_t tokens, std::size_t dim, int gamma,
              int beta)
      : kernels_(*environment.kernels),
        tokens_(tokens),
        dim_(dim),
        gamma_(environment.offsets[gamma]),
        beta_(environment.offsets[beta]) {}

  std::size_t WorkspaceFloats() const override { return kernels_.layer_norm_workspace(dim_); }
  std::size_t MemoryBytes() const override { return statistics_.bytes(); }

  void BeginStep(const StepContext<T>& step) override {
    statistics_.Grow(PanelsOf(step.rows) * tokens_ * 2 * kLanes);
  }

  void Forward(const StepContext<T>& step, const BlockContext<T>& block) override {
    kernels_.layer_norm({.panels = block.panels,
                         .tokens = tokens_,
                         .dim = dim_,
                         .epsilon = static_cast<T>(kNormEpsilon),
                         .in = block.in[0],
                         .gamma = step.parameters + gamma_,
                         .beta = step.parameters + beta_,
                         .out = block.out,
                         .statistics = StatisticsOf(block),
                         .statistics_known = block.again});
  }

  void Backward(const StepContext<T>& step, const BlockContext<T>& block) override {
    kernels_.layer_norm_gradient({.panels = block.panels,
                                  .tokens = tokens_,
                                  .dim = dim_,
                                  .in = block.in[0],
                                  .gamma = step.parameters + gamma_,
                                  .statistics = StatisticsOf(block),
                                  .out_gradient = block.out_gradient,
                                  .in_gradient = block.in_gradient[0],
                                  .accumulate_input = block.accumulate[0],
                                  .gamma_gradient = block.parameter_gradients + gamma_,
                                  .beta_gradient = block.parameter_gradients + beta_,
                                  .accumulate_parameters = block.accumulate_parameters,
                                  .workspace = block.workspace});
  }

 private:
  T* StatisticsOf(const BlockContext<T>& block) {
    return statistics_.data() + block.first_row * tokens_ * 2;
  }

  const Kernels<T>& kernels_;
  const std::size_t tokens_, dim_, gamma_, beta_;
  HugeBuffer<T> statistics_;  // mean and 1 / deviation of each row and token
};

struct BatchNormShape {
  std::size_t tokens, size;         // [tokens, size]; `size` features
  int gamma, beta, mean, variance;  // parameters; gamma, beta -1: none
};

// Statistics are kept per block and joined in the order of blocks. With xhat = (x - mean) r,
//   dx = gamma r (dy - sum(dy) / n - xhat sum(dy xhat) / n) = a (dy - mean(dy)) + b (x - mean).
template <typename T>
class BatchNormOp final : public Op<T> {
 public:
  BatchNormOp(const OpEnvironment<T>& environment, BatchNormShape shape)
      : kernels_(*environment.kernels),
        tokens_(shape.tokens),
        size_(shape.size),
        has_gamma_(shape.gamma >= 0),
        has_beta_(shape.beta >= 0),
        gamma_(has_gamma_ ? environment.offsets[shape.gamma] : 0),
        beta_(has_beta_ ? environment.offsets[shape.beta] : 0),
        running_mean_(environment.offsets[shape.mean]),
        running_variance_(environment.offsets[shape.variance]),
        mean_(size_),
        variance_(size_),
        centre_(size_),
        scale_(size_),
        shift_(size_),
        a_(size_),
        dy_mean_(size_),
        b_(size_) {}

  void BeginStep(const StepContext<T>& step) override {
    if (!step.training) {
      for (std::size_t e = 0; e < size_; ++e)
        SetAffine(step, e, step.parameters[running_mean_ + e],
                  step.parameters[running_variance_ + e]);
      return;
    }
    if (block_rows_.size() < step.blocks) {
      block_rows_.resize(step.blocks);
      first_.resize(step.blocks * size_);
      second_.resize(step.blocks * size_);
    }
  }

  void Reduce(const StepContext<T>&, const BlockContext<T>& block) override {
    block_rows_[block.index] = block.rows;
    kernels_.feature_moments({block.rows, tokens_, size_, block.in[0], nullptr},
                             &first_[block.index * size_], &second_[block.index * size_]);
  }

  // Joins the blocks' means and squared deviations (Chan, Golub, LeVeque 1983).
  void Combine(const StepContext<T>& step) override {
    for (std::size_t e = 0; e < size_; ++e) {
      double rows = 0, mean = 0, m2 = 0;
      for (std::size_t b = 0; b < step.blocks; ++b) {
        const double more = static_cast<double>(block_rows_[b] * tokens_);
        const double delta = first_[b * size_ + e] - mean;
        m2 += second_[b * size_ + e] + delta * delta * rows * more / (rows + more);
        mean += delta * more / (rows + more);
        rows += more;
      }
      mean_[e] = mean;
      variance_[e] = m2 / rows;
      SetAffine(step, e, mean, variance_[e]);
    }
  }

  void Forward(const StepContext<T>&, const BlockContext<T>& block) override {
    kernels_.feature_affine({block.rows, tokens_, size_, block.in[0], nullptr}, centre_.data(),
                            scale_.data(), shift_.data(), block.out);
  }

  void ReduceGradient(const StepContext<T>&, const BlockContext<T>& block) override {
    kernels_.feature_gradient_sums({block.rows, tokens_, size_, block.in[0], block.out_gradient},
                                   centre_.data(), &first_[block.index * size_],
                                   &second_[block.index * size_]);
  }

  void CombineGradient(const StepContext<T>& step, T* parameter_gradients) override {
    const double rows = static_cast<double>(step.rows * tokens_);
    for (std::size_t e = 0; e < size_; ++e) {
      double sum = 0, dot = 0;
      for (std::size_t b = 0; b < step.blocks; ++b) {
        sum += first_[b * size_ + e];
        dot += second_[b * size_ + e];
      }
      const double r = 1 / std::sqrt(variance_[e] + kNormEpsilon);
      const double sum_normal = dot * r;  // of dy * xhat
      if (has_gamma_) parameter_gradients[gamma_ + e] = static_cast<T>(sum_normal);
      if (has_beta_) parameter_gradients[beta_ + e] = static_cast<T>(sum);
      parameter_gradients[running_mean_ + e] = static_cast<T>(mean_[e]);
      parameter_gradients[running_variance_ + e] =
          static_cast<T>(variance_[e] * (rows > 1 ? rows / (rows - 1) : 1));
      const double factor = Gamma(step, e) * r;
      a_[e] = static_cast<T>(factor);
      dy_mean_[e] = static_cast<T>(sum / rows);
      b_[e] = static_cast<T>(-factor * r * sum_normal / rows);
    }
  }

  void Backward(const StepContext<T>&, const BlockContext<T>& block) override {
    if (block.in_gradient[0] == nullptr) return;
    kernels_.feature_affine_gradient({block.rows, tokens_, size_, block.in[0], block.out_gradient},
                                     {a_.data(), dy_mean_.data(), b_.data(), centre_.data()},
                                     block.accumulate[0], block.in_gradient[0]);
  }

 private:
  double Gamma(const StepContext<T>& step, std::size_t e) const {
    return has_gamma_ ? static_cast<double>(step.parameters[gamma_ + e]) : 1.0;
  }

  void SetAffine(const StepContext<T>& step, std::size_t e, double mean, double variance) {
    centre_[e] = static_cast<T>(mean);
    scale_[e] = static_cast<T>(Gamma(step, e) / std::sqrt(variance + kNormEpsilon));
    shift_[e] = has_beta_ ? step.parameters[beta_ + e] : T(0);
  }

  const Kernels<T>& kernels_;
  const std::size_t tokens_, size_;
  const bool has_gamma_, has_beta_;
  const std::size_t gamma_, beta_, running_mean_, running_variance_;
  // Of each block: rows; means, then sums of dy; squared deviations, then sums of dy (x - mean).
  std::vector<std::size_t> block_rows_;
  std::vector<double> first_, second_;
  // Of the batch.
  std::vector<double> mean_, variance_;    // variance: biased
  std::vector<T> centre_, scale_, shift_;  // y = (x - centre) * scale + shift
  std::vector<T> a_, dy_mean_, b_;         // dx = a (dy - dy_mean) + b (x - centre)
};

}  // namespace

Result<Tensor> LayerNorm(GraphBuilder& graph, std::string name, const Tensor& x,
                         const Parameter& gamma, const Parameter& beta) {
  if (x.dims.empty() || SizeOf(gamma.dims) != x.dims.back() || gamma.dims != beta.dims)
    return ShapeError(name, "last dimension, gamma and beta do not fit",
                      {x.dims, gamma.dims, beta.dims});
  const std::size_t dim = x.dims.back();
  OpDef def;
  def.name = std::move(name);
  def.inputs = {x};
  def.parameters = {gamma, beta};
  def.dims = x.dims;
  def.cheap = true;
  SetOp<LayerNormOp>(def, x.Size() / dim, dim, gamma.id, beta.id);
  return graph.AddOp(std::move(def));
}

Result<Tensor> BatchNorm(GraphBuilder& graph, std::string name, const Tensor& x,
                         const BatchNormParameters& parameters) {
  const auto& [gamma, beta, mean, variance] = parameters;
  const std::size_t size = SizeOf(mean.dims);
  const bool of_tokens = x.dims.size() == 2 && size == x.dims[1];
  if (size != x.Size() && !of_tokens)
    return ShapeError(name, "input and statistics do not fit", {x.dims, mean.dims});
  OpDef def;
  for (const std::optional<Parameter>& p :
       {gamma, beta, std::optional(mean), std::optional(variance)}) {
    if (!p) continue;
    if (SizeOf(p->dims) != size)
      return ShapeError(name, "parameters do not fit", {mean.dims, p->dims});
    def.parameters.push_back(*p);
  }
  def.name = std::move(name);
  def.inputs = {x};
  def.dims = x.dims;
  def.cheap = true;
  def.reduces = true;
  SetOp<BatchNormOp>(def, BatchNormShape{x.Size() / size, size, gamma ? gamma->id : -1,
                                         beta ? beta->id : -1, mean.id, variance.id});
  return graph.AddOp(std::move(def));
}

}  // namespace cairn::worker::nn
