// Every op: gradients against central differences, for odd shapes, one row, part panels, several
// blocks and threads; and the errors of shapes that do not fit.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/thread_pool.h"
#include "tests/worker/nn/gradient_check.h"
#include "worker/nn/op.h"
#include "worker/nn/ops/activation.h"
#include "worker/nn/ops/arithmetic.h"
#include "worker/nn/ops/embedding.h"
#include "worker/nn/ops/mix.h"
#include "worker/nn/ops/norm.h"
#include "worker/nn/ops/row_product.h"
#include "worker/nn/ops/shape.h"

namespace cairn::worker::nn {
namespace {

Parameter Add(GraphBuilder& graph, std::string name, std::vector<std::uint32_t> dims,
              bool is_statistic = false) {
  return *graph.AddParameter(
      {.name = std::move(name), .dims = std::move(dims), .is_statistic = is_statistic},
      Init::Normal(0.5));
}

// One logit from any tensor: a Linear of its values.
Tensor ToLogit(GraphBuilder& graph, const Tensor& x) {
  const auto size = static_cast<std::uint32_t>(x.Size());
  return *Linear(graph, "to_logit", x, Add(graph, "to_logit.w", {size, 1}), std::nullopt);
}

Tensor Normalised(GraphBuilder& graph, const std::string& name, const Tensor& x) {
  const auto size = static_cast<std::uint32_t>(x.Size());
  return *BatchNorm(
      graph, name, x,
      {Add(graph, name + ".gamma", {size}), Add(graph, name + ".beta", {size}),
       Add(graph, name + ".mean", {size}, true), Add(graph, name + ".variance", {size}, true)});
}

// What is done to the embeddings [fields, dim] of each case.
struct OpCase {
  std::string name;
  std::function<Tensor(GraphBuilder&, const Tensor&)> build;
};

const std::vector<OpCase>& Cases() {
  static const auto& cases = *new std::vector<OpCase>{
      {"linear",
       [](GraphBuilder& g, const Tensor& x) {
         const auto size = static_cast<std::uint32_t>(x.Size());
         return *Linear(g, "l", x, Add(g, "w", {size, 11}), Add(g, "b", {11}));
       }},
      {"linear_wide",
       [](GraphBuilder& g, const Tensor& x) {
         const auto size = static_cast<std::uint32_t>(x.Size());
         const Tensor y = *Linear(g, "l", x, Add(g, "w", {size, 203}), Add(g, "b", {203}));
         return *Linear(g, "m", y, Add(g, "v", {203, 3}), std::nullopt);
       }},
      {"mix_tokens",
       [](GraphBuilder& g, const Tensor& x) {
         return *MixTokens(g, "m", x, Add(g, "w", {x.dims[0], 5}));
       }},
      {"row_product",
       [](GraphBuilder& g, const Tensor& x) {
         const Tensor y = *MixTokens(g, "m", x, Add(g, "w", {x.dims[0], 9}));
         return *RowProduct(g, "p", x, y);
       }},
      {"row_product_with_itself",
       [](GraphBuilder& g, const Tensor& x) { return *RowProduct(g, "p", x, x); }},
      {"compressed_gram",
       [](GraphBuilder& g, const Tensor& x) {
         return *CompressedGram(g, "gram", x, x, Add(g, "y", {x.dims[0], 7}));
       }},
      {"layer_norm_of_tokens",
       [](GraphBuilder& g, const Tensor& x) {
         return *LayerNorm(g, "n", x, Add(g, "gamma", {x.dims[1]}), Add(g, "beta", {x.dims[1]}));
       }},
      {"layer_norm_of_all",
       [](GraphBuilder& g, const Tensor& x) {
         const auto size = static_cast<std::uint32_t>(x.Size());
         return *LayerNorm(g, "n", *Reshape(x, {size}), Add(g, "gamma", {size}),
                           Add(g, "beta", {size}));
       }},
      {"batch_norm", [](GraphBuilder& g, const Tensor& x) { return Normalised(g, "bn", x); }},
      {"two_batch_norms_in_turn_and_a_shortcut",
       [](GraphBuilder& g, const Tensor& x) {
         const Tensor once = Relu(g, "r", Normalised(g, "bn1", x));
         return Normalised(g, "bn2", *nn::Add(g, "sum", once, x));
       }},
      {"relu", [](GraphBuilder& g, const Tensor& x) { return Relu(g, "r", x); }},
      {"dropout", [](GraphBuilder& g, const Tensor& x) { return *Dropout(g, "d", x, 0.3); }},
      {"add",
       [](GraphBuilder& g, const Tensor& x) {
         return *nn::Add(g, "a", *nn::Add(g, "twice", x, x), Relu(g, "r", x));
       }},
      {"concat",
       [](GraphBuilder& g, const Tensor& x) {
         const Tensor mixed = *MixTokens(g, "m", x, Add(g, "w", {x.dims[0], 2}));
         const Tensor parts[] = {x, mixed, x};
         return Relu(g, "r", *ConcatTokens(g, "c", parts));
       }},
      {"sum_tokens",
       [](GraphBuilder& g, const Tensor& x) {
         return *SumTokens(g, "s", Relu(g, "r", x), Add(g, "b", {x.dims[1]}));
       }},
      {"everything_reads_the_embeddings_in_several_stages",
       [](GraphBuilder& g, const Tensor& x) {
         const Tensor a = Normalised(g, "bn", *MixTokens(g, "m", x, Add(g, "w", {x.dims[0], 4})));
         const Tensor b = *RowProduct(g, "p", x, *Reshape(a, {4, x.dims[1]}));
         const Tensor parts[] = {*Reshape(b, {x.dims[0] * 4, 1}),
                                 *Reshape(x, {x.dims[0] * x.dims[1], 1})};
         return Normalised(g, "bn2", *ConcatTokens(g, "c", parts));
       }},
  };
  return cases;
}

struct Shape {
  int fields;
  std::uint32_t dim;
  std::uint32_t rows;
  int threads;
};

class OpGradient : public testing::TestWithParam<std::tuple<std::size_t, Shape>> {};

TEST_P(OpGradient, AgreesWithCentralDifferences) {
  const auto& [index, shape] = GetParam();
  const OpCase& op = Cases()[index];
  const BuildGraph build = [&](GraphBuilder& graph, const std::vector<FieldSpec>& fields) {
    const Result<Tensor> x = FieldEmbeddings(graph, fields);
    return Result<Tensor>(ToLogit(graph, op.build(graph, *x)));
  };
  Problem problem{.fields = CategoricalFields(shape.fields, shape.dim, 2), .rows = shape.rows};
  CheckGradients(build, problem, {.threads = shape.threads, .block_rows = 16});
}

std::string NameOf(const testing::TestParamInfo<std::tuple<std::size_t, Shape>>& parameter) {
  const auto& [index, shape] = parameter.param;
  return StrCat(Cases()[index].name, "_", shape.fields, "x", shape.dim, "_rows", shape.rows,
                "_threads", shape.threads);
}

INSTANTIATE_TEST_SUITE_P(Ops, OpGradient,
                         testing::Combine(testing::Range<std::size_t>(0, Cases().size()),
                                          testing::Values(Shape{3, 4, 1, 1}, Shape{5, 3, 16, 1},
                                                          Shape{2, 7, 37, 1}, Shape{5, 17, 70, 3},
                                                          Shape{1, 1, 5, 3})),
                         NameOf);

TEST(BatchNorm, StatisticsAreTheBatchMeanAndUnbiasedVariance) {
  Problem problem{.fields = CategoricalFields(1, 2, 1), .rows = 75};
  GraphBuilder builder(1);
  const Tensor x = *FieldEmbeddings(builder, problem.fields);
  const Tensor logit = ToLogit(builder, Normalised(builder, "bn", x));
  ThreadPool pool(2);
  const auto graph = *BasicGraph<double>::Make(builder, logit, {.pool = &pool, .block_rows = 16});
  StepData<double> data(problem, builder);
  data.Train(*graph);
  for (int e = 0; e < 2; ++e) {
    double mean = 0, square = 0;
    for (std::uint32_t index : data.batch.fields[0].index) mean += data.values[0][index * 2 + e];
    mean /= 75;
    for (std::uint32_t index : data.batch.fields[0].index)
      square += std::pow(data.values[0][index * 2 + e] - mean, 2);
    EXPECT_NEAR(data.dense_gradients[4 + e], mean, 1e-12);
    EXPECT_NEAR(data.dense_gradients[6 + e], square / 74, 1e-12);
  }
}

TEST(BatchNorm, ScoreUsesTheRunningStatistics) {
  Problem problem{.fields = CategoricalFields(1, 1, 1), .rows = 20};
  GraphBuilder builder(1);
  const Tensor x = *FieldEmbeddings(builder, problem.fields);
  const auto graph =
      *BasicGraph<double>::Make(builder, Normalised(builder, "bn", x), {.block_rows = 16});
  StepData<double> data(problem, builder);
  data.dense = {2, 3, 0.5, 4};  // gamma, beta, mean, variance
  const std::vector<double> scores = data.Score(*graph);
  for (std::size_t r = 0; r < 20; ++r) {
    const double value = data.values[0][data.batch.fields[0].index[r]];
    EXPECT_NEAR(scores[r], 2 * (value - 0.5) / std::sqrt(4 + 1e-5) + 3, 1e-12);
  }
}

TEST(Dropout, KeepsTheExpectedShareAndIsAFunctionOfSeedStepAndRow) {
  Problem problem{.fields = CategoricalFields(1, 64, 1), .rows = 300, .unique_rows = 1};
  GraphBuilder builder(5);
  const Tensor x = *Dropout(builder, "drop", *FieldEmbeddings(builder, problem.fields), 0.25);
  const Tensor logit = ToLogit(builder, x);
  const auto train = [&](int threads, std::uint64_t step) {
    ThreadPool pool(threads);
    const auto graph = *Graph::Make(builder, logit, {.pool = &pool, .block_rows = 16});
    StepData<float> data(problem, builder);
    data.step = step;
    std::fill(data.values[0].begin(), data.values[0].end(), 1.f);
    std::fill(data.dense.begin(), data.dense.end(), 1.f);
    data.Train(*graph);
    return data.logits;  // of each row: kept elements / 0.75
  };
  const std::vector<float> logits = train(1, 1);
  double kept = 0;
  for (float logit_of_row : logits) kept += logit_of_row * 0.75;
  EXPECT_NEAR(kept / (300 * 64), 0.75, 0.02);
  EXPECT_EQ(train(3, 1), logits);
  EXPECT_NE(train(1, 2), logits);
}

TEST(Shapes, MisfitsAreErrorsThatNameTheOpAndTheShapes) {
  GraphBuilder g(1);
  const Tensor x = *FieldEmbeddings(g, CategoricalFields(3, 4, 1));
  const Parameter w = Add(g, "w", {5, 2});
  const auto message = [](const auto& result) { return std::string(result.status().message()); };
  EXPECT_THAT(message(Linear(g, "fc", x, w, std::nullopt)),
              testing::AllOf(testing::HasSubstr("'fc'"), testing::HasSubstr("[3, 4] [5, 2]")));
  EXPECT_THAT(message(MixTokens(g, "mix", x, w)), testing::HasSubstr("'mix'"));
  EXPECT_THAT(message(LayerNorm(g, "ln", x, w, w)), testing::HasSubstr("'ln'"));
  EXPECT_THAT(message(BatchNorm(g, "bn", x, {w, w, w, w})), testing::HasSubstr("'bn'"));
  EXPECT_THAT(message(nn::Add(g, "add", x, *Reshape(x, {12}))), testing::HasSubstr("[3, 4] [12]"));
  EXPECT_THAT(message(RowProduct(g, "rp", x, *Reshape(x, {4, 3}))), testing::HasSubstr("'rp'"));
  EXPECT_THAT(message(Reshape(x, {5})), testing::HasSubstr("[3, 4] [5]"));
  EXPECT_THAT(message(ConcatTokens(g, "cat", {})), testing::HasSubstr("'cat'"));
  EXPECT_THAT(message(SumTokens(g, "sum", x, w)), testing::HasSubstr("'sum'"));
  EXPECT_THAT(message(Dropout(g, "drop", x, 1.0)), testing::HasSubstr("not 1"));
  EXPECT_THAT(message(g.AddParameter({.name = "w", .dims = {1}}, {})), testing::HasSubstr("'w'"));
}

}  // namespace
}  // namespace cairn::worker::nn
