// The graph as a whole: loss, repeatability, memory, what is reported when numbers go wrong.
#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/thread_pool.h"
#include "tests/worker/nn/gradient_check.h"
#include "worker/nn/ops/activation.h"
#include "worker/nn/ops/embedding.h"
#include "worker/nn/ops/mix.h"
#include "worker/nn/ops/norm.h"
#include "worker/nn/ops/shape.h"

namespace cairn::worker::nn {
namespace {

Parameter Add(GraphBuilder& graph, std::string name, std::vector<std::uint32_t> dims,
              bool is_statistic = false) {
  return *graph.AddParameter(
      {.name = std::move(name), .dims = std::move(dims), .is_statistic = is_statistic},
      Init::Normal(0.5));
}

// Embeddings -> Linear -> BatchNorm -> ReLU -> Linear. `normal`: with the BatchNorm.
Tensor SmallNet(GraphBuilder& g, const std::vector<FieldSpec>& fields, bool normal) {
  const Tensor x = *FieldEmbeddings(g, fields);
  const auto size = static_cast<std::uint32_t>(x.Size());
  Tensor h = *Linear(g, "h", x, Add(g, "w", {size, 6}), Add(g, "b", {6}));
  if (normal)
    h = *BatchNorm(g, "bn", h,
                   {Add(g, "gamma", {6}), Add(g, "beta", {6}), Add(g, "mean", {6}, true),
                    Add(g, "variance", {6}, true)});
  return *Linear(g, "o", Relu(g, "r", h), Add(g, "v", {6, 1}), Add(g, "c", {1}));
}

Problem SmallProblem(std::uint32_t rows) {
  Problem problem{.fields = CategoricalFields(3, 4, 2), .rows = rows};
  problem.fields.push_back({.name = "n", .kind = FieldSpec::Kind::kNumeric, .field = 3, .dim = 4});
  return problem;
}

TEST(Graph, LossIsTheBinaryCrossEntropyOfItsLogits) {
  const Problem problem = SmallProblem(37);
  GraphBuilder builder(1);
  const Tensor logit = SmallNet(builder, problem.fields, true);
  const auto graph = *BasicGraph<double>::Make(builder, logit, {});
  StepData<double> data(problem, builder);
  const StepResult result = data.Train(*graph);
  double expected = 0;
  for (std::size_t r = 0; r < 37; ++r) {
    const double p = 1 / (1 + std::exp(-data.logits[r]));
    expected -= std::log(data.batch.labels[r] > 0 ? p : 1 - p);
  }
  EXPECT_NEAR(result.loss_sum, expected, 1e-10);
  EXPECT_EQ(result.first_non_finite_row, -1);
}

TEST(Graph, HugeLogitsGiveFiniteLosses) {
  const Problem problem = SmallProblem(20);
  GraphBuilder builder(1);
  const Tensor logit = SmallNet(builder, problem.fields, false);
  const auto graph = *Graph::Make(builder, logit, {});
  StepData<float> data(problem, builder);
  for (float& value : data.dense) value *= 1e6f;
  const StepResult result = data.Train(*graph);
  EXPECT_TRUE(std::isfinite(result.loss_sum));
  EXPECT_GT(result.loss_sum, 1e6);
  EXPECT_EQ(result.first_non_finite_row, -1);
}

TEST(Graph, MoreMemoryThanThereIsIsRefused) {
  const Problem problem = SmallProblem(20);
  GraphBuilder builder(1);
  const Tensor logit = SmallNet(builder, problem.fields, true);
  const std::size_t held = (*Graph::Make(builder, logit, {.max_rows = 5000}))->MemoryBytes();
  EXPECT_TRUE(Graph::Make(builder, logit, {.max_rows = 5000, .max_bytes = held}).ok());
  const Status refused =
      Graph::Make(builder, logit, {.max_rows = 5000, .max_bytes = held / 2}).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()),
              testing::AllOf(testing::HasSubstr("batches of 5000 rows on 1 thread need"),
                             testing::HasSubstr("smaller")));
  const std::size_t too_many = std::size_t{1} << 60;
  EXPECT_FALSE(Graph::Make(builder, logit, {.max_rows = too_many, .max_bytes = held}).ok());
}

