// The kernels of every instruction set that this CPU can run, against Eigen and plain loops.
#include <cmath>

#include <gtest/gtest.h>
#include <Eigen/Core>

#include "common/math/rng.h"
#include "tests/worker/nn/gradient_check.h"
#include "worker/nn/huge_buffer.h"
#include "worker/nn/kernels/kernels.h"

namespace cairn::worker::nn {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Map = Eigen::Map<Matrix>;

std::vector<float> Random(std::size_t n, std::uint64_t seed) {
  std::vector<float> values(n);
  FillNormal(seed, 1, 0, 1, values);
  return values;
}

struct Shape {
  std::size_t depth, outputs, columns, panels;
};

const Shape kShapes[] = {
    {1, 1, 1, 1},    {7, 5, 1, 3},   {8, 48, 1, 4},   {193, 17, 1, 2}, {400, 9, 1, 5},
    {13, 530, 1, 2}, {96, 24, 4, 2}, {39, 96, 16, 1}, {5, 3, 7, 17},   {129, 49, 2, 16},
};

class KernelTest : public testing::TestWithParam<std::tuple<Isa, Shape>> {
 protected:
  const Kernels<float>& kernels() const { return *FindKernels<float>(std::get<0>(GetParam())); }
  Shape shape() const { return std::get<1>(GetParam()); }
};

// In panels, x of a panel is a row-major matrix [depth, columns * 16].
TEST_P(KernelTest, MixAgreesWithEigenAndHonoursBiasStridesAndAccumulate) {
  const auto [depth, outputs, columns, panels] = shape();
  const std::size_t width = columns * kLanes;
  const std::size_t in_stride = depth * width + 32, out_stride = outputs * width + 16;
  std::vector<float> w = Random(depth * outputs, 1), bias = Random(outputs, 2);
  std::vector<float> x = Random(panels * in_stride, 3), before = Random(panels * out_stride, 4);
  std::vector<float> packed(PackedFloats(kernels(), depth, outputs));
  const std::size_t tiles = RoundUp(outputs, kernels().tile_outputs) / kernels().tile_outputs;
  kernels().pack_weights({w.data(), depth, outputs, outputs, 1}, 0, tiles, packed.data());
  for (bool accumulate : {false, true}) {
    std::vector<float> y = before;
    MixArgs<float> args{.packed = packed.data(),
                        .depth = depth,
                        .outputs = outputs,
                        .in = x.data(),
                        .in_stride = in_stride,
                        .out = y.data(),
                        .out_stride = out_stride,
                        .panels = panels,
                        .columns = columns,
                        .bias = accumulate ? nullptr : bias.data(),
                        .accumulate = accumulate};
    kernels().mix(args);
    for (std::size_t p = 0; p < panels; ++p) {
      Matrix expected =
          Map(w.data(), depth, outputs).transpose() * Map(x.data() + p * in_stride, depth, width);
      if (accumulate) {
        expected += Map(before.data() + p * out_stride, outputs, width);
      } else {
        expected.colwise() += Eigen::Map<Eigen::VectorXf>(bias.data(), outputs);
      }
      const float error =
          (expected - Map(y.data() + p * out_stride, outputs, width)).array().abs().maxCoeff();
      EXPECT_LT(error, 2e-5f * std::sqrt(static_cast<float>(depth)) + 1e-6f) << "panel " << p;
      for (std::size_t i = outputs * width; i < out_stride; ++i)
        ASSERT_EQ(y[p * out_stride + i], before[p * out_stride + i]) << "wrote past the output";
    }
  }
}

TEST_P(KernelTest, TransposedPackingGivesTheInputGradient) {
  const auto [depth, outputs, columns, panels] = shape();
  const std::size_t width = columns * kLanes;
  std::vector<float> w = Random(depth * outputs, 1), dy = Random(panels * outputs * width, 2);
  std::vector<float> dx(panels * depth * width);
  std::vector<float> packed(PackedFloats(kernels(), outputs, depth));
  const std::size_t tiles = RoundUp(depth, kernels().tile_outputs) / kernels().tile_outputs;
  // In two parts, as two threads would pack it.
  kernels().pack_weights({w.data(), outputs, depth, 1, outputs}, 0, tiles / 2, packed.data());
  kernels().pack_weights({w.data(), outputs, depth, 1, outputs}, tiles / 2, tiles, packed.data());
  kernels().mix({.packed = packed.data(),
                 .depth = outputs,
                 .outputs = depth,
                 .in = dy.data(),
                 .in_stride = outputs * width,
                 .out = dx.data(),
                 .out_stride = depth * width,
                 .panels = panels,
                 .columns = columns});
  for (std::size_t p = 0; p < panels; ++p) {
    const Matrix expected =
        Map(w.data(), depth, outputs) * Map(dy.data() + p * outputs * width, outputs, width);
    const float error =
        (expected - Map(dx.data() + p * depth * width, depth, width)).array().abs().maxCoeff();
    EXPECT_LT(error, 2e-5f * std::sqrt(static_cast<float>(outputs)) + 1e-6f);
  }
}

TEST_P(KernelTest, WeightGradientAgreesWithEigen) {
  const auto [depth, outputs, columns, panels] = shape();
  const std::size_t width = columns * kLanes;
  std::vector<float> x = Random(panels * depth * width, 1),
                     dy = Random(panels * outputs * width, 2);
  const std::vector<float> dw_before = Random(depth * outputs, 3), db_before = Random(outputs, 4);
  HugeBuffer<float> workspace(kernels().mix_gradient_workspace(outputs));
  for (bool accumulate : {false, true}) {
    std::vector<float> dw = dw_before, db = db_before;
    kernels().mix_weight_gradient({.depth = depth,
                                   .outputs = outputs,
                                   .in = x.data(),
                                   .in_stride = depth * width,
                                   .out_gradient = dy.data(),
                                   .out_stride = outputs * width,
                                   .panels = panels,
                                   .columns = columns,
                                   .weight_gradient = dw.data(),
                                   .bias_gradient = db.data(),
                                   .accumulate = accumulate,
                                   .workspace = workspace.data()});
    Eigen::MatrixXd expected = Eigen::MatrixXd::Zero(depth, outputs);
    Eigen::VectorXd bias = Eigen::VectorXd::Zero(outputs);
    for (std::size_t p = 0; p < panels; ++p) {
      const Eigen::MatrixXd dy_panel =
          Map(dy.data() + p * outputs * width, outputs, width).cast<double>();
      expected +=
          Map(x.data() + p * depth * width, depth, width).cast<double>() * dy_panel.transpose();
      bias += dy_panel.rowwise().sum();
    }
    const double tolerance = 1e-5 * std::sqrt(static_cast<double>(panels * width));
    for (std::size_t i = 0; i < dw.size(); ++i)
      ASSERT_NEAR(dw[i], expected(i / outputs, i % outputs) + (accumulate ? dw_before[i] : 0),
                  tolerance);
    for (std::size_t m = 0; m < outputs; ++m)
      ASSERT_NEAR(db[m], bias[m] + (accumulate ? db_before[m] : 0), tolerance);
  }
}

TEST_P(KernelTest, LaneProductMultipliesEveryLaneOnItsOwn) {
  const auto [m, n, k, panels] = shape();
  const std::size_t rows = m % 23 + 1, columns = n % 29 + 1, depth = k + 2;
  std::vector<float> a = Random(panels * rows * depth * kLanes, 1);
  std::vector<float> b = Random(panels * depth * columns * kLanes, 2);
  for (bool accumulate : {false, true}) {
    std::vector<float> c(panels * rows * columns * kLanes, 1.f);
    kernels().lane_product({.rows = rows,
                            .columns = columns,
                            .depth = depth,
                            .panels = panels,
                            .a = {a.data(), rows * depth * kLanes, depth, 1},
                            .b = {b.data(), depth * columns * kLanes, 1, depth},
                            .c = {c.data(), rows * columns * kLanes, columns, 1},
                            .accumulate = accumulate});
    for (std::size_t i = 0; i < c.size(); ++i) {
      const std::size_t lane = i % kLanes, j = i / kLanes % columns;
      const std::size_t row = i / kLanes / columns % rows, p = i / kLanes / columns / rows;
      double expected = accumulate ? 1 : 0;
      for (std::size_t t = 0; t < depth; ++t)
        expected += static_cast<double>(a[((p * rows + row) * depth + t) * kLanes + lane]) *
                    b[((p * columns + j) * depth + t) * kLanes + lane];
      ASSERT_NEAR(c[i], expected, 1e-4);
    }
  }
}

std::string NameOf(const testing::TestParamInfo<std::tuple<Isa, Shape>>& parameter) {
  const auto& [isa, shape] = parameter.param;
  return StrCat(FindKernels<float>(isa)->name, "_", shape.depth, "x", shape.outputs, "x",
                shape.columns, "_panels", shape.panels);
}

INSTANTIATE_TEST_SUITE_P(Isas, KernelTest,
                         testing::Combine(testing::ValuesIn(RunnableIsas()),
                                          testing::ValuesIn(kShapes)),
                         NameOf);

}  // namespace
}  // namespace cairn::worker::nn
