#include "worker/nn/ops/row_product.h"

#include <algorithm>

#include "worker/nn/op.h"
#include "worker/nn/ops/mix.h"

namespace cairn::worker::nn {
namespace {

// dA = dC B, dB = dC^T A.
template <typename T>
class RowProductOp final : public Op<T> {
 public:
  RowProductOp(const OpEnvironment<T>& environment, std::size_t m, std::size_t n, std::size_t d)
      : kernels_(*environment.kernels), m_(m), n_(n), d_(d) {}

  void Forward(const StepContext<T>&, const BlockContext<T>& block) override {
    kernels_.lane_product({.rows = m_,
                           .columns = n_,
                           .depth = d_,
                           .panels = block.panels,
                           .a = {block.in[0], m_ * d_ * kLanes, d_, 1},
                           .b = {block.in[1], n_ * d_ * kLanes, 1, d_},
                           .c = {block.out, m_ * n_ * kLanes, n_, 1},
                           .accumulate = false});
  }

  void Backward(const StepContext<T>&, const BlockContext<T>& block) override {
    if (block.in_gradient[0] != nullptr)
      kernels_.lane_product({.rows = m_,
                             .columns = d_,
                             .depth = n_,
                             .panels = block.panels,
                             .a = {block.out_gradient, m_ * n_ * kLanes, n_, 1},
                             .b = {block.in[1], n_ * d_ * kLanes, d_, 1},
                             .c = {block.in_gradient[0], m_ * d_ * kLanes, d_, 1},
                             .accumulate = block.accumulate[0]});
    if (block.in_gradient[1] != nullptr)
      kernels_.lane_product({.rows = n_,
                             .columns = d_,
                             .depth = m_,
                             .panels = block.panels,
                             .a = {block.out_gradient, m_ * n_ * kLanes, 1, n_},
                             .b = {block.in[0], m_ * d_ * kLanes, d_, 1},
                             .c = {block.in_gradient[1], n_ * d_ * kLanes, d_, 1},
                             .accumulate = block.accumulate[1]});
  }

 private:
  const Kernels<T>& kernels_;
  const std::size_t m_, n_, d_;
};

// C = A B: dA = dC B^T, dB = A^T dC.
template <typename T>
class RowMatrixProductOp final : public Op<T> {
 public:
  RowMatrixProductOp(const OpEnvironment<T>& environment, std::size_t m, std::size_t k,
                     std::size_t d)
      : kernels_(*environment.kernels), m_(m), k_(k), d_(d) {}

  void Forward(const StepContext<T>&, const BlockContext<T>& block) override {
    kernels_.lane_product({.rows = m_,
                           .columns = d_,
                           .depth = k_,
                           .panels = block.panels,
                           .a = {block.in[0], m_ * k_ * kLanes, k_, 1},
                           .b = {block.in[1], k_ * d_ * kLanes, d_, 1},
                           .c = {block.out, m_ * d_ * kLanes, d_, 1},
                           .accumulate = false});
  }

  void Backward(const StepContext<T>&, const BlockContext<T>& block) override {
    if (block.in_gradient[0] != nullptr)
      kernels_.lane_product({.rows = m_,
                             .columns = k_,
                             .depth = d_,
                             .panels = block.panels,
                             .a = {block.out_gradient, m_ * d_ * kLanes, d_, 1},
                             .b = {block.in[1], k_ * d_ * kLanes, 1, d_},
                             .c = {block.in_gradient[0], m_ * k_ * kLanes, k_, 1},
                             .accumulate = block.accumulate[0]});
    if (block.in_gradient[1] != nullptr)
      kernels_.lane_product({.rows = k_,
                             .columns = d_,
                             .depth = m_,
                             .panels = block.panels,
                             .a = {block.in[0], m_ * k_ * kLanes, 1, k_},
                             .b = {block.out_gradient, m_ * d_ * kLanes, d_, 1},
                             .c = {block.in_gradient[1], k_ * d_ * kLanes, d_, 1},
                             .accumulate = block.accumulate[1]});
  }

 private:
  const Kernels<T>& kernels_;
  const std::size_t m_, k_, d_;
};

// dZ = (D + D^T) Z, D the strictly upper matrix of the outputs' gradients.
template <typename T>
class PairwiseDotsOp final : public Op<T> {
 public:
  PairwiseDotsOp(const OpEnvironment<T>& environment, std::size_t m, std::size_t d)
      : kernels_(*environment.kernels), m_(m), d_(d) {}

