// Activations, arithmetic and the ops that move values: gradients, values of the definitions,
// errors.
#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/worker/nn/op_testing.h"
#include "worker/nn/kernels/kernels.h"
#include "worker/nn/ops/activation.h"
#include "worker/nn/ops/arithmetic.h"
#include "worker/nn/ops/norm.h"
#include "worker/nn/ops/shape.h"

namespace cairn::worker::nn {
namespace {

using testing::HasSubstr;

std::uint32_t SizeOfTensor(const Tensor& x) { return static_cast<std::uint32_t>(x.Size()); }

// Another tensor of x's shape, and one value per token.
Tensor Other(GraphBuilder& g, const Tensor& x) {
  return *MixTokens(g, "other", x, NewParameter(g, "other.w", {x.dims[0], x.dims[0]}));
}
Tensor TokenWeights(GraphBuilder& g, const Tensor& x) {
  return *Linear(g, "weights", x, NewParameter(g, "weights.w", {SizeOfTensor(x), x.dims[0]}),
                 std::nullopt);
}

const std::vector<OpCase>& Cases() {
  static const auto& cases = *new std::vector<OpCase>{
      {"sigmoid", [](GraphBuilder& g, const Tensor& x) { return Sigmoid(g, "f", x); }},
      {"swish", [](GraphBuilder& g, const Tensor& x) { return Swish(g, "f", x); }},
      {"gelu", [](GraphBuilder& g, const Tensor& x) { return Gelu(g, "f", x); }},
      {"floor", [](GraphBuilder& g, const Tensor& x) { return Floor(g, "f", x, -0.25); }},
      {"sigmoid_of_a_normalised_tensor_is_read_in_another_stage",
       [](GraphBuilder& g, const Tensor& x) {
         const std::uint32_t size = SizeOfTensor(x);
         const auto normal = [&](const std::string& name, const Tensor& y) {
           return *BatchNorm(
               g, name, y,
               {std::nullopt, std::nullopt, NewParameter(g, name + ".mean", {size}, true),
                NewParameter(g, name + ".variance", {size}, true)});
         };
         const Tensor once = Sigmoid(g, "f", normal("n1", x));
         return *Multiply(g, "m", normal("n2", *Add(g, "a", once, x)), once);
       }},
      {"add_subtract_and_scale",
       [](GraphBuilder& g, const Tensor& x) {
         const Tensor y = Other(g, x);
         return *Subtract(g, "s", *Add(g, "a", x, y), Scale(g, "c", Sigmoid(g, "f", y), -3));
       }},
      {"subtract_from_itself",
       [](GraphBuilder& g, const Tensor& x) {
         return *Add(g, "a", *Subtract(g, "s", x, x), Sigmoid(g, "f", x));
       }},
      {"multiply",
       [](GraphBuilder& g, const Tensor& x) { return *Multiply(g, "m", x, Other(g, x)); }},
      {"square", [](GraphBuilder& g, const Tensor& x) { return *Multiply(g, "m", x, x); }},
      {"scale_features",
       [](GraphBuilder& g, const Tensor& x) {
         return *ScaleFeatures(g, "s", x, NewParameter(g, "w", {x.dims[1]}));
       }},
      {"scale_by_one_parameter",
       [](GraphBuilder& g, const Tensor& x) {
         return *ScaleFeatures(g, "s", x, NewParameter(g, "w", {1}));
       }},
      {"add_bias_of_features",
       [](GraphBuilder& g, const Tensor& x) {
         return Sigmoid(g, "f", *AddBias(g, "b", x, NewParameter(g, "w", {x.dims[1]})));
       }},
      {"add_bias_of_the_whole_shape",
       [](GraphBuilder& g, const Tensor& x) {
         return Sigmoid(g, "f", *AddBias(g, "b", x, NewParameter(g, "w", x.dims)));
       }},
      {"scale_tokens", [](GraphBuilder& g,
                          const Tensor& x) { return *ScaleTokens(g, "s", x, TokenWeights(g, x)); }},
      {"concat_features",
       [](GraphBuilder& g, const Tensor& x) {
         const Tensor parts[] = {x, TokenWeights(g, x), x};
         const Tensor column = *Reshape(parts[1], {x.dims[0], 1});
         const Tensor shaped[] = {parts[0], column, parts[2]};
         return Sigmoid(g, "f", *ConcatFeatures(g, "c", shaped));
       }},
      {"concat_vectors",
       [](GraphBuilder& g, const Tensor& x) {
         const Tensor parts[] = {TokenWeights(g, x), *Reshape(x, {SizeOfTensor(x)})};
         return Sigmoid(g, "f", *ConcatFeatures(g, "c", parts));
       }},
      {"slice_of_a_tensor_that_others_read_too",
       [](GraphBuilder& g, const Tensor& x) {
         const Tensor last = *SliceTokens(g, "s", x, x.dims[0] - 1, 1);
         const Tensor parts[] = {last, x, *SliceTokens(g, "t", x, 0, 1)};
         return Sigmoid(g, "f", *ConcatTokens(g, "c", parts));
       }},
      {"slice_alone",
       [](GraphBuilder& g, const Tensor& x) {
         return *SliceTokens(g, "s", Sigmoid(g, "f", x), x.dims[0] / 2, 1);
       }},
      {"repeat",
       [](GraphBuilder& g, const Tensor& x) {
         const Tensor first = *SliceTokens(g, "s", x, 0, 1);
         return *Multiply(g, "m", x, *RepeatToken(g, "r", first, x.dims[0]));
       }},
      {"transpose",
       [](GraphBuilder& g, const Tensor& x) {
         const Tensor turned = *Transpose(g, "t", x);
         return *MixTokens(g, "mix", turned, NewParameter(g, "w", {x.dims[1], 3}));
       }},
      {"sum_mean_and_sum_of_all",
       [](GraphBuilder& g, const Tensor& x) {
         const Tensor squares = *Multiply(g, "sq", x, x);
         const Tensor parts[] = {*SumTokens(g, "s", squares, std::nullopt),
                                 *SumTokens(g, "b", squares, NewParameter(g, "w", {x.dims[1]})),
                                 *MeanTokens(g, "m", squares), Sum(g, "all", squares)};
         return Sigmoid(g, "f", *ConcatFeatures(g, "c", parts));
       }},
      {"broadcast",
       [](GraphBuilder& g, const Tensor& x) {
         return *Multiply(g, "m", x, Broadcast(g, "b", NewParameter(g, "w", x.dims)));
       }},
      {"constant",
       [](GraphBuilder& g, const Tensor& x) {
         return *Multiply(g, "m", x, *Subtract(g, "s", Constant(g, "c", x.dims, 2.5), x));
       }},
      {"batch_norm_over_tokens",
       [](GraphBuilder& g, const Tensor& x) {
         const std::uint32_t d = x.dims[1];
         return *BatchNorm(
             g, "n", *Multiply(g, "sq", x, x),
             {NewParameter(g, "gamma", {d}), NewParameter(g, "beta", {d}),
              NewParameter(g, "mean", {d}, true), NewParameter(g, "variance", {d}, true)});
       }},
  };
  return cases;
}

class ElementwiseGradient : public testing::TestWithParam<std::tuple<std::size_t, OpShape>> {};

TEST_P(ElementwiseGradient, AgreesWithCentralDifferences) {
  CheckOpGradients(Cases()[std::get<0>(GetParam())], std::get<1>(GetParam()));
}

std::string NameOf(const testing::TestParamInfo<std::tuple<std::size_t, OpShape>>& parameter) {
  const auto& [index, shape] = parameter.param;
  return Cases()[index].name + "_" + NameOfShape(shape);
}

INSTANTIATE_TEST_SUITE_P(Ops, ElementwiseGradient,
                         testing::Combine(testing::Range<std::size_t>(0, Cases().size()),
                                          testing::ValuesIn(kOpShapes)),
                         NameOf);

// Values and slopes of the kernels on a grid over the whole range that matters.
TEST(Activations, AgreeWithTheirDefinitionsOnAGrid) {
  constexpr std::size_t kPoints = 4096;
  std::vector<float> x(kPoints), ones(kPoints, 1.f), y(kPoints), slope(kPoints);
  for (std::size_t i = 0; i < kPoints; ++i) x[i] = -20.f + 40.f * i / (kPoints - 1);
  for (Isa isa : RunnableIsas()) {
    const Kernels<float>& kernels = *FindKernels<float>(isa);
    kernels.sigmoid(x.data(), kPoints, y.data());
    for (std::size_t i = 0; i < kPoints; ++i) {
      const double expected = 1 / (1 + std::exp(-static_cast<double>(x[i])));
      ASSERT_NEAR(y[i], expected, 4e-7 * expected) << kernels.name << " sigmoid " << x[i];
    }
    kernels.gelu(x.data(), kPoints, y.data());
    kernels.gelu_gradient(x.data(), ones.data(), kPoints, false, slope.data());
    for (std::size_t i = 0; i < kPoints; ++i) {
      const double z = x[i], cdf = 0.5 * std::erfc(-z / std::sqrt(2.0));
      const double density = std::exp(-z * z / 2) / std::sqrt(2 * M_PI);
      // Relative, in the tail as well; there the rounding of z^2 / 2 counts.
      const double tolerance = (1e-6 + 6e-8 * z * z) * std::abs(z * cdf) + 1e-30;
      ASSERT_NEAR(y[i], z * cdf, tolerance) << kernels.name << " gelu " << z;
      ASSERT_NEAR(slope[i], cdf + z * density, 1e-6) << kernels.name << " gelu' " << z;
    }
    kernels.swish(x.data(), kPoints, y.data());
    for (std::size_t i = 0; i < kPoints; ++i) {
      const double z = x[i], expected = z / (1 + std::exp(-z));
      ASSERT_NEAR(y[i], expected, 4e-7 * std::abs(expected)) << kernels.name << " swish " << z;
    }
  }
}

TEST(Activations, HugeAndUndefinedNumbers) {
  const float inf = std::numeric_limits<float>::infinity();
  std::vector<float> x(kLanes, 0.f), y(kLanes);
  x[0] = inf, x[1] = -inf, x[2] = std::nanf(""), x[3] = 1e30f, x[4] = -1e30f;
  for (Isa isa : RunnableIsas()) {
    const Kernels<float>& kernels = *FindKernels<float>(isa);
    kernels.sigmoid(x.data(), kLanes, y.data());
    EXPECT_EQ(y[0], 1);
    EXPECT_EQ(y[1], 0);
    EXPECT_TRUE(std::isnan(y[2]));
    EXPECT_EQ(y[5], 0.5f);
    for (auto function : {kernels.swish, kernels.gelu}) {
      function(x.data(), kLanes, y.data());
      EXPECT_EQ(y[0], inf);
      EXPECT_TRUE(std::isnan(y[2]));
      EXPECT_EQ(y[3], 1e30f);
      EXPECT_EQ(y[4], 0);
      EXPECT_EQ(y[5], 0);
    }
    kernels.floor(x.data(), 1e-6f, kLanes, y.data());
    EXPECT_EQ(y[1], 1e-6f);
    EXPECT_TRUE(std::isnan(y[2]));
    EXPECT_EQ(y[3], 1e30f);
  }
}

TEST(BatchNorm, StatisticsOfTokensAreTakenOverRowsAndTokens) {
  Problem problem{.fields = CategoricalFields(3, 2, 1), .rows = 21};
  GraphBuilder builder(1);
  const Tensor x = *FieldEmbeddings(builder, problem.fields);
  const Tensor y = *BatchNorm(builder, "n", x,
                              {std::nullopt, std::nullopt, NewParameter(builder, "m", {2}, true),
                               NewParameter(builder, "v", {2}, true)});
  const auto graph = *BasicGraph<double>::Make(builder, ToLogit(builder, y), {.block_rows = 16});
  StepData<double> data(problem, builder);
  data.Train(*graph);
  for (int e = 0; e < 2; ++e) {
    double mean = 0, square = 0;
    for (const FieldColumn& column : data.batch.fields)
      for (std::uint32_t index : column.index) mean += data.values[0][index * 2 + e] / 63;
    for (const FieldColumn& column : data.batch.fields)
      for (std::uint32_t index : column.index)
        square += std::pow(data.values[0][index * 2 + e] - mean, 2);
    EXPECT_NEAR(data.dense_gradients[e], mean, 1e-12);
    EXPECT_NEAR(data.dense_gradients[2 + e], square / 62, 1e-12);
  }
}

TEST(Shapes, MisfitsAreErrorsThatNameTheOpAndTheShapes) {
  GraphBuilder g(1);
  const Tensor x = *FieldEmbeddings(g, CategoricalFields(3, 4, 1));
  const Tensor flat = *Reshape(x, {12}), turned = *Reshape(x, {4, 3});
  const Parameter w = NewParameter(g, "w", {5});
  const auto message = [](const auto& result) { return std::string(result.status().message()); };
  EXPECT_THAT(message(Subtract(g, "sub", x, flat)), HasSubstr("'sub': shapes to subtract differ"));
  EXPECT_THAT(message(Multiply(g, "mul", x, flat)), HasSubstr("[3, 4] [12]"));
  EXPECT_THAT(message(ScaleFeatures(g, "scale", x, w)), HasSubstr("'scale'"));
  EXPECT_THAT(message(AddBias(g, "bias", x, w)), HasSubstr("[3, 4] [5]"));
  EXPECT_THAT(message(ScaleTokens(g, "tokens", x, flat)), HasSubstr("'tokens'"));
  const Tensor parts[] = {x, turned};
  EXPECT_THAT(message(ConcatFeatures(g, "cat", parts)), HasSubstr("[3, 4] [4, 3]"));
  EXPECT_THAT(message(ConcatFeatures(g, "cat", {})), HasSubstr("'cat': nothing to join"));
  EXPECT_THAT(message(SliceTokens(g, "slice", x, 2, 2)), HasSubstr("tokens 2 to 2 + 2"));
  EXPECT_THAT(message(SliceTokens(g, "slice", x, 4294967295u, 2)), HasSubstr("'slice'"));
  EXPECT_THAT(message(SliceTokens(g, "slice", x, 0, 0)), HasSubstr("'slice'"));
  EXPECT_THAT(message(RepeatToken(g, "repeat", x, 2)), HasSubstr("'repeat'"));
  EXPECT_THAT(message(Transpose(g, "turn", flat)), HasSubstr("'turn'"));
  EXPECT_THAT(message(SumTokens(g, "sum", x, w)), HasSubstr("[3, 4] [5]"));
  EXPECT_THAT(message(SumTokens(g, "sum", flat, std::nullopt)), HasSubstr("'sum'"));
  EXPECT_THAT(message(MeanTokens(g, "mean", flat)), HasSubstr("'mean'"));
  EXPECT_THAT(message(BatchNorm(g, "bn", x, {std::nullopt, std::nullopt, w, w})),
              HasSubstr("[3, 4] [5]"));
}

}  // namespace
}  // namespace cairn::worker::nn
