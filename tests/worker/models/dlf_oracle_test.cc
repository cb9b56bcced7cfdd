// DLF against tests/oracle/dlf_oracle.py, an independent implementation in PyTorch: logits, loss
// and all gradients of one step, parameters after ten steps of Adam, and scores in evaluation mode.
// The oracle's results are frozen in tests/oracle/golden; the oracle describes the files.
#include <cmath>
#include <fstream>
#include <map>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/thread_pool.h"
#include "proto/config.pb.h"
#include "worker/models/model.h"
#include "worker/nn/graph.h"

namespace cairn::worker {
namespace {

using Arrays = std::map<std::string, std::vector<double>>;

Arrays ReadGolden(const std::string& name) {
  std::ifstream file("tests/oracle/golden/" + name + ".txt");
  EXPECT_TRUE(file) << "no golden file " << name;
  Arrays arrays;
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    std::istringstream numbers(line.substr(colon + 1));
    std::vector<double>& values = arrays[line.substr(0, colon)];
    for (double value; numbers >> value;) values.push_back(value);
  }
  return arrays;
}

// Adam (Kingma, Ba 2015), as it is written in the paper.
template <typename T>
struct ReferenceAdam {
  std::vector<T> mean, square;
  int steps = 0;
  void Apply(std::vector<T>& values, const std::vector<T>& gradients) {
    mean.resize(values.size());
    square.resize(values.size());
    ++steps;
    for (std::size_t i = 0; i < values.size(); ++i) {
      mean[i] = T(0.9) * mean[i] + T(0.1) * gradients[i];
      square[i] = T(0.999) * square[i] + T(0.001) * gradients[i] * gradients[i];
      const T unbiased = mean[i] / static_cast<T>(1 - std::pow(0.9, steps));
      const T root = std::sqrt(square[i] / static_cast<T>(1 - std::pow(0.999, steps)));
      values[i] -= T(1e-3) * unbiased / (root + T(1e-8));
    }
  }
};

// The golden case as a job for a graph of type T.
template <typename T>
class Case {
 public:
  explicit Case(const Arrays& golden) : golden_(golden), builder_(1) {
    const auto at = [&](int i) { return static_cast<std::uint32_t>(golden.at("config")[i]); };
    fields_ = at(0), numeric_ = at(1), ids_ = at(2), dim_ = at(3), rows_ = at(10), steps_ = at(11);
    proto::ModelConfig config;
    proto::DlfConfig& dlf = *config.mutable_dlf();
    dlf.set_layers(at(4)), dlf.set_implicit_tokens(at(5)), dlf.set_block_tokens(at(6));
    dlf.set_rank(at(7)), dlf.set_hidden(at(8)), dlf.set_head_hidden(at(9));
    ModelContext context;
    for (std::uint32_t f = 0; f < fields_; ++f) {
      const bool number = f >= fields_ - numeric_;
      context.fields.push_back(
          {.name = "f" + std::to_string(f),
           .kind = number ? FieldSpec::Kind::kNumeric : FieldSpec::Kind::kCategorical,
           .field = static_cast<int>(f),
           .table = number ? -1 : 0,
           .dim = dim_});
    }
    const auto logit = (*FindModel(config))->build(config, context, builder_);
    EXPECT_TRUE(logit.ok()) << logit.status();
    graph_ = *nn::BasicGraph<T>::Make(builder_, *logit, {.pool = &pool_, .block_rows = 16});
    FillBatch();
    FillParameters();
  }

  double Step() {
    const nn::BasicTableRows<T> tables[] = {{table_.data(), table_gradients_.data()}};
    const nn::StepResult result =
        graph_->TrainStep({&batch_, tables, dense_, step_++}, {dense_gradients_, logits_});
    return result.loss_sum / rows_;
  }

  void Update() {
    std::size_t offset = 0;
    std::vector<T> before = dense_;
    adam_.Apply(dense_, dense_gradients_);
    for (const DenseTensor& tensor : builder_.layout()) {
      for (std::size_t i = offset; tensor.is_statistic && i < offset + tensor.Floats(); ++i)
        dense_[i] = before[i] + static_cast<T>(tensor.momentum) * (dense_gradients_[i] - before[i]);
      offset += tensor.Floats();
    }
    table_adam_.Apply(table_, table_gradients_);
  }

  std::vector<T> Score() {
    const nn::BasicTableRows<T> tables[] = {{table_.data(), nullptr}};
    std::vector<T> scores(rows_);
    graph_->Score({&batch_, tables, dense_, 0}, scores);
    return scores;
  }

  // Largest difference from the golden array, relative to its largest value (at least `floor`).
  static double Error(const T* actual, const std::vector<double>& expected, double floor) {
    double most = floor, worst = 0;
    for (double value : expected) most = std::max(most, std::abs(value));
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const double difference = std::abs(static_cast<double>(actual[i]) - expected[i]);
      if (!(difference <= worst)) worst = difference;  // a NaN counts
    }
    return worst / most;
  }

  void ExpectNear(const std::string& name, const std::vector<T>& actual, double tolerance) {
    ASSERT_EQ(actual.size(), golden_.at(name).size()) << name;
    EXPECT_LE(Error(actual.data(), golden_.at(name), 1e-3), tolerance) << name;
  }

