// Attention layers: names, shapes and errors of their parameters, values by the definition,
// gradients.
#include "worker/layers/attention.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/worker/nn/op_testing.h"
#include "worker/nn/ops/shape.h"

namespace cairn::worker::layers {
namespace {

using nn::GraphBuilder;
using nn::Tensor;
using testing::HasSubstr;

using Build = std::function<Result<Tensor>(GraphBuilder&, const Tensor& x)>;

void CheckLayer(const Build& build) {
  for (const nn::OpShape& shape : {nn::OpShape{5, 8, 37, 2}, nn::OpShape{1, 8, 1, 1}}) {
    const nn::BuildGraph graph = [&](GraphBuilder& g, const std::vector<FieldSpec>& fields) {
      const Result<Tensor> x = nn::FieldEmbeddings(g, fields);
      return Result<Tensor>(nn::ToLogit(g, *build(g, *x)));
    };
    nn::CheckGradients(
        graph, {.fields = nn::CategoricalFields(shape.fields, shape.dim, 2), .rows = shape.rows},
        {.threads = shape.threads, .block_rows = 16});
  }
}

TEST(MultiHeadAttention, GradientsAgreeWithCentralDifferences) {
  CheckLayer([](GraphBuilder& g, const Tensor& x) {
    return MultiHeadAttention{.heads = 2, .rotary = true}(g, "a", x, x);
  });
  CheckLayer([](GraphBuilder& g, const Tensor& x) -> Result<Tensor> {
    const Tensor few = *nn::SliceTokens(g, "few", x, 0, 1);
    return MultiHeadAttention{.heads = 3, .bias = false, .output = false, .scale = 1, .width = 6}(
        g, "a", few, x);
  });
}

TEST(SelfGate, GradientsAgreeWithCentralDifferences) {
  CheckLayer([](GraphBuilder& g, const Tensor& x) { return SelfGate(g, "gate", x); });
}

TEST(MultiHeadAttention, ParametersHaveTheirNamesShapesAndInitialValues) {
  GraphBuilder g(1);
  const Tensor x = *nn::FieldEmbeddings(g, nn::CategoricalFields(3, 8, 1));
  const Tensor y = *MultiHeadAttention{.heads = 2}(g, "a", x, x);
  EXPECT_EQ(y.dims, (std::vector<std::uint32_t>{3, 8}));
  std::vector<std::string> names;
  for (const DenseTensor& tensor : g.layout()) names.push_back(tensor.name);
  EXPECT_THAT(names, testing::ElementsAre("a.query.weight", "a.query.bias", "a.key.weight",
                                          "a.key.bias", "a.value.weight", "a.value.bias",
                                          "a.output.weight", "a.output.bias"));
  EXPECT_EQ(g.ParameterFloats(), 4u * (64 + 8));
  const Tensor few = *nn::SliceTokens(g, "few", x, 0, 1);
  const Tensor z =
      *MultiHeadAttention{.heads = 2, .bias = false, .output = false, .width = 6}(g, "b", few, x);
  EXPECT_EQ(z.dims, (std::vector<std::uint32_t>{1, 6}));
  EXPECT_EQ(g.ParameterFloats(), 4u * (64 + 8) + 3 * 48);
}

TEST(MultiHeadAttention, HeadsThatDoNotDivideTheWidthAreRefused) {
  GraphBuilder g(1);
  const Tensor x = *nn::FieldEmbeddings(g, nn::CategoricalFields(3, 6, 1));
  const auto heads = MultiHeadAttention{.heads = 4}(g, "a", x, x);
  EXPECT_THAT(std::string(heads.status().message()),
              HasSubstr("4 heads do not divide the width 6"));
  const auto odd = MultiHeadAttention{.heads = 2, .rotary = true}(g, "b", x, x);
  EXPECT_THAT(std::string(odd.status().message()), HasSubstr("6 / 2"));
}

// One token: its attention is 1 whatever the scores, so the result is two Linears of it.
TEST(MultiHeadAttention, OfOneTokenIsItsProjectedValue) {
  const nn::Problem problem{.fields = nn::CategoricalFields(1, 4, 1), .rows = 3};
  GraphBuilder g(1);
  const Tensor x = *nn::FieldEmbeddings(g, problem.fields);
  const Tensor y = *MultiHeadAttention{.heads = 2, .rotary = true}(g, "a", x, x);
  const auto graph = *nn::BasicGraph<double>::Make(g, nn::ToLogit(g, y), {});
  nn::StepData<double> data(problem, g);
  const std::vector<double> scores = data.Score(*graph);
  const double* value = &data.dense[40];
  const double* output = &data.dense[60];
  for (std::size_t r = 0; r < 3; ++r) {
    const double* token = &data.values[0][data.batch.fields[0].index[r] * 4];
    double expected = 0;
    for (std::size_t o = 0; o < 4; ++o) {
      double sum = output[16 + o];
      for (std::size_t e = 0; e < 4; ++e) {
        double v = value[16 + e];
        for (std::size_t i = 0; i < 4; ++i) v += token[i] * value[i * 4 + e];
        sum += v * output[e * 4 + o];
      }
      expected += sum * data.dense[80 + o];
    }
    EXPECT_NEAR(scores[r], expected, 1e-12);
  }
}

TEST(SelfGate, IsTheInputTimesASigmoidOfItsMlp) {
  const nn::Problem problem{.fields = nn::CategoricalFields(1, 1, 1), .rows = 2};
  GraphBuilder g(1);
  const Tensor x = *nn::FieldEmbeddings(g, problem.fields);
  const Tensor y = *SelfGate(g, "gate", x);
  const auto graph = *nn::BasicGraph<double>::Make(g, y, {});
  nn::StepData<double> data(problem, g);
  data.dense = {2, 0.5, -3, 0.25};  // weight and bias of both Linears
  const std::vector<double> scores = data.Score(*graph);
  for (std::size_t r = 0; r < 2; ++r) {
    const double value = data.values[0][data.batch.fields[0].index[r]];
    const double u = 2 * value + 0.5, swish = u / (1 + std::exp(-u));
    EXPECT_NEAR(scores[r], value / (1 + std::exp(3 * swish - 0.25)), 1e-12);
  }
}

}  // namespace
}  // namespace cairn::worker::layers
