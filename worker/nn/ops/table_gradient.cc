#include "worker/nn/ops/table_gradient.h"

#include <algorithm>

#include "common/base/thread_pool.h"

namespace cairn::worker::nn {

void DealRows(std::span<const TableLoad> loads,
              std::vector<std::vector<RowRange>>* ranges_of_thread) {
  const std::size_t threads = ranges_of_thread->size();
  std::size_t total = 0;
  for (const TableLoad& load : loads) total += load.occurrences;
  std::vector<RowRange> ranges;
  for (const TableLoad& load : loads) {
    const std::size_t parts = load.occurrences * threads > total ? threads : 1;
    for (std::size_t part = 0; part < parts; ++part)
      ranges.push_back({load.table, PartBegin(load.unique_rows, parts, part),
                        PartBegin(load.unique_rows, parts, part + 1),
                        load.occurrences / parts + 1});
  }
  std::stable_sort(ranges.begin(), ranges.end(),
                   [](const RowRange& a, const RowRange& b) { return a.cost > b.cost; });
  for (auto& list : *ranges_of_thread) list.clear();
  std::vector<std::size_t> cost(threads, 0);
  for (const RowRange& range : ranges) {
    const std::size_t t = std::min_element(cost.begin(), cost.end()) - cost.begin();
    cost[t] += range.cost;
    (*ranges_of_thread)[t].push_back(range);
  }
}

Status AddTableUse(const GraphBuilder& graph, std::string_view field, int table, std::uint32_t dim,
                   OpDef* def) {
  const auto check = [&](const OpDef& op) -> Status {
    for (const TableUse& use : op.tables)
      if (use.table == table && use.dim != dim)
        return absl::InvalidArgumentError(StrCat("op '", def->name, "': field '", field,
                                                 "' reads table ", table, " with dimension ", dim,
                                                 ", but op '", op.name, "' with ", use.dim));
    return OkStatus();
  };
  for (const OpDef& op : graph.ops()) RETURN_IF_ERROR(check(op), "a table has one dimension");
  RETURN_IF_ERROR(check(*def), "a table has one dimension");
  const bool is_there = std::any_of(def->tables.begin(), def->tables.end(),
                                    [&](const TableUse& use) { return use.table == table; });
  if (!is_there) def->tables.push_back({table, dim});
  return OkStatus();
}

}  // namespace cairn::worker::nn