  // The trained parameters' arrays "prefix" + name of the golden file, or the statistics' for "s.".
  // Without `with_zero`, those whose gradient is zero but for rounding are left out.
  void ExpectAllNear(const std::string& prefix, const std::vector<T>& actual, double tolerance,
                     bool with_zero = true) {
    std::size_t offset = 0, compared = 0;
    for (const DenseTensor& tensor : builder_.layout()) {
      if (tensor.is_statistic == (prefix == "s.") && (with_zero || HasGradient(tensor.name))) {
        ASSERT_TRUE(golden_.contains(prefix + tensor.name)) << tensor.name;
        const std::vector<double>& expected = golden_.at(prefix + tensor.name);
        ASSERT_EQ(expected.size(), tensor.Floats()) << tensor.name;
        EXPECT_LE(Error(&actual[offset], expected, 1e-3), tolerance) << prefix << tensor.name;
        ++compared;
      }
      offset += tensor.Floats();
    }
    EXPECT_GT(compared, builder_.layout().size() / 8);
  }

  const std::vector<T>& dense() const { return dense_; }
  const std::vector<T>& dense_gradients() const { return dense_gradients_; }
  const std::vector<T>& table() const { return table_; }
  const std::vector<T>& table_gradients() const { return table_gradients_; }
  const std::vector<T>& logits() const { return logits_; }
  std::uint32_t steps() const { return steps_; }

 private:
  bool HasGradient(const std::string& name) const {
    double most = 0;
    for (double value : golden_.at("g." + name)) most = std::max(most, std::abs(value));
    return most > 1e-12;
  }

  void FillBatch() {
    batch_.rows = rows_;
    for (double label : golden_.at("label")) batch_.labels.push_back(static_cast<float>(label));
    batch_.unique_keys = {std::vector<std::uint64_t>(ids_)};
    batch_.fields.resize(fields_);
    for (std::uint32_t f = 0; f < fields_; ++f)
      for (std::uint32_t r = 0; r < rows_; ++r) {
        const std::uint32_t categorical = fields_ - numeric_;
        if (f < categorical) {
          batch_.fields[f].index.push_back(
              static_cast<std::uint32_t>(golden_.at("index")[f * rows_ + r]));
        } else {
          batch_.fields[f].number.push_back(
              static_cast<float>(golden_.at("number")[(f - categorical) * rows_ + r]));
        }
      }
  }

  void FillParameters() {
    const auto append = [](std::vector<T>& to, const std::vector<double>& from) {
      for (double value : from) to.push_back(static_cast<T>(value));
    };
    append(table_, golden_.at("table"));
    table_gradients_.resize(table_.size());
    for (const DenseTensor& tensor : builder_.layout()) {
      if (tensor.is_statistic) {
        dense_.insert(dense_.end(), tensor.Floats(),
                      tensor.name.ends_with("variance") ? T(1) : T(0));
      } else {
        ASSERT_TRUE(golden_.contains("p." + tensor.name)) << tensor.name;
        append(dense_, golden_.at("p." + tensor.name));
      }
    }
    ASSERT_EQ(dense_.size(), builder_.ParameterFloats());
    dense_gradients_.resize(dense_.size());
    logits_.resize(rows_);
  }

  const Arrays& golden_;
  nn::GraphBuilder builder_;
  ThreadPool pool_{2};
  std::unique_ptr<nn::BasicGraph<T>> graph_;
  std::uint32_t fields_ = 0, numeric_ = 0, ids_ = 0, dim_ = 0, rows_ = 0, steps_ = 0;
  std::uint64_t step_ = 0;
  Batch batch_;
  std::vector<T> table_, table_gradients_, dense_, dense_gradients_, logits_;
  ReferenceAdam<T> adam_, table_adam_;
};

class DlfOracle : public testing::TestWithParam<const char*> {};

TEST_P(DlfOracle, DoubleAgreesInEveryNumber) {
  const Arrays golden = ReadGolden(GetParam());
  Case<double> model(golden);
  const double loss = model.Step();
  EXPECT_NEAR(loss, golden.at("loss")[0], 1e-10);
  model.ExpectNear("logit", model.logits(), 1e-9);
  model.ExpectAllNear("g.", model.dense_gradients(), 1e-8);
  model.ExpectNear("g.table", model.table_gradients(), 1e-8);
  model.Update();
  for (std::uint32_t step = 1; step < model.steps(); ++step) model.Step(), model.Update();
  model.ExpectAllNear("a.", model.dense(), 1e-8);
  model.ExpectAllNear("s.", model.dense(), 1e-8);
  model.ExpectNear("a.table", model.table(), 1e-8);
  model.ExpectNear("scored", model.Score(), 1e-7);  // the momentum is the float 0.1f
}

// A constant added before BatchNorm (a bias, a LayerNorm's beta before a Linear) has no gradient.
// In float rounding errors are left of it, and Adam makes steps of full size of them. BatchNorm
// removes the constant again, so nothing else sees it: those parameters are left out after Adam.
TEST_P(DlfOracle, FloatAgreesToRounding) {
  const Arrays golden = ReadGolden(GetParam());
  Case<float> model(golden);
  const double loss = model.Step();
  EXPECT_NEAR(loss, golden.at("loss")[0], 1e-6);
  model.ExpectNear("logit", model.logits(), 2e-5);
  model.ExpectAllNear("g.", model.dense_gradients(), 2e-4);
  model.ExpectNear("g.table", model.table_gradients(), 2e-4);
  model.Update();
  for (std::uint32_t step = 1; step < model.steps(); ++step) model.Step(), model.Update();
  model.ExpectAllNear("a.", model.dense(), 1e-5, /*with_zero=*/false);
  model.ExpectNear("a.table", model.table(), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Golden, DlfOracle, testing::Values("dlf_project", "dlf_square"));

}  // namespace
}  // namespace cairn::worker
