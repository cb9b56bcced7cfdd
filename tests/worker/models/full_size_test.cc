// Every model of the catalogue at the size of its defaults, where matrices are wide and a block has
// many panels: how the batch is cut into blocks and threads must change nothing but rounding.
#include <cmath>
#include <map>

#include <gtest/gtest.h>

#include "common/base/thread_pool.h"
#include "tests/worker/models/model_testing.h"

namespace cairn::worker {
namespace {

constexpr std::uint32_t kDim = 16;

FieldSpec History(std::string name, int field, int table, int target) {
  return {.name = std::move(name),
          .kind = FieldSpec::Kind::kSequence,
          .field = field,
          .table = table,
          .dim = kDim,
          .pooling = FieldSpec::Pooling::kHistory,
          .max_length = 12,
          .target = target};
}

std::vector<FieldSpec> FieldsFor(const std::string& model) {
  auto fields = DenseFields({3, 1, 4, 1.5, 5, 9, 2, 6}, model == "lr" ? 1 : kDim, 3);
  if (model == "din" || model == "interformer") {
    fields.push_back(History("h0", 8, 0, 0));
    fields.push_back(History("h1", 9, 1, 1));
  }
  if (model == "fm" || model == "deepfm")
    fields.push_back({.name = "w", .field = 8, .table = 3, .dim = 1, .linear = true});
  return fields;
}

// Logits and all gradients of one step.
std::vector<double> Step(const nn::GraphBuilder& builder, const nn::Tensor& logit,
                         const nn::Problem& problem, std::size_t block_rows, int threads) {
  ThreadPool pool(threads);
  auto graph =
      nn::BasicGraph<double>::Make(builder, logit, {.pool = &pool, .block_rows = block_rows});
  EXPECT_TRUE(graph.ok()) << graph.status();
  nn::StepData<double> data(problem, builder);
  std::vector<double> all = data.Score(**graph);
  EXPECT_EQ(data.Train(**graph).first_non_finite_row, -1);
  for (const auto& part : {data.logits, data.dense_gradients})
    all.insert(all.end(), part.begin(), part.end());
  for (const auto& rows : data.gradients) all.insert(all.end(), rows.begin(), rows.end());
  return all;
}

class FullSize : public testing::TestWithParam<std::string> {};

TEST_P(FullSize, BlocksAndThreadsChangeNothingButRounding) {
  const std::string& model = GetParam();
  const nn::Problem problem{
      .fields = FieldsFor(model), .rows = 150, .unique_rows = 40, .value_stddev = 0.3};
  nn::GraphBuilder builder(1);
  const auto logit = Builder(Model(model + " {}"))(builder, problem.fields);
  ASSERT_TRUE(logit.ok()) << logit.status();
  const std::vector<double> expected = Step(builder, *logit, problem, 16, 1);
  for (const auto& [block_rows, threads] : {std::pair{std::size_t{0}, 1}, {64, 2}}) {
    const std::vector<double> actual = Step(builder, *logit, problem, block_rows, threads);
    double scale = 1e-6, worst = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      scale = std::max(scale, std::abs(expected[i]));
      worst = std::max(worst, std::abs(actual[i] - expected[i]));
    }
    EXPECT_LT(worst, 1e-8 * scale) << "blocks of " << block_rows << ", threads " << threads;
  }
}

std::vector<std::string> ModelNames() {
  std::vector<std::string> names;
  for (const ModelEntry& entry : Models()) names.emplace_back(entry.name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Models, FullSize, testing::ValuesIn(ModelNames()),
                         [](const auto& name) { return name.param; });

}  // namespace
}  // namespace cairn::worker
