// What the tests of layers share.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/worker/nn/gradient_check.h"
#include "worker/nn/op.h"
#include "worker/nn/ops/embedding.h"
#include "worker/nn/ops/mix.h"

namespace cairn::worker::layers {

using BuildLayer = std::function<Result<nn::Tensor>(nn::GraphBuilder&, const nn::Tensor&)>;

// The layer on embeddings [fields, dim], and a logit of all its values.
inline nn::BuildGraph OnEmbeddings(const BuildLayer& layer) {
  return [layer](nn::GraphBuilder& g, const std::vector<FieldSpec>& fields) -> Result<nn::Tensor> {
    ASSIGN_OR_RETURN(const nn::Tensor x, nn::FieldEmbeddings(g, fields), "test");
    ASSIGN_OR_RETURN(const nn::Tensor y, layer(g, x), "test");
    const auto size = static_cast<std::uint32_t>(y.Size());
    ASSIGN_OR_RETURN(const nn::Parameter w,
                     g.AddParameter({.name = "to_logit", .dims = {size, 1}}, nn::Init::Normal(0.5)),
                     "test");
    return nn::Linear(g, "to_logit", y, w, std::nullopt);
  };
}

struct ParameterView {
  DenseTensor tensor;
  std::vector<float> values;  // initial
};

// The parameters that the layer adds on embeddings [fields, dim], by name; and its output's shape.
struct LayerParameters {
  std::map<std::string, ParameterView> by_name;
  std::vector<std::uint32_t> dims;
  std::size_t trained = 0;

  LayerParameters(const BuildLayer& layer, int fields, std::uint32_t dim) {
    nn::GraphBuilder graph(5);
    const auto x = nn::FieldEmbeddings(graph, nn::CategoricalFields(fields, dim, 1));
    const auto y = layer(graph, *x);
    EXPECT_TRUE(y.ok()) << y.status();
    if (y.ok()) dims = y->dims;
    trained = graph.TrainedFloats();
    const std::vector<float> values = graph.InitialValues();
    auto from = values.begin();
    for (const DenseTensor& tensor : graph.layout()) {
      by_name[tensor.name] = {tensor, {from, from + tensor.Floats()}};
      from += tensor.Floats();
    }
  }
  const DenseTensor& operator[](const std::string& name) const { return by_name.at(name).tensor; }
  // Root of the mean square of the initial values.
  double Deviation(const std::string& name) const {
    const std::vector<float>& values = by_name.at(name).values;
    double square = 0;
    for (float value : values) square += value * value / values.size();
    return std::sqrt(square);
  }
};

}  // namespace cairn::worker::layers
