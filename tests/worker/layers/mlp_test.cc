// MLPs: what a job's MlpConfig makes of them, parameters, gradients, Dice.
#include <cmath>

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "proto/config.pb.h"
#include "tests/worker/layers/layer_testing.h"
#include "worker/layers/mlp.h"
#include "worker/nn/ops/shape.h"

namespace cairn::worker::layers {
namespace {

using nn::GraphBuilder;
using nn::Tensor;
using testing::ElementsAre;

proto::MlpConfig Config(const std::string& text) {
  proto::MlpConfig config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &config)) << text;
  return config;
}

TEST(MlpFromConfig, TakesTheJobsValuesAndTheGivenWidthsWhereItHasNone) {
  const Mlp plain = Mlp::FromConfig(Config(""), {30, 20}, 0);
  EXPECT_THAT(plain.hidden, ElementsAre(30, 20));
  EXPECT_EQ(plain.outputs, 0u);
  EXPECT_FALSE(plain.batch_norm);
  EXPECT_EQ(plain.activation, Activation::kRelu);
  const Mlp mlp = Mlp::FromConfig(
      Config("hidden: 7 activation: DICE batch_norm: true dropout: 0.25"), {30, 20});
  EXPECT_THAT(mlp.hidden, ElementsAre(7));
  EXPECT_EQ(mlp.outputs, 1u);
  EXPECT_TRUE(mlp.batch_norm);
  EXPECT_EQ(mlp.dropout, 0.25);
  EXPECT_EQ(mlp.activation, Activation::kDice);
  EXPECT_EQ(Mlp::FromConfig(Config("activation: SWISH"), {1}).activation, Activation::kSwish);
  EXPECT_EQ(Mlp::FromConfig(Config("activation: GELU"), {1}).activation, Activation::kGelu);
  EXPECT_EQ(Mlp::FromConfig(Config("activation: SIGMOID"), {1}).activation, Activation::kSigmoid);
}

TEST(Mlp, HasTheParametersOfItsLayers) {
  const Mlp mlp{.hidden = {7, 5}, .outputs = 2, .activation = Activation::kDice};
  const LayerParameters whole([&](GraphBuilder& g, const Tensor& x) { return mlp(g, "m", x); }, 3,
                              4);
  EXPECT_THAT(whole.dims, ElementsAre(2));
  // Linear, gamma and beta, alpha; twice. Then a Linear.
  EXPECT_EQ(whole.trained, (12 * 7 + 7 + 14 + 7) + (7 * 5 + 5 + 10 + 5) + (5 * 2 + 2u));
  EXPECT_THAT(whole["m.1.dice.alpha"].dims, ElementsAre(5));
  EXPECT_TRUE(whole["m.1.dice.norm.running_variance"].is_statistic);
  EXPECT_THAT(whole["m.0.norm.gamma"].dims, ElementsAre(7));

  const LayerParameters tokens(
      [&](GraphBuilder& g, const Tensor& x) { return mlp.PerToken(g, "m", x); }, 3, 4);
  EXPECT_THAT(tokens.dims, ElementsAre(3, 2));
  EXPECT_EQ(tokens.trained, (4 * 7 + 7 + 14 + 7) + (7 * 5 + 5 + 10 + 5) + (5 * 2 + 2u));
}

TEST(Mlp, WithoutOutputsEndsWithItsLastHiddenLayer) {
  const Mlp mlp{.hidden = {7, 5}, .outputs = 0, .batch_norm = false};
  const LayerParameters layer([&](GraphBuilder& g, const Tensor& x) { return mlp(g, "m", x); }, 3,
                              4);
  EXPECT_THAT(layer.dims, ElementsAre(5));
  EXPECT_EQ(layer.trained, (12 * 7 + 7) + (7 * 5 + 5u));
}

TEST(Mlp, GradientsAgreeWithCentralDifferencesForEveryActivation) {
  for (Activation activation : {Activation::kRelu, Activation::kSwish, Activation::kGelu,
                                Activation::kSigmoid, Activation::kDice})
    for (bool batch_norm : {false, true})
      for (bool per_token : {false, true}) {
        SCOPED_TRACE(StrCat("activation ", static_cast<int>(activation), " batch_norm ", batch_norm,
                            " per_token ", per_token));
        const Mlp mlp{.hidden = {6, 5},
                      .outputs = 2,
                      .batch_norm = batch_norm,
                      .dropout = batch_norm ? 0 : 0.2,
                      .activation = activation};
        const BuildLayer layer = [&](GraphBuilder& g, const Tensor& x) {
          return per_token ? mlp.PerToken(g, "m", x) : mlp(g, "m", x);
        };
        nn::CheckGradients(OnEmbeddings(layer),
                           {.fields = nn::CategoricalFields(3, 4, 2), .rows = 37},
                           {.threads = 2,
                            .block_rows = 16,
                            .samples = 6,
                            .step = 1e-6,
                            .tolerance = 1e-5,
                            .float_tolerance = 2e-3});
      }
}

// One feature; in evaluation p = sigmoid((x - mean) / sqrt(variance + 1e-5)).
TEST(Dice, IsItsDefinition) {
  const nn::Problem problem{.fields = nn::CategoricalFields(1, 1, 1), .rows = 20};
  GraphBuilder builder(1);
  const Tensor x = *nn::FieldEmbeddings(builder, problem.fields);
  const auto y = Activate(builder, "dice", x, Activation::kDice);
  ASSERT_TRUE(y.ok()) << y.status();
  const auto graph = *nn::BasicGraph<double>::Make(builder, *y, {});
  nn::StepData<double> data(problem, builder);
  ASSERT_EQ(builder.layout()[0].name, "dice.alpha");
  ASSERT_EQ(builder.layout()[2].name, "dice.norm.running_variance");
  data.dense = {0.3, 0.2, 2.0};
  const std::vector<double> scores = data.Score(*graph);
  for (std::size_t r = 0; r < 20; ++r) {
    const double value = data.values[0][data.batch.fields[0].index[r]];
    const double p = 1 / (1 + std::exp(-(value - 0.2) / std::sqrt(2 + 1e-5)));
    EXPECT_NEAR(scores[r], p * value + 0.3 * (1 - p) * value, 1e-12);
  }
}

}  // namespace
}  // namespace cairn::worker::layers
