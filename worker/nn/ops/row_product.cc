#include "worker/nn/ops/row_product.h"

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

Result<Tensor> CompressedGram(GraphBuilder& graph, const std::string& name, const Tensor& x0,
                              const Tensor& e, const Parameter& weight) {
  ASSIGN_OR_RETURN(const Tensor q, MixTokens(graph, name + ".compress", e, weight), name);
  return RowProduct(graph, name, x0, q);
}

}  // namespace cairn::worker::nn
