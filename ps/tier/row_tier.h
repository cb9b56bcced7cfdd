// Keeps the rows of a server's tables within its memory: decides when rows must leave, which ones,
// and writes them to the store.
//
// A round has two steps. WriteBack, while pulls and pushes go on, walks over stripes, writes the
// dirty rows among those that are cold, and remembers the stripes; Drop, which excludes everything
// else for the time of a walk over the same stripes, forgets the cold rows that are clean. The rule
// of a round (spill.h) comes from a sample of the rows in memory: it names about the coldest
// quarter, so that a round looks at four rows for each that leaves. Tables with l2_rows: ALL stay
// in memory, as every push changes each of their rows.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "ps/store/row_store.h"
#include "ps/table/embedding_table.h"
#include "ps/table/spill.h"

namespace cairn::ps {

using TableSpan = std::span<const std::unique_ptr<EmbeddingTable>>;

// Writes the batch and empties it. After an error its rows are dirty again in their tables.
// `before` is called first, when the rows have been copied; its error is taken for the store's.
Status WriteRows(TableSpan tables, const SlotRange& slots, RowStore& store, RowBatch* batch,
                 const std::function<Status()>& before = {});

// Thread-safety: NeedsRoom and IsFull at any time; the rest from one thread.
class RowTier {
 public:
  // What the limit is for.
  enum class Scope {
    kTables,   // rows, index and store
    kProcess,  // the anonymous memory of this process, whoever has it
  };

  // 0: no limit.
  RowTier(std::uint64_t memory_bytes, Scope scope) : memory_bytes_(memory_bytes), scope_(scope) {}

  // Bytes of rows that are written at once, about, and at most: the more, the less the store has to
  // merge.
  std::size_t BatchBytes() const { return MostBatchBytes() / 2; }
  std::size_t MostBatchBytes() const;

  bool is_bounded() const { return memory_bytes_ != 0; }
  // Rows should leave; and nothing more must come to memory before some have left.
  bool NeedsRoom(TableSpan tables) const;
  bool IsFull(TableSpan tables) const;
  // For the thread that calls WriteBack, empty between its uses: its memory is counted.
  RowBatch& batch() { return batch_; }
  // What is not for rows is taken off the limit: the store's memory, or whatever the process has
  // besides, and pages of rows and index that are not full.
  void MeasureRest(TableSpan tables, const RowStore& store);
  // As of the last MeasureRest.
  std::uint64_t bytes_for_rows() const {
    return static_cast<std::uint64_t>(limit_.load(std::memory_order_relaxed));
  }
  // Keeps so much of the memory free from now on, for rows that are to come.
  void SetAside(std::uint64_t bytes, TableSpan tables, const RowStore& store) {
    set_aside_ = static_cast<std::int64_t>(bytes);
    MeasureRest(tables, store);
  }

  // One round; `now` is the number of the last push. Errors: of the store; nothing is lost then.
  // `before`: see WriteRows.
  Status WriteBack(TableSpan tables, const SlotRange& slots, RowStore& store, std::uint64_t now,
                   const std::function<Status()>& before = {});
  // The caller excludes everything else. Returns the bytes freed.
  std::uint64_t Drop(TableSpan tables);

 private:
  struct Stop {
    std::size_t table;
    std::uint32_t stripe;
  };

  static std::int64_t MemoryOf(TableSpan tables);
  SpillRule MakeRule(TableSpan tables, std::uint64_t now);

  const std::uint64_t memory_bytes_;
  const Scope scope_;
  std::atomic<std::int64_t> limit_{0};  // of rows and index
  std::int64_t set_aside_ = 0;
  std::int64_t rest_ = 0;  // its recent maximum
  bool told_ = false;      // that the memory is too small
  RowBatch batch_;
  Stop next_{0, 0};  // where the walk goes on
  std::uint64_t round_ = 0;
  SpillRule rule_;
  std::vector<Stop> stops_;  // of the round
};

}  // namespace cairn::ps
