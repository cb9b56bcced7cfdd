// Removes rows for good that their tables' rules name (ps/table/eviction.h), a little at a time.
//
// A pass looks at every row once: stripe by stripe at those in memory, then at those in the
// store, some slots at a time. Its pace follows the pushes: it takes a quarter of the shortest age
// of any rule, so that a row goes at most about a quarter of its age too late, and it goes ahead in
// steps of an eighth of the pass. What a step finds, while pulls and pushes go on, is looked at
// again and removed while everything else is excluded: from the store first, durably where a log
// tells of later pushes, then from memory. So when a key comes back, neither memory nor store nor a
// recovered server has its old row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/base/status.h"
#include "ps/store/row_store.h"
#include "ps/table/embedding_table.h"
#include "ps/tier/row_tier.h"

namespace cairn::ps {

// Thread-safety: one thread. No row may leave memory between Look and the Remove behind it.
class Evictor {
 public:
  // Rows that are removed at once, about.
  static constexpr std::size_t kRowsAtOnce = 100'000;

  // The slots that are read from the store at once have about `rows_of_stop` rows, or are one slot.
  explicit Evictor(const SlotRange& slots, std::uint64_t rows_of_stop = 50'000)
      : slots_(slots), rows_of_stop_(rows_of_stop) {}

  // Whether there is something to look at when push `now` was the last one.
  bool IsDue(TableSpan tables, std::uint64_t now);
  // Looks at the next stripe or slots. Pulls and pushes may go on. Errors: of the store.
  Status Look(TableSpan tables, const RowStore& store, const EvictionTime& time);

  std::size_t found() const { return found_.size(); }
  void Forget() { found_.clear(); }
  // Removes those that were found and still are to go. The caller excludes everything else. After
  // an error rows in memory are still there.
  Status Remove(TableSpan tables, RowStore& store, const EvictionTime& time, bool durably);

 private:
  struct Found {
    RowKey row;
    EvictionReason reason;
  };

  void Begin(TableSpan tables, std::uint64_t now);
  void LookInMemory(TableSpan tables, std::size_t stop, const EvictionTime& time);
  Status LookInStore(TableSpan tables, std::uint32_t begin_slot, std::uint32_t end_slot,
                     const RowStore& store, const EvictionTime& time);
  // Leaves out what is not to go any more.
  void Check(TableSpan tables, const EvictionTime& time);

  const SlotRange slots_;
  const std::uint64_t rows_of_stop_;
  // Of the pass: the push at which it began, and the stop that is next.
  std::uint64_t began_ = 0;
  std::size_t next_ = 0;
  std::size_t stops_in_memory_ = 0;   // a stripe each
  std::uint32_t stops_in_store_ = 0;  // equal shares of the slots
  std::vector<Found> found_;
};

}  // namespace cairn::ps
