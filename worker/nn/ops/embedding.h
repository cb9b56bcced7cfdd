// The model's input: one embedding per field.
#pragma once

#include <span>

#include "worker/data/batch.h"
#include "worker/nn/graph.h"

namespace cairn::worker::nn {

// [fields, dim], in the order of `fields`:
//   categorical  the value's row of the field's table
//   sequence     mean or sum of the values' rows; zeros for an empty sequence
//   numeric      number times the learned vector "numeric.<field>", a dense parameter, initially
//                Xavier normal, standard deviation sqrt(2 / (1 + dim))        (models.md 1.2)
// Gradients of the tables' unique rows are summed by one thread each, in the order of fields and
// rows: they do not depend on the number of threads.
// InvalidArgument if there is no field or dimensions differ. At most one per graph.
Result<Tensor> FieldEmbeddings(GraphBuilder& graph, std::span<const FieldSpec> fields);

}  // namespace cairn::worker::nn
