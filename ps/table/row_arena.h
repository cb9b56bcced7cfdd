// An array of equal records that grows without moving them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/base/mutex.h"
#include "ps/table/pages.h"

namespace cairn::ps {

// Rows of `stride` bytes, zero at first, numbered from 0 and handed out in
// blocks of 64. Rows lie in slabs of a power of two of rows; slabs are cut from regions that grow
// with the table, so that a small table costs a few pages and a large one lies in huge pages.
// Thread-safety: all methods at once. The caller orders use of a row after its allocation.
class RowArena {
 public:
  static constexpr std::uint32_t kBlockRows = 64;

  explicit RowArena(std::size_t stride);
  RowArena(const RowArena&) = delete;
  RowArena& operator=(const RowArena&) = delete;

  // Number of the first row of a block that nobody else has.
  std::uint32_t AllocateBlock() EXCLUDES(mu_);

  std::byte* Row(std::uint32_t row) const {
    return slabs()[row >> slab_shift_].load(std::memory_order_relaxed) +
           std::size_t{row & slab_mask_} * stride_;
  }

  // Address space of the regions; pages that no row has touched cost nothing yet.
  std::size_t ReservedBytes() const EXCLUDES(mu_);

 private:
  std::atomic<std::byte*>* slabs() const {
    return reinterpret_cast<std::atomic<std::byte*>*>(slab_table_.data());
  }
  std::byte* CutSlab() REQUIRES(mu_);

  const std::size_t stride_;
  const std::uint32_t slab_shift_;
  const std::uint32_t slab_mask_;
  const std::uint64_t max_rows_;
  Pages slab_table_;  // of std::atomic<std::byte*>, filled from the front
  mutable Mutex mu_;
  std::uint64_t next_row_ GUARDED_BY(mu_) = 0;
  std::vector<Pages> regions_ GUARDED_BY(mu_);
  std::size_t region_used_ GUARDED_BY(mu_) = 0;  // of the last region
};

}  // namespace cairn::ps
