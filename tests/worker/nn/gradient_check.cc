#include "tests/worker/nn/gradient_check.h"

#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "common/base/thread_pool.h"
#include "common/math/rng.h"
#include "worker/nn/kernels/kernels.h"

namespace cairn::worker::nn {
namespace {

template <typename T>
std::unique_ptr<BasicGraph<T>> MakeGraph(const GraphBuilder& builder, const Tensor& logit,
                                         const CheckOptions& options, ThreadPool* pool, Isa isa) {
  auto graph = BasicGraph<T>::Make(
      builder, logit, {.max_rows = 1, .pool = pool, .isa = isa, .block_rows = options.block_rows});
  EXPECT_TRUE(graph.ok()) << graph.status();
  return graph.ok() ? std::move(*graph) : nullptr;
}

void FillColumn(const Problem& problem, const FieldSpec& spec, Rng& rng, FieldColumn& column) {
  if (spec.kind == FieldSpec::Kind::kSequence) column.offsets.push_back(0);
  for (std::uint32_t r = 0; r < problem.rows; ++r) {
    if (spec.kind == FieldSpec::Kind::kNumeric) {
      column.number.push_back(static_cast<float>(rng.NextNormal()));
      continue;
    }
    // Histories are empty, shorter than max_length, just as long, and longer.
    const std::size_t most = spec.IsHistory() ? spec.max_length + 3 : 4;
    const std::size_t count = spec.kind == FieldSpec::Kind::kSequence ? rng.NextBelow(most) : 1;
    for (std::size_t i = 0; i < count; ++i)
      column.index.push_back(static_cast<std::uint32_t>(rng.NextBelow(problem.unique_rows)));
    if (spec.kind == FieldSpec::Kind::kSequence)
      column.offsets.push_back(static_cast<std::uint32_t>(column.index.size()));
  }
}

// One scalar whose derivative is checked: how to change it, and what the graph says.
void CheckEntry(StepData<double>& data, BasicGraph<double>& graph, double& entry, double gradient,
                double scale, const CheckOptions& options, const std::string& where) {
  const double kept = entry;
  entry = kept + options.step;
  const double above = data.Train(graph).loss_sum;
  entry = kept - options.step;
  const double below = data.Train(graph).loss_sum;
  entry = kept;
  const double expected = (above - below) / (2 * options.step) / data.batch.rows;
  EXPECT_NEAR(gradient, expected, options.tolerance * scale) << where;
}

double Largest(const double* values, std::size_t n, double most) {
  for (std::size_t i = 0; i < n; ++i) most = std::max(most, std::abs(values[i]));
  return most;
}

// Errors are measured against the largest gradient of the same tensor. Where all of a tensor's
// gradients are zero but for rounding (a bias before BatchNorm), against 1 % of the largest of all.
double ScaleFloor(const StepData<double>& data) {
  double most = Largest(data.dense_gradients.data(), data.dense_gradients.size(), 0);
  for (const auto& rows : data.gradients) most = Largest(rows.data(), rows.size(), most);
  return 0.01 * most;
}

void CheckDifferences(const GraphBuilder& builder, StepData<double>& data,
                      BasicGraph<double>& graph, const CheckOptions& options) {
  data.Train(graph);
  const std::vector<double> dense = data.dense_gradients;
  const std::vector<std::vector<double>> rows = data.gradients;
  const double floor = ScaleFloor(data);
  Rng rng(99, 0);
  std::size_t offset = 0;
  for (const DenseTensor& tensor : builder.layout()) {
    const std::size_t n = tensor.Floats();
    const double scale = Largest(&dense[offset], n, floor);
    for (int s = 0; s < options.samples && !tensor.is_statistic; ++s) {
      const std::size_t i = offset + rng.NextBelow(n);
      CheckEntry(data, graph, data.dense[i], dense[i], scale, options,
                 tensor.name + " " + std::to_string(i - offset));
    }
    offset += n;
  }
  for (std::size_t t = 0; t < rows.size(); ++t) {
    if (rows[t].empty()) continue;
    const double scale = Largest(rows[t].data(), rows[t].size(), floor);
    for (int s = 0; s < options.samples; ++s) {
      const std::size_t i = rng.NextBelow(rows[t].size());
      CheckEntry(data, graph, data.values[t][i], rows[t][i], scale, options,
                 "table " + std::to_string(t) + " value " + std::to_string(i));
    }
  }
}

void ExpectClose(const std::vector<float>& actual, const std::vector<double>& expected,
                 std::size_t begin, std::size_t count, double floor, double tolerance,
                 const std::string& where) {
  const double scale = Largest(expected.data() + begin, count, floor);
  for (std::size_t i = begin; i < begin + count; ++i)
    ASSERT_NEAR(actual[i], expected[i], tolerance * scale) << where << " " << i - begin;
}

void CompareFloat(const GraphBuilder& builder, StepData<float>& actual,
                  const StepData<double>& expected, double tolerance, const std::string& isa) {
  const double floor = ScaleFloor(expected);
  ExpectClose(actual.logits, expected.logits, 0, expected.logits.size(), 0, tolerance,
              isa + " logit");
  std::size_t offset = 0;
  for (const DenseTensor& tensor : builder.layout()) {
    ExpectClose(actual.dense_gradients, expected.dense_gradients, offset, tensor.Floats(), floor,
                tolerance, isa + " " + tensor.name);
    offset += tensor.Floats();
  }
  for (std::size_t t = 0; t < expected.gradients.size(); ++t)
    ExpectClose(actual.gradients[t], expected.gradients[t], 0, expected.gradients[t].size(), floor,
                tolerance, isa + " table " + std::to_string(t));
}

}  // namespace

std::vector<FieldSpec> CategoricalFields(int count, std::uint32_t dim, int tables) {
  std::vector<FieldSpec> fields;
  for (int i = 0; i < count; ++i)
    fields.push_back(
        {.name = "f" + std::to_string(i), .field = i, .table = i % tables, .dim = dim});
  return fields;
}

std::vector<Isa> RunnableIsas() {
  std::vector<Isa> isas;
  for (Isa isa : {Isa::kGeneric, Isa::kAvx2, Isa::kAvx512})
    if (FindKernels<float>(isa) != nullptr) isas.push_back(isa);
  return isas;
}

template <typename T>
StepData<T>::StepData(const Problem& problem, const GraphBuilder& builder) {
  Rng rng(problem.seed, 7);
  batch.rows = problem.rows;
  int tables = 0;
  batch.fields.resize(problem.fields.size());
  for (const FieldSpec& spec : problem.fields) {
    FillColumn(problem, spec, rng, batch.fields.at(spec.field));
    tables = std::max(tables, spec.table + 1);
  }
  for (std::uint32_t r = 0; r < problem.rows; ++r)
    batch.labels.push_back(static_cast<float>(rng.NextBelow(2)));
  batch.unique_keys.resize(tables);
  values.resize(tables);
  gradients.resize(tables);
  for (const FieldSpec& spec : problem.fields) {
    if (spec.table < 0 || !batch.unique_keys[spec.table].empty()) continue;
    batch.unique_keys[spec.table].resize(problem.unique_rows);
    values[spec.table].resize(problem.unique_rows * spec.dim);
    for (T& value : values[spec.table])
      value = static_cast<T>(static_cast<float>(rng.NextNormal() * problem.value_stddev));
    gradients[spec.table].assign(values[spec.table].size(), T(77));
  }
  for (float value : builder.InitialValues())  // off zero and one, so that all terms count
    dense.push_back(static_cast<T>(static_cast<float>(value + 0.1 * rng.NextNormal())));
  std::size_t offset = 0;
  for (const DenseTensor& tensor : builder.layout()) {
    for (std::size_t i = 0; i < tensor.Floats() && tensor.is_statistic; ++i)
      dense[offset + i] = std::abs(dense[offset + i]);  // variances
    offset += tensor.Floats();
  }
  dense_gradients.assign(dense.size(), T(77));
  logits.resize(problem.rows);
}

template <typename T>
BasicStepInput<T> StepData<T>::Input() {
  tables_.clear();
  for (std::size_t t = 0; t < values.size(); ++t)
    tables_.push_back({values[t].data(), gradients[t].data()});
  return {&batch, tables_, dense, step};
}

template <typename T>
StepResult StepData<T>::Train(BasicGraph<T>& graph) {
  return graph.TrainStep(Input(), {dense_gradients, logits});
}

template <typename T>
std::vector<T> StepData<T>::Score(BasicGraph<T>& graph) {
  std::vector<T> scores(batch.rows);
  graph.Score(Input(), scores);
  return scores;
}

template struct StepData<float>;
template struct StepData<double>;

void CheckGradients(const BuildGraph& build, const Problem& problem, const CheckOptions& options) {
  GraphBuilder builder(problem.seed);
  const Result<Tensor> logit = build(builder, problem.fields);
  ASSERT_TRUE(logit.ok()) << logit.status();
  ThreadPool pool(options.threads);
  const auto graph = MakeGraph<double>(builder, *logit, options, &pool, Isa::kBest);
  ASSERT_NE(graph, nullptr);
  StepData<double> data(problem, builder);
  CheckDifferences(builder, data, *graph, options);
  ASSERT_EQ(data.Train(*graph).first_non_finite_row, -1);
  for (Isa isa : RunnableIsas()) {
    const auto float_graph = MakeGraph<float>(builder, *logit, options, &pool, isa);
    ASSERT_NE(float_graph, nullptr);
    StepData<float> float_data(problem, builder);
    const StepResult result = float_data.Train(*float_graph);
    EXPECT_EQ(result.first_non_finite_row, -1);
    CompareFloat(builder, float_data, data, options.float_tolerance, FindKernels<float>(isa)->name);
  }
}

}  // namespace cairn::worker::nn