TEST(Graph, EqualInputsGiveEqualBitsForEqualThreadCounts) {
  const Problem problem = SmallProblem(300);
  GraphBuilder builder(1);
  const Tensor logit = SmallNet(builder, problem.fields, true);
  for (int threads : {1, 2, 3}) {
    std::vector<float> gradients, logits;
    for (int run = 0; run < 4; ++run) {
      ThreadPool pool(threads);
      const auto graph = *Graph::Make(builder, logit, {.pool = &pool, .block_rows = 32});
      StepData<float> data(problem, builder);
      data.Train(*graph);
      if (run > 0) {
        EXPECT_EQ(data.dense_gradients, gradients);
        EXPECT_EQ(data.logits, logits);
      }
      gradients = data.dense_gradients;
      logits = data.logits;
    }
  }
}

TEST(Graph, ThreadsAndBlocksChangeNothingButRounding) {
  const Problem problem = SmallProblem(150);
  GraphBuilder builder(1);
  const Tensor logit = SmallNet(builder, problem.fields, true);
  std::vector<double> expected;
  for (int threads : {1, 2, 7, 16})
    for (std::size_t block_rows : {16u, 48u, 0u}) {
      ThreadPool pool(threads);
      const auto graph =
          *BasicGraph<double>::Make(builder, logit, {.pool = &pool, .block_rows = block_rows});
      StepData<double> data(problem, builder);
      data.Train(*graph);
      if (expected.empty()) expected = data.dense_gradients;
      for (std::size_t i = 0; i < expected.size(); ++i)
        ASSERT_NEAR(data.dense_gradients[i], expected[i], 1e-12);
    }
}

// A tensor that a wide op made and a narrow group reads last, and a larger one that the same group
// makes for the next wide op: the group's first panels must not overwrite what its later ones read.
TEST(Graph, NarrowOpsBetweenWideOnesKeepTheirArraysApart) {
  const Problem problem{.fields = CategoricalFields(4, 8, 2), .rows = 200};
  GraphBuilder g(1);
  Tensor x = *FieldEmbeddings(g, problem.fields);
  for (const std::uint32_t size : {600u, 20u, 810u, 30u, 1u}) {  // weights 32x600, 810x30: wide
    const std::string name = "w" + std::to_string(size);
    x = *Linear(g, name, x, Add(g, name, {static_cast<std::uint32_t>(x.Size()), size}),
                std::nullopt);
    if (size > 1) x = Relu(g, name + ".relu", x);
  }
  std::vector<std::vector<double>> scores, gradients;
  for (std::size_t block_rows : {16u, 0u}) {  // panel by panel there is nothing to overwrite
    const auto graph = *BasicGraph<double>::Make(g, x, {.block_rows = block_rows});
    StepData<double> data(problem, g);
    scores.push_back(data.Score(*graph));
    data.Train(*graph);
    gradients.push_back(data.dense_gradients);
  }
  for (std::size_t r = 0; r < 200; ++r)
    ASSERT_NEAR(scores[1][r], scores[0][r], 1e-9 * std::abs(scores[0][r]) + 1e-9) << r;
  for (std::size_t i = 0; i < gradients[0].size(); ++i)
    ASSERT_NEAR(gradients[1][i], gradients[0][i], 1e-6) << i;
}

