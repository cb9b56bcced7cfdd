// DLF: parameter counts, initial values, gradients of every option, identities between options,
// errors. The numbers themselves are checked against an independent program in oracle_test.cc.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/worker/models/model_testing.h"

namespace cairn::worker {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::DoubleNear;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::Pointwise;

constexpr char kSmall[] =
    "layers: 2 implicit_tokens: 3 block_tokens: 2 rank: 5 hidden: 9 head_hidden: 6 ";

proto::ModelConfig Dlf(const std::string& options) { return Model("dlf { " + options + " }"); }
proto::ModelConfig Small(const std::string& options) { return Dlf(kSmall + options); }

std::vector<FieldSpec> Fields(int count, std::uint32_t dim, int tables) {
  return DenseFields(std::vector<double>(count, 1), dim, tables);
}

TEST(Dlf, ParameterCountsOfTheReleasedCode) {
  const std::string wide = "implicit_tokens: 32 block_tokens: 32 ";
  const std::string narrow = "implicit_tokens: 16 block_tokens: 16 ";
  EXPECT_EQ(TrainedFloats(Dlf(wide), Fields(39, 64, 39)), 15'190'065u);
  EXPECT_EQ(TrainedFloats(Dlf(narrow), Fields(39, 64, 39)), 8'081'361u);
  EXPECT_EQ(TrainedFloats(Dlf(wide), Fields(22, 64, 22)), 14'764'385u);
}

TEST(Dlf, ParameterCountsOfThePaperProfile) {
  const std::string wide = "profile: P implicit_tokens: 32 block_tokens: 32 ";
  EXPECT_EQ(TrainedFloats(Dlf(wide), Fields(39, 64, 39)), 15'352'113u);
  EXPECT_EQ(TrainedFloats(Dlf(wide), Fields(22, 64, 22)), 14'926'433u);
}

TEST(Dlf, WithAsManyFieldsAsTokensNothingIsProjected) {
  nn::GraphBuilder graph(1);
  ASSERT_TRUE(Builder(Small("layers: 3"))(graph, Fields(7, 4, 7)).ok());  // 3 + 2 * 2 = 7
  EXPECT_THAT(ParameterNames(graph), Each(Not(HasSubstr("project"))));
  EXPECT_THAT(ParameterNames(graph), Each(Not(HasSubstr("residual"))));
}

TEST(Dlf, InitialValuesHaveTheirScaleAndBiasesAreZero) {
  nn::GraphBuilder graph(3);
  ASSERT_TRUE(Builder(Dlf("implicit_tokens: 32 block_tokens: 32 layers: 2 profile: P"))(
                  graph, Fields(39, 16, 39))
                  .ok());
  const std::vector<float> values = graph.InitialValues();
  std::size_t offset = 0;
  int checked = 0;
  for (const DenseTensor& tensor : graph.layout()) {
    double square = 0, most = 0;
    for (std::size_t i = offset; i < offset + tensor.Floats(); ++i) {
      square += values[i] * values[i];
      most = std::max<double>(most, std::abs(values[i]));
    }
    const double deviation = std::sqrt(square / static_cast<double>(tensor.Floats()));
    ++checked;
    if (tensor.name == "layer2.high.mlp.0.weight") {
      EXPECT_NEAR(deviation, std::sqrt(2.0 / (96 * 24 + 512)), 1e-3);
      EXPECT_TRUE(tensor.is_weight);
    } else if (tensor.name == "layer2.low.compress") {  // U(-0.5, 0.5)
      EXPECT_NEAR(deviation, 0.5 / std::sqrt(3), 0.02);
      EXPECT_LE(most, 0.5);
    } else if (tensor.name == "layer2.gate.weight") {
      EXPECT_NEAR(deviation, std::sqrt(2.0 / (16 + 16)), 0.04);
    } else if (tensor.name.ends_with(".bias") || tensor.name.ends_with(".beta")) {
      EXPECT_EQ(most, 0) << tensor.name;
      EXPECT_FALSE(tensor.is_weight);
    } else if (tensor.name.ends_with(".gamma") || tensor.name.ends_with(".running_variance")) {
      EXPECT_EQ(square, tensor.Floats()) << tensor.name;
    } else {
      --checked;
    }
    offset += tensor.Floats();
  }
  EXPECT_GT(checked, 40);
  EXPECT_EQ(graph.InitialValues(), values);
}

TEST(Dlf, GradientsAgreeWithCentralDifferences) {
  for (int fields : {1, 4, 7})
    for (const auto& [rows, threads] : {std::pair{6u, 1}, {33u, 1}, {70u, 3}}) {
      nn::Problem problem{.fields = Fields(fields, 3, 2), .rows = rows};
      problem.fields[0].kind = FieldSpec::Kind::kNumeric;
      problem.fields[0].table = -1;
      // One numeric field has one degree of freedom; normalised, almost all of it cancels in float.
      const double float_tolerance = fields == 1 ? 5e-2 : 5e-3;
      SCOPED_TRACE(StrCat("fields ", fields, " rows ", rows));
      nn::CheckGradients(Builder(Small("layers: 3")), problem,
                         {.threads = threads,
                          .block_rows = 16,
                          .samples = 4,
                          .step = 1e-6,
                          .tolerance = 1e-4,
                          .float_tolerance = float_tolerance});
    }
}

class DlfOptions : public testing::TestWithParam<const char*> {};

TEST_P(DlfOptions, GradientsAgreeWithCentralDifferences) {
  nn::CheckGradients(Builder(Small(GetParam())), {.fields = Fields(4, 6, 2), .rows = 37},
                     {.threads = 2,
                      .block_rows = 16,
                      .samples = 3,
                      .step = 1e-6,
                      .tolerance = 1e-4,
                      .float_tolerance = 5e-3});
}

TEST_P(DlfOptions, TheSameSeedGivesTheSameNumbers) {
  const nn::Problem problem{.fields = Fields(4, 6, 2), .rows = 19};
  SmallModel first(Small(GetParam()), problem), second(Small(GetParam()), problem);
  EXPECT_EQ(first.builder().InitialValues(), second.builder().InitialValues());
  EXPECT_EQ(first.Train(), second.Train());
  EXPECT_EQ(first.data().dense_gradients, second.data().dense_gradients);
  EXPECT_EQ(first.Score(), second.Score());
}

INSTANTIATE_TEST_SUITE_P(
    All, DlfOptions,
    testing::Values("profile: P", "profile: P heads: 3", "dropout: 0.2", "profile: P dropout: 0.2",
                    "fusion: ATTENTION residual: PLAIN", "fusion: JOIN residual: FLOOR_GATE",
                    "residual: SIGMOID_GATE", "residual: NONE", "fusion: SELF_GATE",
                    "fusion: SELF_GATE attention_tokens: 3", "attention_tokens: 3",
                    "profile: P attention_tokens: 3", "batch_norm: false", "high_rank_block: false",
                    "low_rank_block: false", "implicit_block: false",
                    "high_rank_block: false low_rank_block: false",
                    "profile: P high_rank_block: false implicit_block: false"));

// Two drawn blocks of ReLUs on a handful of tokens: away from their kinks with these numbers.
TEST(Dlf, GradientsOfTheDrawnBlocksAgreeWithCentralDifferences) {
  const std::string drawn = "layers: 2 head_hidden: 6 rli_output: DRAWN ";
  for (const char* options : {"", "profile: P", "attention_tokens: 2 hidden: 5"})
    nn::CheckGradients(Builder(Dlf(drawn + options)), {.fields = Fields(4, 6, 2), .rows = 37},
                       {.threads = 2,
                        .block_rows = 16,
                        .samples = 3,
                        .step = 1e-7,
                        .tolerance = 1e-4,
                        .float_tolerance = 5e-3});
}

// ------------------------------------------------------------------------------------- identities

TEST(Dlf, ProfilePWithoutGateAndFusionIsProfileABitForBit) {
  const nn::Problem problem{.fields = Fields(4, 6, 2), .rows = 40};
  for (std::uint64_t seed : {1u, 77u}) {
    SmallModel a(Small("profile: A dropout: 0.1"), problem, seed);
    SmallModel p(Small("profile: P residual: PLAIN fusion: JOIN dropout: 0.1"), problem, seed);
    EXPECT_EQ(ParameterNames(a.builder()), ParameterNames(p.builder()));
    EXPECT_EQ(a.builder().InitialValues(), p.builder().InitialValues());
    EXPECT_EQ(a.Train(), p.Train());
    EXPECT_EQ(a.data().dense_gradients, p.data().dense_gradients);
    EXPECT_EQ(a.Score(), p.Score());
  }
}

TEST(Dlf, OptionsOverrideTheProfile) {
  const nn::Problem problem{.fields = Fields(4, 6, 2), .rows = 5};
  SmallModel p(Small("profile: P"), problem);
  SmallModel a(Small("profile: A residual: FLOOR_GATE fusion: ATTENTION"), problem);
  EXPECT_EQ(ParameterNames(a.builder()), ParameterNames(p.builder()));
  EXPECT_EQ(a.Score(), p.Score());
}

// Attention adds to a stream what its output Linear makes; with zeros there, nothing.
TEST(Dlf, FusionWithAnOutputOfZerosIsTheJoin) {
  const nn::Problem problem{.fields = Fields(4, 6, 2), .rows = 20};
  SmallModel attention(Small("fusion: ATTENTION"), problem);
  SmallModel join(Small("fusion: JOIN"), problem);
  join.CopyFrom(attention);
  const std::vector<double> before = attention.Score();
  for (const char* layer : {"layer1", "layer2"})
    for (const char* stream : {"high", "low", "implicit"})
      for (const char* part : {"weight", "bias"})
        attention.Fill(StrCat(layer, ".fusion.", stream, ".output.", part), 0);
  EXPECT_THAT(attention.Score(), Pointwise(DoubleNear(1e-12), join.Score()));
  EXPECT_THAT(before, Not(Pointwise(DoubleNear(1e-3), join.Score())));
}

// A head that looks at the implicit stream's tokens alone still sees what happens to the others,
// through the fusion only.
TEST(Dlf, FusionCarriesEachStreamToTheOthers) {
  const nn::Problem problem{.fields = Fields(4, 6, 2), .rows = 5};
  const auto changes = [&](const std::string& options, const std::string& stream) {
    SmallModel model(Small("layers: 1 residual: NONE " + options), problem);
    for (double& v : model.Values("head.0.weight").subspan(0, 4 * 6 * 6)) v = 0;
    const std::vector<double> before = model.Score();
    for (double& v : model.Values(StrCat("layer1.", stream, ".mlp.1.weight"))) v *= -1;
    return model.Score() != before;
  };
  for (const char* stream : {"high", "low"}) {
    EXPECT_FALSE(changes("fusion: JOIN", stream));
    EXPECT_TRUE(changes("fusion: ATTENTION", stream));
  }
}

TEST(Dlf, ClosedGatesLeaveNoResidual) {
  const nn::Problem problem{.fields = Fields(4, 6, 2), .rows = 20};
  SmallModel floor(Small("residual: FLOOR_GATE"), problem);
  SmallModel sigmoid(Small("residual: SIGMOID_GATE"), problem);
  SmallModel none(Small("residual: NONE"), problem);
  SmallModel half(Small("residual: PLAIN"), problem);
  for (SmallModel* other : {&sigmoid, &none, &half}) other->CopyFrom(floor);
  for (SmallModel* model : {&floor, &sigmoid})
    for (const char* layer : {"layer1", "layer2"}) model->Fill(StrCat(layer, ".gate.weight"), 0);
  EXPECT_THAT(floor.Score(), Pointwise(DoubleNear(1e-4), none.Score()));  // g = 1e-6
  EXPECT_THAT(floor.Score(), Not(Pointwise(DoubleNear(1e-9), none.Score())));
  EXPECT_FALSE(none.Has("layer1.residual"));
  // sigmoid(0) = 1/2 everywhere: as the plain residual of half the embeddings in a single layer.
  SmallModel one_sigmoid(Small("layers: 1 residual: SIGMOID_GATE"), problem);
  SmallModel one_plain(Small("layers: 1 residual: PLAIN"), problem);
  one_plain.CopyFrom(one_sigmoid);
  one_sigmoid.Fill("layer1.gate.weight", 0);
  for (double& v : one_plain.Values("layer1.residual")) v /= 2;
  EXPECT_THAT(one_sigmoid.Score(), Pointwise(DoubleNear(1e-12), one_plain.Score()));
}

// With queries of zero all tokens are the mean of all; and they are equal, so that the layer's
// result does not depend on how the head would tell tokens apart.
TEST(Dlf, SelfGateWithEqualScoresMakesEqualTokens) {
  const nn::Problem problem{.fields = Fields(4, 6, 2), .rows = 20};
  SmallModel model(Small("layers: 1 fusion: SELF_GATE residual: NONE"), problem);
  EXPECT_FALSE(model.Has("layer1.low.compress"));
  EXPECT_EQ(model.Dims("layer1.fusion.queries"), (std::vector<std::uint32_t>{5, 6}));
  EXPECT_EQ(model.Dims("layer1.fusion.gate.weight"), (std::vector<std::uint32_t>{12, 2}));
  model.Fill("layer1.fusion.queries", 0);
  const std::vector<double> before = model.Score();
  const auto weight = model.Values("head.0.weight");  // [5 * 6, 6]: turn the tokens by one
  std::rotate(weight.begin(), weight.begin() + 6 * 6, weight.end());
  EXPECT_THAT(model.Score(), Pointwise(DoubleNear(1e-12), before));
}

TEST(Dlf, AblationsLeaveTheirParametersOut) {
  const auto fields = Fields(4, 6, 2);
  const auto names = [&](const std::string& options) {
    nn::GraphBuilder graph(1);
    EXPECT_TRUE(Builder(Small(options))(graph, fields).ok()) << options;
    return ParameterNames(graph);
  };
  EXPECT_THAT(names("high_rank_block: false"), Each(Not(HasSubstr(".high."))));
  EXPECT_THAT(names("low_rank_block: false"), Each(Not(HasSubstr(".low."))));
  EXPECT_THAT(names("low_rank_block: false"), Each(Not(HasSubstr(".project"))));
  EXPECT_THAT(names("implicit_block: false"), Each(Not(HasSubstr("implicit"))));
  EXPECT_THAT(names("batch_norm: false"), Each(Not(HasSubstr("running"))));
  EXPECT_THAT(names("profile: P implicit_block: false"),
              AllOf(Each(Not(HasSubstr("implicit"))), Contains("layer1.fusion.low.query.weight")));
  EXPECT_THAT(names("profile: P attention_tokens: 2"),
              Contains("layer1.fusion.attention.query.weight"));
}

TEST(Dlf, DrawnBlocksKeepTheNumberOfFieldsEach) {
  nn::GraphBuilder graph(1);
  ASSERT_TRUE(Builder(Dlf("layers: 2 rli_output: DRAWN"))(graph, Fields(5, 8, 2)).ok());
  std::map<std::string, std::vector<std::uint32_t>> dims;
  for (const DenseTensor& tensor : graph.layout()) dims[tensor.name] = tensor.dims;
  EXPECT_THAT(dims["layer1.high.compress"], ElementsAre(5, 8));
  EXPECT_THAT(dims["layer2.high.compress"], ElementsAre(15, 8));
  EXPECT_THAT(dims["layer2.low.output"], ElementsAre(15, 5));
  EXPECT_THAT(dims["layer2.low.bias"], ElementsAre(5, 8));
  EXPECT_THAT(dims["layer2.implicit"], ElementsAre(15, 5));
  EXPECT_THAT(dims["layer2.implicit.bias"], ElementsAre(5, 8));
}

// ----------------------------------------------------------------------------------------- errors

TEST(Dlf, OptionsThatContradictAreRefusedByPath) {
  const auto expect = [](const std::string& options, const std::string& path,
                         const std::string& also) {
    const Status status = BuildError(Dlf(options), Fields(5, 8, 2));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << options;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("model.dlf." + path + ":"), HasSubstr(also)))
        << options;
  };
  expect("profile: P heads: 3", "heads", "does not divide the embedding width 8");
  expect("attention_tokens: 4 heads: 5", "heads", "8");
  expect("rli_output: DRAWN rank: 24", "rank", "8");
  expect("rli_output: DRAWN implicit_tokens: 6", "implicit_tokens", "5");
  expect("rli_output: DRAWN block_tokens: 32", "block_tokens", "5");
  expect("fusion: SELF_GATE low_rank_block: true", "low_rank_block", "SELF_GATE");
  const std::string none = "high_rank_block: false implicit_block: false ";
  expect(none + "low_rank_block: false", "high_rank_block", "none is left");
  expect(none + "fusion: SELF_GATE", "high_rank_block", "none is left");
}

TEST(Dlf, OptionsThatOnlySeemToContradictAreTaken) {
  for (const char* options :
       {"heads: 3", "rli_output: DRAWN rank: 8 implicit_tokens: 5 block_tokens: 5",
        "fusion: SELF_GATE low_rank_block: false", "fusion: SELF_GATE",
        "high_rank_block: false low_rank_block: false implicit_block: false attention_tokens: 2"})
    EXPECT_TRUE(BuildError(Dlf(options), Fields(5, 8, 2)).ok()) << options;
}

TEST(Dlf, FirstOrderWeightsAreRefusedByName) {
  auto fields = Fields(3, 8, 3);
  fields[1].linear = true;
  const Status status = BuildError(Dlf(""), fields);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("feature.f1.role"));
}

}  // namespace
}  // namespace cairn::worker
