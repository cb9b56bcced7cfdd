// The models against tests/oracle, an independent implementation in PyTorch, for every case that is
// frozen in tests/oracle/golden: logits, loss and all gradients of one step, all parameters, tables
// and running statistics after ten steps of Adam, and the logits in evaluation mode after that.
#include <cmath>
#include <fstream>
#include <memory>
#include <set>

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include "common/base/thread_pool.h"
#include "tests/worker/models/golden_case.h"
#include "worker/nn/graph.h"

namespace cairn::worker {
namespace {

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

template <typename T>
struct Table {
  std::vector<T> values, gradients;
  ReferenceAdam<T> adam;
};

// A golden case as a job for a graph of type T.
template <typename T>
class Job {
 public:
  explicit Job(const GoldenCase& golden)
      : golden_(golden), builder_(golden.context().seed), batch_(golden.MakeBatch()) {}

  // What does not fit: the model is refused, or a parameter is on one side only or of another
  // shape. block_rows: of GraphOptions.
  std::vector<std::string> Build(std::size_t block_rows) {
    const auto entry = FindModel(golden_.model());
    if (!entry.ok()) return {entry.status().ToString()};
    const auto logit = (*entry)->build(golden_.model(), golden_.context(), builder_);
    if (!logit.ok()) return {logit.status().ToString()};
    std::vector<std::string> problems = Load();
    if (!problems.empty()) return problems;
    auto graph =
        nn::BasicGraph<T>::Make(builder_, *logit, {.pool = &pool_, .block_rows = block_rows});
    if (!graph.ok()) return {graph.status().ToString()};
    graph_ = std::move(*graph);
    return {};
  }

  // Mean loss of a step; gradients and logits are those of `dense` and `tables` before Update.
  double Step() {
    const nn::StepResult result =
        graph_->TrainStep({&batch_, Rows(), dense_, step_++}, {dense_gradients_, logits_});
    return result.loss_sum / batch_.rows;
  }

  void Update() {
    const std::vector<T> before = dense_;
    adam_.Apply(dense_, dense_gradients_);
    std::size_t offset = 0;
    for (const DenseTensor& tensor : builder_.layout()) {
      for (std::size_t i = offset; tensor.is_statistic && i < offset + tensor.Floats(); ++i)
        dense_[i] = before[i] + static_cast<T>(tensor.momentum) * (dense_gradients_[i] - before[i]);
      offset += tensor.Floats();
    }
    for (Table<T>& table : tables_) table.adam.Apply(table.values, table.gradients);
  }

  std::vector<T> Score() {
    std::vector<T> scores(batch_.rows);
    graph_->Score({&batch_, Rows(), dense_, 0}, scores);
    return scores;
  }

  // Calls see(golden array, first value) for all parameters (or statistics, for prefix "s.") and
  // tables, by the names that they have in the golden file.
  template <typename See>
  void ForEach(const std::string& prefix, const std::vector<T>& dense, bool table_gradients,
               const See& see) const {
    std::size_t offset = 0;
    for (const DenseTensor& tensor : builder_.layout()) {
      if (tensor.is_statistic == (prefix == "s.")) see(prefix + tensor.name, &dense[offset]);
      offset += tensor.Floats();
    }
    for (std::size_t t = 0; t < tables_.size() && prefix != "s."; ++t)
      see(StrCat(prefix, "table.", t),
          table_gradients ? tables_[t].gradients.data() : tables_[t].values.data());
  }

  const std::vector<T>& dense() const { return dense_; }
  const std::vector<T>& dense_gradients() const { return dense_gradients_; }
  const std::vector<T>& logits() const { return logits_; }

 private:
  std::span<const nn::BasicTableRows<T>> Rows() {
    rows_.clear();
    for (Table<T>& table : tables_) rows_.push_back({table.values.data(), table.gradients.data()});
    return rows_;
  }