TEST(Graph, BatchesOfAllSizesInTurnGiveWhatAFreshGraphGives) {
  GraphBuilder builder(1);
  const Tensor logit = SmallNet(builder, SmallProblem(1).fields, true);
  ThreadPool pool(2);
  const auto graph = *Graph::Make(builder, logit, {.max_rows = 20, .pool = &pool});
  for (std::uint32_t rows : {20u, 3u, 500u, 17u, 1000u, 1u}) {
    const Problem problem = SmallProblem(rows);
    StepData<float> data(problem, builder), fresh_data(problem, builder);
    data.Train(*graph);
    const auto fresh = *Graph::Make(builder, logit, {.max_rows = rows, .pool = &pool});
    fresh_data.Train(*fresh);
    EXPECT_EQ(data.dense_gradients, fresh_data.dense_gradients) << rows;
    EXPECT_EQ(data.gradients, fresh_data.gradients) << rows;
    EXPECT_EQ(data.Score(*graph), fresh_data.Score(*fresh)) << rows;
  }
  EXPECT_GT(graph->MemoryBytes(), 0u);
}

TEST(Graph, WithoutNormalisationScoreGivesTheLogitsOfTraining) {
  const Problem problem = SmallProblem(50);
  GraphBuilder builder(1);
  const Tensor logit = SmallNet(builder, problem.fields, false);
  const auto graph = *Graph::Make(builder, logit, {});
  StepData<float> data(problem, builder);
  data.Train(*graph);
  EXPECT_EQ(data.Score(*graph), data.logits);
}

TEST(Graph, ANumberThatIsNotFiniteIsReportedByItsRow) {
  const Problem problem = SmallProblem(100);
  GraphBuilder builder(1);
  const Tensor logit = SmallNet(builder, problem.fields, true);
  ThreadPool pool(2);
  const auto graph = *Graph::Make(builder, logit, {.pool = &pool});
  for (float bad : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
    StepData<float> data(problem, builder);
    data.batch.fields[3].number[57] = bad;
    EXPECT_EQ(data.Train(*graph).first_non_finite_row, 57);  // though BatchNorm spreads it to all
  }
  StepData<float> data(problem, builder);
  EXPECT_EQ(data.Train(*graph).first_non_finite_row, -1);  // nothing is left behind
}

TEST(Graph, ParametersThatAreNotFiniteAreReportedByTheFirstRow) {
  const Problem problem = SmallProblem(40);
  GraphBuilder builder(1);
  const Tensor logit = SmallNet(builder, problem.fields, true);
  const auto graph = *Graph::Make(builder, logit, {});
  StepData<float> data(problem, builder);
  data.dense.back() = std::nanf("");
  const StepResult result = data.Train(*graph);
  EXPECT_EQ(result.first_non_finite_row, 0);
  EXPECT_FALSE(std::isfinite(result.loss_sum));
}

TEST(Graph, MakeRefusesALogitOfAnotherSizeAndParametersWithoutUse) {
  GraphBuilder builder(1);
  const Tensor x = *FieldEmbeddings(builder, CategoricalFields(2, 3, 1));
  const auto wide = Graph::Make(builder, x, {});
  EXPECT_EQ(wide.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(wide.status().message()), testing::HasSubstr("[2, 3]"));
  const Tensor logit = *Linear(builder, "l", x, Add(builder, "w", {6, 1}), std::nullopt);
  EXPECT_TRUE(Graph::Make(builder, logit, {}).ok());
  static_cast<void>(*Linear(builder, "dead", x, Add(builder, "unread", {6, 1}), std::nullopt));
  const auto unread = Graph::Make(builder, logit, {});
  EXPECT_EQ(unread.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(unread.status().message()), testing::HasSubstr("'unread'"));
}

TEST(GraphBuilder, InitialValuesAreAFunctionOfSeedAndName) {
  const auto values = [](std::uint64_t seed, std::vector<std::string> names) {
    GraphBuilder graph(seed);
    for (const std::string& name : names) Add(graph, name, {100});
    return graph.InitialValues();
  };
  const std::vector<float> ab = values(1, {"a", "b"}), ba = values(1, {"b", "a"});
  EXPECT_TRUE(std::equal(ab.begin(), ab.begin() + 100, ba.begin() + 100));
  EXPECT_NE(values(2, {"a", "b"}), ab);
}

}  // namespace
}  // namespace cairn::worker::nn
