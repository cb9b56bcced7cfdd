// The ops that read the batch: embeddings, histories, masks, numbers.
#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/thread_pool.h"
#include "tests/worker/nn/op_testing.h"
#include "worker/nn/ops/activation.h"
#include "worker/nn/ops/arithmetic.h"
#include "worker/nn/ops/shape.h"

namespace cairn::worker::nn {
namespace {

using Kind = FieldSpec::Kind;
using Pooling = FieldSpec::Pooling;
using testing::AllOf;
using testing::HasSubstr;

FieldSpec History(std::string name, int field, int table, std::uint32_t dim, std::uint32_t length) {
  return {.name = std::move(name),
          .kind = Kind::kSequence,
          .field = field,
          .table = table,
          .dim = dim,
          .pooling = Pooling::kHistory,
          .max_length = length};
}

TEST(FieldEmbeddings, NumericAndSequenceGradientsAgreeWithCentralDifferences) {
  Problem problem;
  problem.fields = {
      {.name = "a", .kind = Kind::kCategorical, .field = 4, .table = 1, .dim = 3},
      {.name = "n", .kind = Kind::kNumeric, .field = 1, .dim = 3},
      {.name = "s", .kind = Kind::kSequence, .field = 2, .table = 1, .dim = 3},
      {.name = "t",
       .kind = Kind::kSequence,
       .field = 0,
       .table = 0,
       .dim = 3,
       .pooling = Pooling::kSum},
      {.name = "m", .kind = Kind::kNumeric, .field = 3, .dim = 3},
  };
  const BuildGraph build = [](GraphBuilder& graph, const std::vector<FieldSpec>& fields) {
    const Result<Tensor> x = FieldEmbeddings(graph, fields);
    return Result<Tensor>(ToLogit(graph, Relu(graph, "r", *x)));
  };
  for (int threads : {1, 3})
    for (std::uint32_t rows : {1u, 33u}) {
      problem.rows = rows;
      CheckGradients(build, problem, {.threads = threads, .block_rows = 16});
    }
}

// Two parts of the job's fields and two histories read three tables, two of them more than once;
// the parts have different widths.
TEST(FieldEmbeddings, SeveralOpsAddUpTheGradientsOfTheTablesThatTheyShare) {
  Problem problem;
  problem.fields = {
      {.name = "item", .field = 0, .table = 0, .dim = 3},
      {.name = "weight", .field = 1, .table = 2, .dim = 1},
      History("items", 2, 0, 3, 4),
      History("days", 3, 1, 2, 4),
      {.name = "price", .kind = Kind::kNumeric, .field = 4, .dim = 3},
      {.name = "tags", .kind = Kind::kSequence, .field = 5, .table = 0, .dim = 3},
  };
  const BuildGraph build = [](GraphBuilder& g, const std::vector<FieldSpec>& f) {
    const FieldSpec inputs[] = {f[4], f[0], f[5]}, first_order[] = {f[1]};
    const FieldSpec numbers[] = {f[4]}, again[] = {f[0]};
    const FieldSpec histories[] = {f[2], f[3]};
    const Tensor mask = *HistoryMask(g, histories);
    const Tensor items = *ScaleTokens(g, "masked", *HistoryEmbeddings(g, f[2]),
                                      *Subtract(g, "m", Constant(g, "two", {4}, 2), mask));
    const auto flat = [](const Tensor& x) {
      return *Reshape(x, {static_cast<std::uint32_t>(x.Size())});
    };
    const Tensor all[] = {flat(*FieldEmbeddings(g, inputs)),
                          flat(*FieldEmbeddings(g, first_order)),
                          flat(items),
                          flat(*HistoryEmbeddings(g, f[3])),
                          flat(*FieldEmbeddings(g, again)),
                          *Numbers(g, numbers)};
    return Result<Tensor>(ToLogit(g, Sigmoid(g, "f", *ConcatFeatures(g, "join", all))));
  };
  for (int threads : {1, 4})
    for (std::uint32_t rows : {1u, 50u}) {
      problem.rows = rows;
      CheckGradients(build, problem, {.threads = threads, .block_rows = 16, .samples = 21});
    }
}

TEST(FieldEmbeddings, PoolingAndNumbersGiveTheValuesOfTheDefinition) {
  std::vector<FieldSpec> fields = {
      {.name = "s", .kind = Kind::kSequence, .field = 0, .table = 0, .dim = 1},
      {.name = "t",
       .kind = Kind::kSequence,
       .field = 1,
       .table = 0,
       .dim = 1,
       .pooling = Pooling::kSum},
      {.name = "n", .kind = Kind::kNumeric, .field = 2, .dim = 1},
  };
  GraphBuilder builder(1);
  const Tensor x = *FieldEmbeddings(builder, fields);
  const Tensor logit = *SumTokens(builder, "s", x, NewParameter(builder, "bias", {1}));
  const auto graph = *Graph::Make(builder, logit, {});
  Batch batch;
  batch.rows = 2;
  batch.unique_keys = {{10, 11, 12}};
  batch.fields.resize(3);
  batch.fields[0].index = {0, 1, 2};  // row 0: mean of 1, 2, 4; row 1: empty
  batch.fields[0].offsets = {0, 3, 3};
  batch.fields[1].index = {2, 2, 0};  // row 0: 4 + 4; row 1: 1
  batch.fields[1].offsets = {0, 2, 3};
  batch.fields[2].number = {3, -2};
  const std::vector<float> values = {1, 2, 4};
  const TableRows rows[] = {{values.data(), nullptr}};
  const std::vector<float> dense = {10, 100};  // numeric.n, bias
  std::vector<float> logits(2);
  graph->Score({&batch, rows, dense, 0}, logits);
  EXPECT_FLOAT_EQ(logits[0], 7.f / 3 + 8 + 30 + 100);
  EXPECT_FLOAT_EQ(logits[1], 0 + 1 - 20 + 100);
}

// A history of at most three values; the rows have 0, 2, 3 and 5.
class HistoryValues : public testing::Test {
 protected:
  HistoryValues() {
    batch_.rows = 4;
    batch_.labels = {0, 1, 0, 1};
    batch_.unique_keys = {{1, 2, 3, 4, 5}};
    batch_.fields.resize(2);
    batch_.fields[0].index = {0, 1, 2, 3, 4, 0, 1, 2, 3, 4};
    batch_.fields[0].offsets = {0, 0, 2, 5, 10};
    batch_.fields[1].index = {3};
    batch_.fields[1].offsets = {0, 1, 1, 1, 1};
  }
  // One logit per row: sum over positions t of 10^t * x[t].
  std::vector<float> Digits(GraphBuilder& builder, const Tensor& x) {
    const Parameter w = NewParameter(builder, "w", {3, 1});
    const Tensor logit = *Linear(builder, "digits", x, w, std::nullopt);
    const auto graph = *Graph::Make(builder, logit, {});
    const TableRows rows[] = {{values_.data(), gradients_.data()}};
    const std::vector<float> dense = {1, 10, 100};
    std::vector<float> dense_gradients(3), logits(4);
    const StepResult result =
        graph->TrainStep({&batch_, rows, dense, 0}, {dense_gradients, logits});
    first_non_finite_row_ = result.first_non_finite_row;
    return logits;
  }

