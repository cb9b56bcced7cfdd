// Checks a graph's gradients: double precision against central differences, and float on every
// instruction set of this CPU against double.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "worker/data/batch.h"
#include "worker/nn/graph.h"

namespace cairn::worker::nn {

// A random problem for a list of fields, whose FieldSpec::field are 0, 1, ... in any order.
struct Problem {
  std::vector<FieldSpec> fields;
  std::uint32_t rows = 1;
  std::uint32_t unique_rows = 7;  // of each table
  double value_stddev = 0.7;      // of the tables' rows
  std::uint64_t seed = 1;
};

// `count` categorical fields of width `dim`, field i (in the batch as well) with table i % tables.
std::vector<FieldSpec> CategoricalFields(int count, std::uint32_t dim, int tables);

// Inputs, parameters and results of one step on a graph of type T.
template <typename T>
struct StepData {
  Batch batch;
  std::vector<std::vector<T>> values, gradients;  // of each table
  std::vector<T> dense, dense_gradients, logits;
  std::uint64_t step = 3;

  StepData(const Problem& problem, const GraphBuilder& builder);
  BasicStepInput<T> Input();
  StepResult Train(BasicGraph<T>& graph);
  std::vector<T> Score(BasicGraph<T>& graph);

 private:
  std::vector<BasicTableRows<T>> tables_;
};

using BuildGraph = std::function<Result<Tensor>(GraphBuilder&, const std::vector<FieldSpec>&)>;

struct CheckOptions {
  int threads = 1;
  std::size_t block_rows = 0;
  int samples = 12;         // checked entries of each parameter and table
  double step = 1e-5;       // of the differences
  double tolerance = 2e-6;  // of a gradient, relative to the largest of its tensor
  double float_tolerance = 2e-4;
};

// Reports failures through GoogleTest. Statistics (which are no gradients) are left out.
void CheckGradients(const BuildGraph& build, const Problem& problem, const CheckOptions& options);

// The instruction sets that this CPU can run.
std::vector<Isa> RunnableIsas();

}  // namespace cairn::worker::nn
