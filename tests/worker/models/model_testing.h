// Helpers of the models' tests.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "proto/config.pb.h"
#include "tests/worker/nn/gradient_check.h"
#include "worker/models/model.h"

namespace cairn::worker {

// ModelConfig from its text: "dlf { layers: 2 }". Of an option that is given twice the last counts.
inline proto::ModelConfig Model(const std::string& text) {
  proto::ModelConfig config;
  EXPECT_TRUE(google::protobuf::TextFormat::MergeFromString(text, &config)) << text;
  return config;
}

inline nn::BuildGraph Builder(const proto::ModelConfig& config, std::uint64_t seed = 1) {
  return [config, seed](nn::GraphBuilder& graph, const std::vector<FieldSpec>& fields) {
    return (*FindModel(config))->build(config, {.fields = fields, .seed = seed}, graph);
  };
}

// Categorical fields of which field i has the density densities[i].
inline std::vector<FieldSpec> DenseFields(const std::vector<double>& densities, std::uint32_t dim,
                                          int tables) {
  auto fields = nn::CategoricalFields(static_cast<int>(densities.size()), dim, tables);
  for (std::size_t i = 0; i < fields.size(); ++i) {
    fields[i].field = static_cast<int>(i);
    fields[i].density = densities[i];
  }
  return fields;
}

inline std::size_t TrainedFloats(const proto::ModelConfig& config,
                                 const std::vector<FieldSpec>& fields) {
  nn::GraphBuilder graph(1);
  const auto logit = Builder(config)(graph, fields);
  EXPECT_TRUE(logit.ok()) << logit.status();
  return graph.TrainedFloats();
}

inline Status BuildError(const proto::ModelConfig& config, const std::vector<FieldSpec>& fields) {
  nn::GraphBuilder graph(1);
  return Builder(config)(graph, fields).status();
}

inline std::vector<std::string> ParameterNames(const nn::GraphBuilder& graph) {
  std::vector<std::string> names;
  for (const DenseTensor& tensor : graph.layout()) names.push_back(tensor.name);
  return names;
}

// A model in double precision with random inputs and parameters off their initial values.
class SmallModel {
 public:
  SmallModel(const proto::ModelConfig& config, const nn::Problem& problem,
             std::uint64_t model_seed = 1)
      : builder_(model_seed), logit_(Build(config, problem, model_seed)), data_(problem, builder_) {
    auto graph = nn::BasicGraph<double>::Make(builder_, logit_, {.max_rows = problem.rows});
    EXPECT_TRUE(graph.ok()) << graph.status();
    graph_ = std::move(*graph);
  }

  std::vector<double> Score() { return data_.Score(*graph_); }
  // Logits of a training step.
  std::vector<double> Train() {
    EXPECT_EQ(data_.Train(*graph_).first_non_finite_row, -1);
    return data_.logits;
  }

  bool Has(const std::string& name) const {
    const auto names = ParameterNames(builder_);
    return std::find(names.begin(), names.end(), name) != names.end();
  }
  // A parameter's values, to read or write; its shape.
  std::span<double> Values(const std::string& name) {
    const auto [offset, index] = Find(name);
    return {data_.dense.data() + offset, builder_.layout()[index].Floats()};
  }
  std::span<const double> Gradients(const std::string& name) {
    const auto [offset, index] = Find(name);
    return {data_.dense_gradients.data() + offset, builder_.layout()[index].Floats()};
  }
  std::vector<std::uint32_t> Dims(const std::string& name) const {
    return builder_.layout()[Find(name).second].dims;
  }
  void Fill(const std::string& name, double value) {
    for (double& v : Values(name)) v = value;
  }
  // Values of the parameters that `other` has as well, by name.
  void CopyFrom(SmallModel& other) {
    for (const std::string& name : ParameterNames(builder_))
      if (other.Has(name)) {
        const auto from = other.Values(name);
        std::copy(from.begin(), from.end(), Values(name).begin());
      }
  }

  // The batch and the tables' rows of `other`.
  void TakeInputs(const SmallModel& other) {
    data_.batch = other.data_.batch;
    data_.values = other.data_.values;
  }

  nn::StepData<double>& data() { return data_; }
  const nn::GraphBuilder& builder() const { return builder_; }

 private:
  nn::Tensor Build(const proto::ModelConfig& config, const nn::Problem& problem,
                   std::uint64_t seed) {
    const auto logit = Builder(config, seed)(builder_, problem.fields);
    EXPECT_TRUE(logit.ok()) << logit.status();
    return logit.value_or(nn::Tensor{});
  }
  std::pair<std::size_t, std::size_t> Find(const std::string& name) const {
    std::size_t offset = 0, index = 0;
    for (const DenseTensor& tensor : builder_.layout()) {
      if (tensor.name == name) return {offset, index};
      offset += tensor.Floats(), ++index;
    }
    ADD_FAILURE() << "no parameter " << name;
    return {0, 0};
  }

  nn::GraphBuilder builder_;
  nn::Tensor logit_;
  nn::StepData<double> data_;
  std::unique_ptr<nn::BasicGraph<double>> graph_;
};

}  // namespace cairn::worker