  Batch batch_;
  std::vector<float> values_ = {1, 2, 3, 4, 5}, gradients_ = {9, 9, 9, 9, 9};
  std::int64_t first_non_finite_row_ = -1;
  FieldSpec spec_ = History("h", 0, 0, 1, 3);
};

TEST_F(HistoryValues, AreTheLastOnesOldestFirstWithZerosInFront) {
  GraphBuilder builder(1);
  EXPECT_THAT(
      Digits(builder, *HistoryEmbeddings(builder, spec_)),
      testing::ElementsAre(0, 10 * 1 + 100 * 2, 3 + 10 * 4 + 100 * 5, 3 + 10 * 4 + 100 * 5));
}

TEST_F(HistoryValues, CutOffValuesGetNoGradient) {
  GraphBuilder builder(1);
  batch_.fields[0].index = {0, 1, 0, 1, 0, 4, 4, 2, 2, 3};
  batch_.labels[3] = 0;
  Digits(builder, *HistoryEmbeddings(builder, spec_));
  EXPECT_EQ(gradients_[4], 0);
  EXPECT_NE(gradients_[3], 0);
}

TEST_F(HistoryValues, MaskIsTheUnionOfTheHistories) {
  GraphBuilder one(1), two(1);
  const FieldSpec histories[] = {spec_, History("g", 1, 0, 1, 3)};
  EXPECT_THAT(Digits(one, *HistoryMask(one, {histories, 1})),
              testing::ElementsAre(0, 110, 111, 111));
  EXPECT_THAT(Digits(two, *HistoryMask(two, histories)), testing::ElementsAre(100, 110, 111, 111));
}

TEST_F(HistoryValues, FirstRowThatIsNotFiniteIsReported) {
  values_[2] = std::numeric_limits<float>::infinity();  // in rows 2 and 3
  GraphBuilder builder(1);
  Digits(builder, *HistoryEmbeddings(builder, spec_));
  EXPECT_EQ(first_non_finite_row_, 2);
  values_[2] = 0;
  batch_.fields[0].index[5] = 4;  // row 3's oldest value is cut off
  values_[4] = 5, values_[0] = std::nanf("");
  GraphBuilder second(1);
  Digits(second, *HistoryEmbeddings(second, spec_));
  EXPECT_EQ(first_non_finite_row_, 1);
}

TEST(FirstNonFiniteRow, IsTheFirstOfAllOps) {
  Problem problem{.fields = CategoricalFields(2, 2, 2), .rows = 60, .unique_rows = 100};
  problem.fields.push_back({.name = "n", .kind = Kind::kNumeric, .field = 2, .dim = 2});
  GraphBuilder builder(1);
  const FieldSpec first[] = {problem.fields[0]}, second[] = {problem.fields[1]};
  const FieldSpec numbers[] = {problem.fields[2]};
  const auto flat = [](const Tensor& x) { return *Reshape(x, {2}); };
  const Tensor parts[] = {flat(*FieldEmbeddings(builder, first)), *Numbers(builder, numbers),
                          flat(*FieldEmbeddings(builder, second))};
  const auto graph =
      *Graph::Make(builder, ToLogit(builder, *ConcatFeatures(builder, "c", parts)), {});
  StepData<float> data(problem, builder);
  data.batch.fields[2].number[30] = std::nanf("");
  EXPECT_EQ(data.Train(*graph).first_non_finite_row, 30);
  data.batch.fields[0].index[41] = 99;
  data.values[0][99 * 2] = std::nanf("");
  std::replace(data.batch.fields[0].index.begin(), data.batch.fields[0].index.begin() + 41, 99u,
               0u);
  EXPECT_EQ(data.Train(*graph).first_non_finite_row, 30);
  data.batch.fields[0].index[7] = 99;
  EXPECT_EQ(data.Train(*graph).first_non_finite_row, 7);
}

TEST(FieldEmbeddings, TableGradientsDoNotDependOnTheNumberOfThreads) {
  Problem problem{.fields = CategoricalFields(4, 5, 2), .rows = 100};
  problem.fields.push_back(History("h", 4, 0, 5, 6));
  GraphBuilder builder(1);
  const Tensor parts[] = {*FieldEmbeddings(builder, {problem.fields.data(), 4}),
                          *HistoryEmbeddings(builder, problem.fields[4])};
  const Tensor logit = ToLogit(builder, *ConcatTokens(builder, "c", parts));
  std::vector<std::vector<std::vector<float>>> seen;
  for (int threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    const auto graph = *Graph::Make(builder, logit, {.pool = &pool});
    StepData<float> data(problem, builder);
    data.Train(*graph);
    seen.push_back(data.gradients);
  }
  for (const auto& gradients : seen) EXPECT_EQ(gradients, seen[0]);
}

TEST(FieldEmbeddings, NumericVectorsStartWithTheDeviationOfTheField) {
  std::vector<FieldSpec> fields = {
      {.name = "a", .kind = Kind::kNumeric, .field = 0, .dim = 4000},
      {.name = "b", .kind = Kind::kNumeric, .field = 1, .dim = 4000, .numeric_stddev = 0.25}};
  GraphBuilder graph(3);
  ASSERT_TRUE(FieldEmbeddings(graph, fields).ok());
  const std::vector<float> values = graph.InitialValues();
  const auto deviation = [&](std::size_t begin) {
    double square = 0;
    for (std::size_t i = begin; i < begin + 4000; ++i) square += values[i] * values[i] / 4000;
    return std::sqrt(square);
  };
  EXPECT_NEAR(deviation(0), std::sqrt(2.0 / 4001), 1e-3);
  EXPECT_NEAR(deviation(4000), 0.25, 0.01);
}

// A weight of N(0, 1) would take logistic regression many epochs to unlearn.
TEST(FieldEmbeddings, FirstOrderWeightsOfNumbersStartAtZero) {
  GraphBuilder graph(3);
  ASSERT_TRUE(FieldEmbeddings(graph,
                              std::vector<FieldSpec>{
                                  {.name = "a", .kind = Kind::kNumeric, .field = 0, .dim = 1}})
                  .ok());
  EXPECT_EQ(graph.InitialValues(), std::vector<float>{0});
}

TEST(FieldEmbeddings, FieldsThatDoNotFitAreErrorsThatNameThem) {
  const auto message = [](const auto& result) { return std::string(result.status().message()); };
  GraphBuilder g(1);
  EXPECT_THAT(message(FieldEmbeddings(g, {})), HasSubstr("no fields"));
  auto fields = CategoricalFields(2, 4, 2);
  fields[1].dim = 8;
  EXPECT_THAT(message(FieldEmbeddings(g, fields)), AllOf(HasSubstr("'f1'"), HasSubstr("8")));
  fields[1] = History("h", 1, 1, 4, 5);
  EXPECT_THAT(message(FieldEmbeddings(g, fields)), AllOf(HasSubstr("'h'"), HasSubstr("history")));
  fields = CategoricalFields(2, 4, 2);
  fields[1].field = -1;
  EXPECT_THAT(message(FieldEmbeddings(g, fields)), AllOf(HasSubstr("'f1'"), HasSubstr("batch")));
  fields[1] = {.name = "t", .field = 1, .dim = 4};
  EXPECT_THAT(message(FieldEmbeddings(g, fields)), AllOf(HasSubstr("'t'"), HasSubstr("no table")));
}

TEST(FieldEmbeddings, TwoOpsWithDifferentWidthsOfOneTableAreAnError) {
  const auto message = [](const auto& result) { return std::string(result.status().message()); };
  GraphBuilder g(1);
  ASSERT_TRUE(FieldEmbeddings(g, CategoricalFields(2, 4, 2)).ok());
  EXPECT_THAT(message(HistoryEmbeddings(g, History("h", 1, 1, 3, 5))),
              AllOf(HasSubstr("'h'"), HasSubstr("table 1"), HasSubstr("dimension 3"),
                    HasSubstr("'embeddings'"), HasSubstr("with 4")));
  EXPECT_TRUE(HistoryEmbeddings(g, History("h", 1, 1, 4, 5)).ok());
}

TEST(FieldEmbeddings, ANumericFieldIsReadByOneOpOnly) {
  GraphBuilder g(1);
  const FieldSpec field{.name = "n", .kind = Kind::kNumeric, .field = 0, .dim = 4};
  ASSERT_TRUE(FieldEmbeddings(g, {&field, 1}).ok());
  const auto again = FieldEmbeddings(g, {&field, 1});
  EXPECT_THAT(std::string(again.status().message()), HasSubstr("'numeric.n'"));
}

TEST(Histories, ThatDoNotFitAreErrorsThatNameThem) {
  const auto message = [](const auto& result) { return std::string(result.status().message()); };
  GraphBuilder g(1);
  EXPECT_THAT(message(HistoryEmbeddings(g, CategoricalFields(1, 4, 1)[0])), HasSubstr("'f0'"));
  EXPECT_THAT(message(HistoryEmbeddings(g, History("h", 0, 0, 4, 0))), HasSubstr("'h'"));
  EXPECT_THAT(message(HistoryEmbeddings(g, History("h", -1, 0, 4, 2))), HasSubstr("'h'"));
  EXPECT_THAT(message(HistoryEmbeddings(g, History("h", 0, -1, 4, 2))), HasSubstr("no table"));
  EXPECT_THAT(message(HistoryMask(g, {})), HasSubstr("no history"));
  const FieldSpec unequal[] = {History("a", 0, 0, 4, 2), History("b", 1, 0, 4, 3)};
  EXPECT_THAT(message(HistoryMask(g, unequal)), AllOf(HasSubstr("'b'"), HasSubstr("2 and 3")));
  EXPECT_THAT(message(Numbers(g, {})), HasSubstr("no numeric"));
  EXPECT_THAT(message(Numbers(g, unequal)), HasSubstr("'a' is not numeric"));
}

}  // namespace
}  // namespace cairn::worker::nn
