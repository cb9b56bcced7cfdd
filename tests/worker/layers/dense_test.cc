// Layers with their own parameters: names, shapes, initial values, gradients, what they compute.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/worker/layers/layer_testing.h"
#include "worker/layers/dense.h"
#include "worker/layers/pairwise.h"
#include "worker/nn/ops/row_product.h"
#include "worker/nn/ops/shape.h"

namespace cairn::worker::layers {
namespace {

using nn::GraphBuilder;
using nn::Tensor;
using testing::ElementsAre;

TEST(Linear, HasAWeightAndAnOptionalBias) {
  const LayerParameters with(
      [](GraphBuilder& g, const Tensor& x) { return Linear(g, "fc", x, 50); }, 10, 20);
  EXPECT_THAT(with.dims, ElementsAre(50));
  EXPECT_THAT(with["fc.weight"].dims, ElementsAre(200, 50));
  EXPECT_TRUE(with["fc.weight"].is_weight);
  EXPECT_NEAR(with.Deviation("fc.weight"), std::sqrt(2.0 / 250), 2e-3);
  EXPECT_FALSE(with["fc.bias"].is_weight);
  EXPECT_EQ(with.Deviation("fc.bias"), 0);
  const LayerParameters without(
      [](GraphBuilder& g, const Tensor& x) { return Linear(g, "fc", x, 50, false); }, 10, 20);
  EXPECT_EQ(without.trained, 200 * 50u);
}

TEST(TokenLinear, SharesItsWeightsBetweenTokens) {
  const LayerParameters layer(
      [](GraphBuilder& g, const Tensor& x) { return TokenLinear(g, "t", x, 70); }, 5, 30);
  EXPECT_THAT(layer.dims, ElementsAre(5, 70));
  EXPECT_THAT(layer["t.weight"].dims, ElementsAre(30, 70));
  EXPECT_NEAR(layer.Deviation("t.weight"), std::sqrt(2.0 / 100), 5e-3);
  EXPECT_THAT(layer["t.bias"].dims, ElementsAre(70));
  EXPECT_EQ(layer.trained, 30 * 70 + 70u);
}

TEST(PerTokenLinear, HasWeightsForEachToken) {
  const LayerParameters layer(
      [](GraphBuilder& g, const Tensor& x) { return PerTokenLinear(g, "p", x, 70); }, 5, 30);
  EXPECT_THAT(layer.dims, ElementsAre(5, 70));
  EXPECT_THAT(layer["p.weight"].dims, ElementsAre(5, 30, 70));
  EXPECT_NEAR(layer.Deviation("p.weight"), std::sqrt(2.0 / 100), 3e-3);
  EXPECT_THAT(layer["p.bias"].dims, ElementsAre(5, 70));
}

TEST(BatchNorms, HaveParametersForEachValueOrEachFeature) {
  const auto shape_of = [](auto function, const std::string& name) {
    const LayerParameters layer(
        [&](GraphBuilder& g, const Tensor& x) { return function(g, "n", x); }, 3, 4);
    return layer.by_name.contains(name) ? layer[name].dims : std::vector<std::uint32_t>{};
  };
  EXPECT_THAT(shape_of(BatchNorm, "n.gamma"), ElementsAre(12));
  EXPECT_THAT(shape_of(TokenBatchNorm, "n.gamma"), ElementsAre(4));
  EXPECT_THAT(shape_of(TokenBatchNorm, "n.running_variance"), ElementsAre(4));
  EXPECT_THAT(shape_of(PlainBatchNorm, "n.running_mean"), ElementsAre(4));
  EXPECT_THAT(shape_of(PlainBatchNorm, "n.gamma"), ElementsAre());
  const LayerParameters layer(
      [](GraphBuilder& g, const Tensor& x) { return TokenBatchNorm(g, "n", x); }, 3, 4);
  EXPECT_EQ(layer.trained, 8u);
  EXPECT_EQ(layer.Deviation("n.gamma"), 1);
  EXPECT_EQ(layer.Deviation("n.running_mean"), 0);
  EXPECT_EQ(layer.Deviation("n.running_variance"), 1);
}

TEST(MixTokens, TakesItsInitialValuesFromTheChoice) {
  const auto layer = [](MixInit init) {
    return LayerParameters(
        [=](GraphBuilder& g, const Tensor& x) { return MixTokens(g, "m", x, 150, init); }, 50, 3);
  };
  EXPECT_NEAR(layer(MixInit::kKaimingUniform).Deviation("m"), std::sqrt(6.0 / 150 / 3), 2e-3);
  EXPECT_NEAR(layer(MixInit::kXavierNormal).Deviation("m"), std::sqrt(2.0 / 200), 2e-3);
}

TEST(Layers, GradientsAgreeWithCentralDifferences) {
  const std::map<std::string, BuildLayer> layers = {
      {"token_linear", [](GraphBuilder& g, const Tensor& x) { return TokenLinear(g, "l", x, 5); }},
      {"per_token_linear",
       [](GraphBuilder& g, const Tensor& x) { return PerTokenLinear(g, "l", x, 5); }},
      {"token_batch_norm",
       [](GraphBuilder& g, const Tensor& x) { return TokenBatchNorm(g, "l", x); }},
      {"plain_batch_norm",
       [](GraphBuilder& g, const Tensor& x) { return PlainBatchNorm(g, "l", x); }},
      {"pairwise_sum", [](GraphBuilder& g, const Tensor& x) { return PairwiseSum(g, "l", x); }},
  };
  for (const auto& [name, layer] : layers) {
    SCOPED_TRACE(name);
    nn::CheckGradients(OnEmbeddings(layer), {.fields = nn::CategoricalFields(4, 3, 2), .rows = 37},
                       {.threads = 2, .block_rows = 16});
  }
}

TEST(PairwiseSum, IsTheSumOfAllInnerProducts) {
  const nn::Problem problem{.fields = nn::CategoricalFields(6, 5, 2), .rows = 20};
  const auto logits = [&](auto layer) {
    nn::GraphBuilder builder(1);
    const Tensor x = *nn::FieldEmbeddings(builder, problem.fields);
    const auto graph = *nn::BasicGraph<double>::Make(builder, layer(builder, x), {});
    nn::StepData<double> data(problem, builder);
    return data.Score(*graph);
  };
  const auto fast =
      logits([](GraphBuilder& g, const Tensor& x) { return *PairwiseSum(g, "p", x); });
  const auto plain = logits([](GraphBuilder& g, const Tensor& x) {
    return nn::Sum(g, "s", *nn::PairwiseDots(g, "p", x));
  });
  for (std::size_t r = 0; r < fast.size(); ++r) EXPECT_NEAR(fast[r], plain[r], 1e-12);
}

TEST(Layers, ThatNeedTokensRefuseAVector) {
  GraphBuilder g(1);
  const Tensor x = *nn::FieldEmbeddings(g, nn::CategoricalFields(2, 3, 1));
  const Tensor flat = *nn::Reshape(x, {6});
  for (const Status& status :
       {TokenLinear(g, "here", flat, 2).status(), PerTokenLinear(g, "here", flat, 2).status(),
        TokenBatchNorm(g, "here", flat).status(), MixTokens(g, "here", flat, 2).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr("'here'"));
  }
}

}  // namespace
}  // namespace cairn::worker::layers