  std::vector<std::string> Load() {
    std::vector<std::string> problems;
    std::set<std::string> known;
    for (const DenseTensor& tensor : builder_.layout()) {
      const std::string name = (tensor.is_statistic ? "s." : "p.") + tensor.name;
      known.insert(name);
      const GoldenArray* array = golden_.Find(name);
      if (array == nullptr) {
        problems.push_back(StrCat("only the model has ", name, Shape(tensor.dims)));
      } else if (array->dims != tensor.dims) {
        problems.push_back(StrCat(name, Shape(tensor.dims), ", in the oracle", Shape(array->dims)));
      } else {
        for (double value : array->values)
          dense_.push_back(static_cast<T>(!tensor.is_statistic         ? value
                                          : name.ends_with("variance") ? 1
                                                                       : 0));
      }
    }
    for (const auto& [name, array] : golden_.arrays())
      if ((name.starts_with("p.") || name.starts_with("s.")) && !known.contains(name))
        problems.push_back(StrCat("only the oracle has ", name, Shape(array.dims)));
    for (int t = 0; t < golden_.tables(); ++t) {
      const std::vector<double>& values = golden_.Find(StrCat("table.", t))->values;
      tables_.push_back({.values = std::vector<T>(values.begin(), values.end()),
                         .gradients = std::vector<T>(values.size()),
                         .adam = {}});
    }
    dense_gradients_.resize(dense_.size());
    logits_.resize(batch_.rows);
    return problems;
  }

  static std::string Shape(const std::vector<std::uint32_t>& dims) {
    std::string text = " [";
    for (std::uint32_t dim : dims) text += StrCat(" ", dim);
    return text + " ]";
  }

  const GoldenCase& golden_;
  nn::GraphBuilder builder_;
  Batch batch_;
  ThreadPool pool_{2};
  std::unique_ptr<nn::BasicGraph<T>> graph_;
  std::uint64_t step_ = 0;
  std::vector<T> dense_, dense_gradients_, logits_;
  std::vector<Table<T>> tables_;
  std::vector<nn::BasicTableRows<T>> rows_;
  ReferenceAdam<T> adam_;
};

double Largest(const GoldenArray& array) {
  double most = 0;
  for (double value : array.values) most = std::max(most, std::abs(value));
  return most;
}

class Oracle : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    auto golden = GoldenCase::Read(GoldenPath(GetParam()));
    ASSERT_TRUE(golden.ok()) << golden.status();
    golden_ = std::move(*golden);
  }

  // Differences from the golden array are at most `tolerance` times its largest value (or `floor`,
  // if that is more). A NaN is a difference.
  template <typename T>
  void ExpectNear(const std::string& name, const T* actual, double tolerance, double floor = 1e-3) {
    const GoldenArray* expected = golden_.Find(name);
    ASSERT_NE(expected, nullptr) << "the golden file lacks " << name;
    const double scale = std::max(floor, Largest(*expected));
    double worst = 0;
    for (std::size_t i = 0; i < expected->values.size(); ++i) {
      const double difference = std::abs(static_cast<double>(actual[i]) - expected->values[i]);
      if (!(difference <= worst)) worst = difference;
    }
    EXPECT_LE(worst / scale, tolerance) << name << ", largest value " << scale;
  }

  // A parameter without any effect on the loss.
  bool IsConstant(const std::string& name) const {
    const GoldenArray* gradient = golden_.Find("g." + name);
    return gradient != nullptr && Largest(*gradient) < 1e-12;
  }

  GoldenCase golden_;
};

TEST_P(Oracle, DoubleAgreesInEveryNumber) {
  Job<double> job(golden_);
  ASSERT_THAT(job.Build(/*block_rows=*/16), testing::IsEmpty());
  const double loss = job.Step();
  const auto near = [&](double tolerance) {
    return [this, tolerance](const std::string& name, const double* actual) {
      ExpectNear(name, actual, tolerance);
    };
  };
  ExpectNear("loss", &loss, 1e-10);
  ExpectNear("logit", job.logits().data(), 1e-9);
  job.ForEach("g.", job.dense_gradients(), true, near(1e-8));
  job.Update();
  for (int step = 1; step < golden_.steps(); ++step) job.Step(), job.Update();
  job.ForEach("a.", job.dense(), false, near(1e-8));
  job.ForEach("s.", job.dense(), false, near(1e-8));
  ExpectNear("scored", job.Score().data(), 1e-7);  // the momentum is the float 0.1f
}

