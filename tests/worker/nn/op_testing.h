// What the tests of single ops share.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/worker/nn/gradient_check.h"
#include "worker/nn/ops/embedding.h"
#include "worker/nn/ops/mix.h"

namespace cairn::worker::nn {

inline Parameter NewParameter(GraphBuilder& graph, std::string name,
                              std::vector<std::uint32_t> dims, bool is_statistic = false) {
  return *graph.AddParameter(
      {.name = std::move(name), .dims = std::move(dims), .is_statistic = is_statistic},
      Init::Normal(0.5));
}

// One logit from any tensor: a Linear of its values.
inline Tensor ToLogit(GraphBuilder& graph, const Tensor& x) {
  const auto size = static_cast<std::uint32_t>(x.Size());
  return *Linear(graph, "to_logit", x, NewParameter(graph, "to_logit.w", {size, 1}), std::nullopt);
}

// What is done to the embeddings [fields, dim] of a case.
struct OpCase {
  std::string name;
  std::function<Tensor(GraphBuilder&, const Tensor&)> build;
};

// One row, part panels, several blocks and threads, odd widths.
struct OpShape {
  int fields;
  std::uint32_t dim;
  std::uint32_t rows;
  int threads;
};
inline constexpr OpShape kOpShapes[] = {
    {3, 4, 1, 1}, {5, 3, 16, 1}, {2, 7, 37, 1}, {5, 17, 70, 3}, {1, 1, 5, 3}};

inline void CheckOpGradients(const OpCase& op, const OpShape& shape) {
  const BuildGraph build = [&](GraphBuilder& graph, const std::vector<FieldSpec>& fields) {
    const Result<Tensor> x = FieldEmbeddings(graph, fields);
    return Result<Tensor>(ToLogit(graph, op.build(graph, *x)));
  };
  CheckGradients(build,
                 {.fields = CategoricalFields(shape.fields, shape.dim, 2), .rows = shape.rows},
                 {.threads = shape.threads, .block_rows = 16});
}

inline std::string NameOfShape(const OpShape& shape) {
  return StrCat(shape.fields, "x", shape.dim, "_rows", shape.rows, "_threads", shape.threads);
}

}  // namespace cairn::worker::nn
