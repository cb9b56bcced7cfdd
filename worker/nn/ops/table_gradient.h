// How the gradients of tables' unique rows are summed: rows are dealt to threads, so that one
// thread sums all of a row's gradients, in the order of the batch.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "worker/nn/op.h"

namespace cairn::worker::nn {

// Unique rows [begin, end) of a table, whose gradients one thread sums.
struct RowRange {
  std::size_t table = 0;
  std::size_t begin = 0, end = 0;
  std::size_t cost = 0;  // occurrences to look at
};

// A table that an op reads in this step.
struct TableLoad {
  std::size_t table = 0;
  std::size_t unique_rows = 0;
  std::size_t occurrences = 0;
};

// Whole tables go to threads, the costly ones first, each to the thread with the least so far; a
// table that alone is more than a thread's share is cut into ranges of rows.
// ranges_of_thread: [threads], overwritten.
void DealRows(std::span<const TableLoad> loads,
              std::vector<std::vector<RowRange>>* ranges_of_thread);

// Adds a use of `table` to `def`, unless it is there. InvalidArgument, naming `field`, if the op or
// another op of the graph reads the table with another dimension.
Status AddTableUse(const GraphBuilder& graph, std::string_view field, int table, std::uint32_t dim,
                   OpDef* def);

}  // namespace cairn::worker::nn
