// The models as graphs: parameter counts, gradients, initial values, errors.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/thread_pool.h"
#include "proto/config.pb.h"
#include "tests/worker/nn/gradient_check.h"
#include "worker/models/model.h"
#include "worker/nn/op.h"

namespace cairn::worker {
namespace {

proto::ModelConfig Dlf(std::uint32_t implicit_tokens, std::uint32_t block_tokens) {
  proto::ModelConfig config;
  config.mutable_dlf()->set_implicit_tokens(implicit_tokens);
  config.mutable_dlf()->set_block_tokens(block_tokens);
  return config;
}

proto::ModelConfig SmallDlf() {
  proto::ModelConfig config = Dlf(3, 2);
  config.mutable_dlf()->set_layers(3);
  config.mutable_dlf()->set_rank(5);
  config.mutable_dlf()->set_hidden(9);
  config.mutable_dlf()->set_head_hidden(6);
  return config;
}

proto::ModelConfig Lr() {
  proto::ModelConfig config;
  config.mutable_lr();
  return config;
}

nn::BuildGraph Builder(const proto::ModelConfig& config) {
  return [config](nn::GraphBuilder& graph, const std::vector<FieldSpec>& fields) {
    return (*FindModel(config))->build(config, {.fields = fields}, graph);
  };
}

std::size_t TrainedFloats(const proto::ModelConfig& config, int fields, std::uint32_t dim) {
  nn::GraphBuilder graph(1);
  const auto logit = Builder(config)(graph, nn::CategoricalFields(fields, dim, fields));
  EXPECT_TRUE(logit.ok()) << logit.status();
  return graph.TrainedFloats();
}

TEST(Dlf, ParameterCountsAreThoseOfTheReference) {  // models.md 3.9
  EXPECT_EQ(TrainedFloats(Dlf(32, 32), 39, 64), 15'190'065u);
  EXPECT_EQ(TrainedFloats(Dlf(16, 16), 39, 64), 8'081'361u);
  EXPECT_EQ(TrainedFloats(Dlf(32, 32), 22, 64), 14'764'385u);
}

TEST(Dlf, WithAsManyFieldsAsTokensNothingIsProjected) {
  nn::GraphBuilder graph(1);
  ASSERT_TRUE(Builder(SmallDlf())(graph, nn::CategoricalFields(7, 4, 7)).ok());  // 3 + 2 * 2 = 7
  for (const DenseTensor& tensor : graph.layout()) {
    EXPECT_THAT(tensor.name, testing::Not(testing::HasSubstr("project")));
    EXPECT_THAT(tensor.name, testing::Not(testing::HasSubstr("residual")));
  }
}

TEST(Dlf, InitialValuesHaveTheirScaleAndBiasesAreZero) {
  proto::ModelConfig config = Dlf(32, 32);
  config.mutable_dlf()->set_layers(2);
  nn::GraphBuilder graph(3);
  ASSERT_TRUE(Builder(config)(graph, nn::CategoricalFields(39, 16, 39)).ok());
  const std::vector<float> values = graph.InitialValues();
  std::size_t offset = 0, checked = 0;
  for (const DenseTensor& tensor : graph.layout()) {
    double square = 0, most = 0;
    for (std::size_t i = offset; i < offset + tensor.Floats(); ++i) {
      square += values[i] * values[i];
      most = std::max<double>(most, std::abs(values[i]));
    }
    const double deviation = std::sqrt(square / tensor.Floats());
    if (tensor.name == "layer2.high.mlp.0.weight") {
      EXPECT_NEAR(deviation, std::sqrt(2.0 / (96 * 24 + 512)), 1e-3) << ++checked;
      EXPECT_TRUE(tensor.is_weight);
    } else if (tensor.name == "layer2.low.compress") {  // U(-0.5, 0.5)
      EXPECT_NEAR(deviation, 0.5 / std::sqrt(3), 0.02) << ++checked;
      EXPECT_LE(most, 0.5);
    } else if (tensor.name.ends_with(".bias") || tensor.name.ends_with(".beta")) {
      EXPECT_EQ(most, 0) << ++checked;
      EXPECT_FALSE(tensor.is_weight);
    } else if (tensor.name.ends_with(".gamma") || tensor.name.ends_with(".running_variance")) {
      EXPECT_EQ(square, tensor.Floats()) << ++checked;
    }
    offset += tensor.Floats();
  }
  EXPECT_EQ(graph.InitialValues(), values);
}

TEST(Dlf, GradientsAgreeWithCentralDifferences) {
  for (int fields : {1, 4, 7})
    for (const auto& [rows, threads] : {std::pair{6u, 1}, {33u, 1}, {70u, 3}}) {
      nn::Problem problem{.fields = nn::CategoricalFields(fields, 3, 2), .rows = rows};
      problem.fields[0].kind = FieldSpec::Kind::kNumeric;
      problem.fields[0].table = -1;
      // One numeric field has one degree of freedom; normalised, almost all of it cancels in float.
      const double float_tolerance = fields == 1 ? 5e-2 : 5e-3;
      SCOPED_TRACE(StrCat("fields ", fields, " rows ", rows));
      nn::CheckGradients(Builder(SmallDlf()), problem,
                         {.threads = threads,
                          .block_rows = 16,
                          .samples = 4,
                          .step = 1e-6,
                          .tolerance = 1e-4,
                          .float_tolerance = float_tolerance});
    }
}

TEST(Dlf, GradientsWithDropoutAgreeWithCentralDifferences) {
  proto::ModelConfig config = SmallDlf();
  config.mutable_dlf()->set_dropout(0.2);
  nn::CheckGradients(
      Builder(config), {.fields = nn::CategoricalFields(4, 3, 2), .rows = 40},
      {.threads = 2, .samples = 4, .step = 1e-6, .tolerance = 1e-4, .float_tolerance = 5e-3});
}

TEST(Lr, GradientsAgreeWithCentralDifferences) {
  for (std::uint32_t rows : {1u, 50u})
    nn::CheckGradients(Builder(Lr()), {.fields = nn::CategoricalFields(5, 1, 3), .rows = rows},
                       {.threads = 2, .block_rows = 16});
}

TEST(Lr, TablesOfAnotherWidthAreRefusedByName) {
  nn::GraphBuilder graph(1);
  const auto logit = Builder(Lr())(graph, nn::CategoricalFields(2, 16, 2));
  EXPECT_EQ(logit.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(logit.status().message()),
              testing::AllOf(testing::HasSubstr("'f0'"), testing::HasSubstr("16")));
}

TEST(Models, AreSortedAndFoundByTheKindThatIsSet) {
  for (std::size_t i = 1; i < Models().size(); ++i)
    EXPECT_LT(Models()[i - 1].name, Models()[i].name);
  EXPECT_EQ((*FindModel(SmallDlf()))->name, "dlf");
  EXPECT_EQ((*FindModel(Lr()))->name, "lr");
  const auto none = FindModel(proto::ModelConfig());
  EXPECT_EQ(none.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(none.status().message()), testing::HasSubstr("finalmlp, fm, lr"));
}

}  // namespace
}  // namespace cairn::worker
