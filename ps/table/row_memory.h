// Memory of one table's rows. A row has a number and two parts, each in an array of its own: the
// value, which pulls read, and the rest (optimizer state, metadata), which only pushes touch. So a
// pull of a row with a power of two of floats reads whole cache lines and nothing else.
//
// Free rows are handed out lowest first, so that the rows in use gather at the front, and the pages
// behind them can go back to the kernel.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "common/base/mutex.h"
#include "ps/table/row_arena.h"

namespace cairn::ps {

// Thread-safety: all methods at once. The caller orders use of a row after its allocation.
class RowMemory {
 public:
  // Bytes of the two parts of a row, each above 0.
  RowMemory(std::size_t value_bytes, std::size_t rest_bytes)
      : row_bytes_(value_bytes + rest_bytes), values_(value_bytes), rests_(rest_bytes) {}

  // Appends the numbers of rows that nobody else has, at least one and at most `most`. What is in
  // them is of no account.
  void Take(std::size_t most, std::vector<std::uint32_t>* rows) EXCLUDES(mu_);
  // One below `bound`, if there is one.
  std::optional<std::uint32_t> TakeBelow(std::uint32_t bound) EXCLUDES(mu_);
  void Return(std::span<const std::uint32_t> rows) EXCLUDES(mu_);
  // Gives the pages behind the last row in use back to the kernel.
  void Trim() EXCLUDES(mu_);

  // Rows in use have numbers below end(); used() of these are in use.
  std::uint32_t end() const { return end_.load(std::memory_order_relaxed); }
  std::uint32_t used() const { return used_.load(std::memory_order_relaxed); }
  // Memory of all pages up to end().
  std::size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  std::size_t row_bytes() const { return row_bytes_; }

  std::byte* Value(std::uint32_t row) const { return values_.Row(row); }
  std::byte* Rest(std::uint32_t row) const { return rests_.Row(row); }

 private:
  // Lowest free row; there is one.
  std::uint32_t TakeLowest() REQUIRES(mu_);
  void AddBlock() REQUIRES(mu_);

  const std::size_t row_bytes_;
  Mutex mu_;
  RowArena values_;  // the arenas number their rows alike; their rows are read without the lock
  RowArena rests_;
  // Bit i of free_[b]: row 64 * b + i.
  std::vector<std::uint64_t> free_ GUARDED_BY(mu_);
  std::size_t first_free_ GUARDED_BY(mu_) = 0;  // no block before it has a free row
  std::size_t free_count_ GUARDED_BY(mu_) = 0;
  std::atomic<std::uint32_t> end_{0}, used_{0};
  std::atomic<std::size_t> bytes_{0};
};

}  // namespace cairn::ps
