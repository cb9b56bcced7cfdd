// The ops of attention and those around it: gradients against central differences, values of the
// definition, errors. The kernels by themselves: attention_kernel_test.cc.
#include <algorithm>
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/worker/nn/op_testing.h"
#include "worker/nn/op.h"
#include "worker/nn/ops/activation.h"
#include "worker/nn/ops/attention.h"
#include "worker/nn/ops/embedding.h"
#include "worker/nn/ops/mix.h"
#include "worker/nn/ops/row_product.h"
#include "worker/nn/ops/shape.h"

namespace cairn::worker::nn {
namespace {

using testing::AllOf;
using testing::HasSubstr;

Tensor Project(GraphBuilder& graph, const std::string& name, const Tensor& x,
               std::uint32_t outputs) {
  return *TokenLinear(graph, name, x, NewParameter(graph, name, {x.dims[1], outputs}),
                      std::nullopt);
}

// --- Gradients of the ops ------------------------------------------------------------------------

Tensor Column(const Tensor& x) { return *Reshape(x, {static_cast<std::uint32_t>(x.Size()), 1}); }

// Attention with a mask of the keys that has zeros among its values, and what the mask is made of:
// that has a gradient, but none through the mask.
Tensor WithKeyMask(GraphBuilder& g, const Tensor& x,
                   const std::function<Tensor(const Tensor& mask)>& attend) {
  const Tensor source = Project(g, "source", x, 1);
  const Tensor mask = *Reshape(Relu(g, "mask", source), {x.dims[0]});
  const Tensor both[] = {Column(attend(mask)), source};
  return *ConcatTokens(g, "both", both);
}

Tensor SelfAttention(GraphBuilder& g, const Tensor& x, const AttentionOptions& options) {
  return *Attention(g, "a", Project(g, "q", x, 4), Project(g, "k", x, 4), Project(g, "v", x, 6),
                    options);
}

const std::vector<OpCase>& Cases() {
  static const auto& cases = *new std::vector<OpCase>{
      {"token_linear",
       [](GraphBuilder& g, const Tensor& x) {
         return *TokenLinear(g, "t", x, NewParameter(g, "w", {x.dims[1], 5}),
                             NewParameter(g, "b", {5}));
       }},
      {"token_linear_wide",
       [](GraphBuilder& g, const Tensor& x) {
         return Project(g, "out", Project(g, "in", x, 200), 3);
       }},
      {"per_token_linear",
       [](GraphBuilder& g, const Tensor& x) {
         return *PerTokenLinear(g, "t", x, NewParameter(g, "w", {x.dims[0], x.dims[1], 5}),
                                NewParameter(g, "b", {x.dims[0], 5}));
       }},
      {"per_token_linear_after_another",
       [](GraphBuilder& g, const Tensor& x) {
         const Tensor y = Relu(g, "r", Project(g, "p", x, 9));
         return *PerTokenLinear(g, "t", y, NewParameter(g, "w", {x.dims[0], 9, 3}), std::nullopt);
       }},
      {"row_matrix_product",
       [](GraphBuilder& g, const Tensor& x) {
         const Tensor a =
             *MixTokens(g, "m", Project(g, "p", x, 7), NewParameter(g, "w", {x.dims[0], 3}));
         const Tensor b = *MixTokens(g, "n", x, NewParameter(g, "v", {x.dims[0], 7}));
         return *RowMatrixProduct(g, "rm", a, b);
       }},
      {"square_of_a_matrix",
       [](GraphBuilder& g, const Tensor& x) {
         const Tensor a = Project(g, "p", x, x.dims[0]);
         return *RowMatrixProduct(g, "rm", a, a);
       }},
      {"pairwise_dots",
       [](GraphBuilder& g, const Tensor& x) {
         const Tensor z = *MixTokens(g, "m", x, NewParameter(g, "w", {x.dims[0], x.dims[0] + 1}));
         return *PairwiseDots(g, "dots", z);
       }},
      {"rotary",
       [](GraphBuilder& g, const Tensor& x) {
         const Tensor z = *Rotary(g, "rope", Project(g, "p", x, 12), 3);
         return *RowProduct(g, "rp", z, x.dims[1] == 12 ? x : Project(g, "o", x, 12));
       }},
      {"attention",
       [](GraphBuilder& g, const Tensor& x) { return SelfAttention(g, x, {.heads = 2}); }},
      {"attention_of_one_tensor",
       [](GraphBuilder& g, const Tensor& x) {
         return *Attention(g, "a", x, x, x, {.scale = 0.3});
       }},
      {"attention_with_key_mask",
       [](GraphBuilder& g, const Tensor& x) {
         return WithKeyMask(g, x, [&](const Tensor& mask) {
           return SelfAttention(g, x, {.heads = 2, .mask = {.keys = mask}});
         });
       }},
      {"attention_with_ranks",
       [](GraphBuilder& g, const Tensor& x) {
         const Tensor ranks = *Ranks(g, "ranks", *RowProduct(g, "pairs", x, x));
         return SelfAttention(g, x, {.mask = {.ranks = ranks, .active = x.dims[0] + 1}});
       }},
      {"linear_attention_with_all_masks",
       [](GraphBuilder& g, const Tensor& x) {
         const Tensor ranks = *Ranks(g, "ranks", *RowProduct(g, "pairs", x, x));
         std::vector<std::uint8_t> pairs(std::size_t{x.dims[0]} * x.dims[0], 1);
         pairs[0] = 0;
         return WithKeyMask(g, x, [&](const Tensor& mask) {
           return SelfAttention(
               g, x,
               {.heads = 2,
                .softmax = false,
                .mask = {.keys = mask, .ranks = ranks, .active = x.dims[0] + 1, .pairs = pairs}});
         });
       }},
      {"cross_attention",
       [](GraphBuilder& g, const Tensor& x) {
         const Tensor few =
             *MixTokens(g, "few", Project(g, "q", x, 4), NewParameter(g, "w", {x.dims[0], 2}));
         return *Attention(g, "a", few, Project(g, "k", x, 4), x, {});
       }},
  };
  return cases;
}

struct Shape {
  int fields;
  std::uint32_t dim, rows;
  int threads;
};

class AttentionOps : public testing::TestWithParam<std::tuple<std::size_t, Shape>> {};

TEST_P(AttentionOps, GradientsAgreeWithCentralDifferences) {
  const OpCase& test = Cases()[std::get<0>(GetParam())];
  const Shape shape = std::get<1>(GetParam());
  const Problem problem{.fields = CategoricalFields(shape.fields, shape.dim, 2),
                        .rows = shape.rows};
  CheckGradients(
      [&](GraphBuilder& g, const std::vector<FieldSpec>& fields) -> Result<Tensor> {
        const Tensor x = *FieldEmbeddings(g, fields);
        // A layer on both sides: gradients of the embeddings, and of values that are no input.
        return ToLogit(g, test.build(g, Project(g, "first", x, shape.dim)));
      },
      problem, {.threads = shape.threads, .block_rows = 32, .samples = 6});
}

std::string NameOf(const testing::TestParamInfo<std::tuple<std::size_t, Shape>>& test) {
  const Shape& shape = std::get<1>(test.param);
  return StrCat(Cases()[std::get<0>(test.param)].name, "_", shape.fields, "x", shape.dim, "_rows",
                shape.rows);
}

INSTANTIATE_TEST_SUITE_P(All, AttentionOps,
                         testing::Combine(testing::Range<std::size_t>(0, Cases().size()),
                                          testing::Values(Shape{1, 3, 1, 1}, Shape{5, 4, 18, 1},
                                                          Shape{19, 6, 70, 3})),
                         NameOf);

// --- Values of Ranks, Rotary, PairwiseDots and RowMatrixProduct ----------------------------------

// All values of the tensor that `build` makes from the embeddings [fields, dim], for each row.
std::vector<std::vector<double>> ValuesOf(
    const Problem& problem, const std::function<Tensor(GraphBuilder&, const Tensor&)>& build,
    std::vector<std::vector<double>>* embeddings) {
  GraphBuilder builder(1);
  const Tensor x = *FieldEmbeddings(builder, problem.fields);
  const Tensor y = build(builder, x);
  // The embeddings too, for a y that is a constant to their gradient.
  const Tensor both[] = {Column(y), Column(x)};
  const Tensor logit = ToLogit(builder, *ConcatTokens(builder, "both", both));
  const auto graph = *BasicGraph<double>::Make(builder, logit, {});
  StepData<double> data(problem, builder);
  std::vector<std::vector<double>> values(problem.rows, std::vector<double>(y.Size()));
  for (std::size_t e = 0; e < y.Size(); ++e) {
    std::fill(data.dense.begin(), data.dense.end(), 0);
    data.dense[e] = 1;
    const std::vector<double> scores = data.Score(*graph);
    for (std::size_t r = 0; r < problem.rows; ++r) values[r][e] = scores[r];
  }
  embeddings->assign(problem.rows, {});
  for (std::size_t r = 0; r < problem.rows; ++r)
    for (const FieldSpec& field : problem.fields)
      for (std::size_t e = 0; e < field.dim; ++e)
        (*embeddings)[r].push_back(
            data.values[field.table]
                       [data.batch.fields[&field - problem.fields.data()].index[r] * field.dim +
                        e]);
  return values;
}

TEST(Ranks, AreThePlacesOfTheSortedValuesAndOfEqualValuesTheFirstComesFirst) {
  // Few distinct rows of one value: many ties.
  const Problem problem{.fields = CategoricalFields(23, 1, 1), .rows = 21, .unique_rows = 5};
  std::vector<std::vector<double>> x;
  const auto ranks = ValuesOf(
      problem, [](GraphBuilder& g, const Tensor& t) { return *Ranks(g, "ranks", t); }, &x);
  for (std::size_t r = 0; r < 21; ++r)
    for (std::size_t i = 0; i < 23; ++i) {
      double expected = 0;
      for (std::size_t j = 0; j < 23; ++j)
        expected += x[r][j] > x[r][i] || (x[r][j] == x[r][i] && j < i) ? 1 : 0;
      ASSERT_EQ(ranks[r][i], expected) << "row " << r << " value " << i;
    }
}

TEST(Rotary, TurnsPairsByThePositionTimesAGeometricSequence) {
  const Problem problem{.fields = CategoricalFields(5, 8, 2), .rows = 3};
  std::vector<std::vector<double>> x;
  const auto y = ValuesOf(
      problem, [](GraphBuilder& g, const Tensor& t) { return *Rotary(g, "rope", t, 2, 100); }, &x);
  for (std::size_t r = 0; r < 3; ++r)
    for (std::size_t p = 0; p < 5; ++p)
      for (std::size_t h = 0; h < 2; ++h)
        for (std::size_t j = 0; j < 2; ++j) {  // two pairs of a head of width 4
          const std::size_t at = p * 8 + h * 4 + 2 * j;
          const double angle = static_cast<double>(p) * (j == 0 ? 1 : 0.1);
          const double a = x[r][at], b = x[r][at + 1];
          ASSERT_NEAR(y[r][at], a * std::cos(angle) - b * std::sin(angle), 1e-12);
          ASSERT_NEAR(y[r][at + 1], a * std::sin(angle) + b * std::cos(angle), 1e-12);
        }
}

TEST(Rotary, InnerProductsDependOnTheDistanceOfPositionsOnly) {
  const Problem problem{.fields = CategoricalFields(6, 12, 1), .rows = 2, .unique_rows = 1};
  std::vector<std::vector<double>> x;
  const auto y = ValuesOf(
      problem,
      [](GraphBuilder& g, const Tensor& t) {
        const Tensor z = *Rotary(g, "rope", t, 2);
        return *RowProduct(g, "rp", z, z);
      },
      &x);
  for (std::size_t i = 0; i < 6; ++i)
    for (std::size_t j = 0; j < 6; ++j)
      EXPECT_NEAR(y[0][i * 6 + j], y[0][i > j ? i - j : j - i], 1e-12);
  EXPECT_GT(std::abs(y[0][1] - y[0][0]), 1e-3);
}

TEST(PairwiseDots, AreTheUpperTriangleOfTheGramMatrix) {
  const Problem problem{.fields = CategoricalFields(9, 5, 2), .rows = 19};
  std::vector<std::vector<double>> x;
  const auto y = ValuesOf(
      problem, [](GraphBuilder& g, const Tensor& t) { return *PairwiseDots(g, "dots", t); }, &x);
  for (std::size_t r = 0; r < 19; ++r) {
    ASSERT_EQ(y[r].size(), 36u);
    std::size_t at = 0;
    for (std::size_t i = 0; i < 9; ++i)
      for (std::size_t j = i + 1; j < 9; ++j, ++at) {
        double dot = 0;
        for (std::size_t e = 0; e < 5; ++e) dot += x[r][i * 5 + e] * x[r][j * 5 + e];
        ASSERT_NEAR(y[r][at], dot, 1e-12) << i << " " << j;
      }
  }
}

TEST(RowMatrixProduct, IsTheProductOfEachRowsMatrices) {
  const Problem problem{.fields = CategoricalFields(4, 4, 2), .rows = 2};
  std::vector<std::vector<double>> x;
  const auto y = ValuesOf(
      problem, [](GraphBuilder& g, const Tensor& t) { return *RowMatrixProduct(g, "p", t, t); },
      &x);
  for (std::size_t i = 0; i < 4; ++i)
    for (std::size_t j = 0; j < 4; ++j) {
      double sum = 0;
      for (std::size_t k = 0; k < 4; ++k) sum += x[1][i * 4 + k] * x[1][k * 4 + j];
      EXPECT_NEAR(y[1][i * 4 + j], sum, 1e-12);
    }
}

TEST(AttentionOps, MisfitsAreErrorsThatNameTheOpAndTheValues) {
  GraphBuilder g(1);
  const Tensor x = *FieldEmbeddings(g, CategoricalFields(3, 6, 1));
  const Tensor y = *Reshape(x, {2, 9});
  const Parameter w = NewParameter(g, "w", {5, 2});
  const auto message = [](const auto& result) { return std::string(result.status().message()); };
  EXPECT_THAT(message(Attention(g, "at", x, y, x, {})),
              AllOf(HasSubstr("'at'"), HasSubstr("[3, 6] [2, 9]")));
  EXPECT_THAT(message(Attention(g, "at", x, x, y, {})), HasSubstr("[3, 6] [2, 9]"));
  EXPECT_THAT(message(Attention(g, "at", x, x, x, {.heads = 4})),
              AllOf(HasSubstr("4 heads"), HasSubstr("6")));
  EXPECT_THAT(message(Attention(g, "at", x, x, x, {.mask = {.keys = y}})), HasSubstr("mask"));
  EXPECT_THAT(message(Attention(g, "at", x, x, x, {.mask = {.ranks = y}})),
              HasSubstr("[3, 3] [2, 9]"));
  EXPECT_THAT(message(Attention(g, "at", x, x, x, {.mask = {.pairs = {1, 1}}})),
              HasSubstr("2 pairs"));
  EXPECT_THAT(message(Rotary(g, "rope", x, 2)), AllOf(HasSubstr("'rope'"), HasSubstr("6 / 2")));
  EXPECT_THAT(message(Rotary(g, "rope", x, 5)), HasSubstr("5 heads"));
  EXPECT_THAT(message(Ranks(g, "ranks", *Reshape(x, {18}))), HasSubstr("'ranks'"));
  EXPECT_THAT(message(TokenLinear(g, "tl", x, w, std::nullopt)), HasSubstr("[3, 6] [5, 2]"));
  EXPECT_THAT(message(PerTokenLinear(g, "pt", x, w, std::nullopt)), HasSubstr("'pt'"));
  EXPECT_THAT(message(RowMatrixProduct(g, "rm", x, x)), HasSubstr("'rm'"));
  EXPECT_THAT(message(PairwiseDots(g, "dots", *Reshape(x, {1, 18}))), HasSubstr("[1, 18]"));
}

TEST(Graph, ParametersAndEmbeddingsBehindAMaskOnlyAreRefused) {
  GraphBuilder g(1);
  const auto fields = CategoricalFields(3, 6, 1);
  const Tensor x = *FieldEmbeddings(g, fields);
  const Tensor mask = *Reshape(Project(g, "mask.in", x, 1), {3});
  const Tensor y = ToLogit(g, *Attention(g, "a", x, x, x, {.mask = {.keys = mask}}));
  const auto graph = Graph::Make(g, y, {});
  EXPECT_THAT(std::string(graph.status().message()), HasSubstr("'mask.in'"));
}

}  // namespace
}  // namespace cairn::worker::nn