  std::size_t WorkspaceFloats() const override { return m_ * m_ * kLanes; }

  void Forward(const StepContext<T>&, const BlockContext<T>& block) override {
    const std::size_t panel = m_ * d_ * kLanes, out_panel = m_ * (m_ - 1) / 2 * kLanes;
    T* out = block.out;
    for (std::size_t i = 0; i + 1 < m_; ++i) {
      const T* row = block.in[0] + i * d_ * kLanes;
      kernels_.lane_product({.rows = 1,
                             .columns = m_ - 1 - i,
                             .depth = d_,
                             .panels = block.panels,
                             .a = {row, panel, d_, 1},
                             .b = {row + d_ * kLanes, panel, 1, d_},
                             .c = {out, out_panel, m_, 1},
                             .accumulate = false});
      out += (m_ - 1 - i) * kLanes;
    }
  }

  void Backward(const StepContext<T>&, const BlockContext<T>& block) override {
    if (block.in_gradient[0] == nullptr) return;
    for (std::size_t p = 0; p < block.panels; ++p) {
      const T* gradient = block.out_gradient + p * (m_ * (m_ - 1) / 2) * kLanes;
      for (std::size_t i = 0; i < m_; ++i) {
        std::fill_n(block.workspace + i * (m_ + 1) * kLanes, kLanes, T(0));
        for (std::size_t j = i + 1; j < m_; ++j, gradient += kLanes) {
          std::copy_n(gradient, kLanes, block.workspace + (i * m_ + j) * kLanes);
          std::copy_n(gradient, kLanes, block.workspace + (j * m_ + i) * kLanes);
        }
      }
      const std::size_t at = p * m_ * d_ * kLanes;
      kernels_.lane_product({.rows = m_,
                             .columns = d_,
                             .depth = m_,
                             .panels = 1,
                             .a = {block.workspace, 0, m_, 1},
                             .b = {block.in[0] + at, 0, d_, 1},
                             .c = {block.in_gradient[0] + at, 0, d_, 1},
                             .accumulate = block.accumulate[0]});
    }
  }

 private:
  const Kernels<T>& kernels_;
  const std::size_t m_, d_;
};

}  // namespace

Result<Tensor> RowProduct(GraphBuilder& graph, std::string name, const Tensor& a, const Tensor& b) {
  if (a.dims.size() != 2 || b.dims.size() != 2 || a.dims[1] != b.dims[1])
    return ShapeError(name, "the last dimensions of both inputs must be equal", {a.dims, b.dims});
  OpDef def;
  def.name = std::move(name);
  def.inputs = {a, b};
  def.dims = {a.dims[0], b.dims[0]};
  def.cheap = true;
  SetOp<RowProductOp>(def, a.dims[0], b.dims[0], a.dims[1]);
  return graph.AddOp(std::move(def));
}

Result<Tensor> RowMatrixProduct(GraphBuilder& graph, std::string name, const Tensor& a,
                                const Tensor& b) {
  if (a.dims.size() != 2 || b.dims.size() != 2 || a.dims[1] != b.dims[0])
    return ShapeError(name, "columns of the first and rows of the second input must be equal",
                      {a.dims, b.dims});
  OpDef def;
  def.name = std::move(name);
  def.inputs = {a, b};
  def.dims = {a.dims[0], b.dims[1]};
  def.cheap = true;
  SetOp<RowMatrixProductOp>(def, a.dims[0], a.dims[1], b.dims[1]);
  return graph.AddOp(std::move(def));
}

Result<Tensor> PairwiseDots(GraphBuilder& graph, std::string name, const Tensor& z) {
  if (z.dims.size() != 2 || z.dims[0] < 2)
    return ShapeError(name, "needs at least two tokens [tokens, d], not", {z.dims});
  OpDef def;
  def.name = std::move(name);
  def.inputs = {z};
  def.dims = {z.dims[0] * (z.dims[0] - 1) / 2};
  def.cheap = true;
  SetOp<PairwiseDotsOp>(def, z.dims[0], z.dims[1]);
  return graph.AddOp(std::move(def));
}

Result<Tensor> CompressedGram(GraphBuilder& graph, const std::string& name, const Tensor& x0,
                              const Tensor& e, const Parameter& weight) {
  ASSIGN_OR_RETURN(const Tensor q, MixTokens(graph, name + ".compress", e, weight), name);
  return RowProduct(graph, name, x0, q);
}

}  // namespace cairn::worker::nn
