// The model's inputs. An op reads the batch's field with the index spec.field. Several of these ops
// may read one table: a table's gradients are the sum over all of them.
#pragma once

#include <span>

#include "worker/data/batch.h"
#include "worker/nn/graph.h"

namespace cairn::worker::nn {

// [fields, dim], in the order of `fields`, which may be a part of the job's:
//   categorical  the value's row of the field's table
//   sequence     mean or sum of the values' rows; zeros for an empty sequence
//   numeric      number times the learned vector "numeric.<field>", a dense parameter, initially
//                normal with spec.numeric_stddev; if that is 0, with sqrt(2 / (1 + dim)), or zero
//                if dim is 1, a first-order weight
// Gradients of the tables' unique rows do not depend on the number of threads.
// InvalidArgument if there is no field, dimensions differ, or one is a history. A numeric field may
// be read by one op only.
Result<Tensor> FieldEmbeddings(GraphBuilder& graph, std::span<const FieldSpec> fields);

// A history as [spec.max_length, dim]: the last max_length values, the oldest first, padded with
// zeros in front. InvalidArgument unless spec.IsHistory().
Result<Tensor> HistoryEmbeddings(GraphBuilder& graph, const FieldSpec& spec);

// [T]: 1 where position t of at least one of the histories (all of one max_length) holds a value,
// else 0. No gradient.
Result<Tensor> HistoryMask(GraphBuilder& graph, std::span<const FieldSpec> histories);

// [fields]: the numbers of numeric fields as they are. No gradient.
Result<Tensor> Numbers(GraphBuilder& graph, std::span<const FieldSpec> fields);

}  // namespace cairn::worker::nn
