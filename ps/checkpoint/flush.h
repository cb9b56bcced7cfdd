// Writes what changed in memory to a store.
#pragma once

#include <memory>
#include <span>

#include "common/base/status.h"
#include "ps/dense/dense_parameters.h"
#include "ps/store/row_store.h"
#include "ps/table/embedding_table.h"

namespace cairn::ps {

// Rows that are sorted in memory at once; more are written in several rounds by ranges of slots.
inline constexpr std::size_t kFlushRows = 8u << 20;

// Writes every dirty row and dense chunk, sorted by storage key. Marks nothing clean: the caller
// does once the snapshot is complete. The caller excludes pushes.
Status FlushDirty(std::span<const std::unique_ptr<EmbeddingTable>> tables,
                  const DenseParameters& dense, const SlotRange& slots, RowStore& store,
                  std::size_t rows_at_once = kFlushRows);

// The dense chunks of it alone.
Status FlushDense(const DenseParameters& dense, RowStore& store);

}  // namespace cairn::ps