// A constant added before BatchNorm (a bias, a LayerNorm's beta before a Linear) has no gradient:
// it is a sum of terms that cancel. In float their rounding errors are left, so such a gradient is
// compared at the scale of the model's largest one. Adam makes steps of full size of them;
// BatchNorm removes the constant again, so nothing else sees it, and after Adam it is left out.
TEST_P(Oracle, FloatAgreesToRounding) {
  Job<float> job(golden_);
  ASSERT_THAT(job.Build(/*block_rows=*/0), testing::IsEmpty());  // as the trainer does
  const double loss = job.Step();
  ExpectNear("loss", &loss, 1e-5);
  ExpectNear("logit", job.logits().data(), 1e-5);
  double largest = 0;
  for (const auto& [name, array] : golden_.arrays())
    if (name.starts_with("g.")) largest = std::max(largest, Largest(array));
  job.ForEach("g.", job.dense_gradients(), true, [&](const std::string& name, const float* actual) {
    ExpectNear(name, actual, 1e-5, IsConstant(name.substr(2)) ? largest : 1e-3);
  });
  job.Update();
  for (int step = 1; step < golden_.steps(); ++step) job.Step(), job.Update();
  job.ForEach("a.", job.dense(), false, [&](const std::string& name, const float* actual) {
    if (!IsConstant(name.substr(2))) ExpectNear(name, actual, 1e-5);
  });
}

INSTANTIATE_TEST_SUITE_P(Golden, Oracle, testing::ValuesIn(GoldenNames()),
                         [](const auto& param_info) { return param_info.param; });

// What the cases of a message set, as "MgdinConfig.schedule: GROUP" for enums and "...: set" for
// anything else; recursively.
void CollectUsed(const google::protobuf::Message& message, std::set<std::string>& used) {
  const google::protobuf::Descriptor& type = *message.GetDescriptor();
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < type.field_count(); ++i) {
    const google::protobuf::FieldDescriptor& field = *type.field(i);
    const std::string name = StrCat(type.name(), ".", field.name(), ": ");
    const bool is_set = field.is_repeated() ? reflection.FieldSize(message, &field) > 0
                                            : reflection.HasField(message, &field);
    if (field.cpp_type() == field.CPPTYPE_ENUM) {
      used.insert(name + reflection.GetEnum(message, &field)->name());
    } else if (is_set) {
      used.insert(name + "set");
      if (field.cpp_type() == field.CPPTYPE_MESSAGE)
        CollectUsed(reflection.GetMessage(message, &field), used);
    }
  }
}

void CollectPossible(const google::protobuf::Descriptor& type, std::set<std::string>& possible) {
  for (int i = 0; i < type.field_count(); ++i) {
    const google::protobuf::FieldDescriptor& field = *type.field(i);
    const std::string name = StrCat(type.name(), ".", field.name(), ": ");
    if (field.cpp_type() == field.CPPTYPE_ENUM) {
      for (int v = 0; v < field.enum_type()->value_count(); ++v)
        possible.insert(name + field.enum_type()->value(v)->name());
    } else if (field.name() != "dropout") {  // random: not part of the oracle
      possible.insert(name + "set");
      if (field.cpp_type() == field.CPPTYPE_MESSAGE)
        CollectPossible(*field.message_type(), possible);
    }
  }
}

TEST(OracleCases, EveryOptionOfEveryModelIsInSomeCase) {
  std::set<std::string> used, possible;
  CollectPossible(*proto::ModelConfig::descriptor(), possible);
  for (const std::string& name : GoldenNames()) {
    const auto golden = GoldenCase::Read(GoldenPath(name));
    ASSERT_TRUE(golden.ok()) << golden.status();
    CollectUsed(golden->model(), used);
  }
  for (const std::string& option : possible) EXPECT_TRUE(used.contains(option)) << option;
}

TEST(OracleCases, AFileWithoutTheNumbersOfAShapeIsRefused) {
  const std::string path = testing::TempDir() + "/short_golden.txt";
  std::ofstream(path) << "rows: 2\nlabel [2]: 1\n";
  EXPECT_THAT(GoldenCase::Read(path).status().message(), testing::HasSubstr(":2"));
}

}  // namespace
}  // namespace cairn::worker
