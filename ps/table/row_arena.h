// An array of equal records that grows without moving them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "ps/table/pages.h"

namespace cairn::ps {

// Rows of `stride` bytes, numbered from 0, that begin as zeros. Rows lie in slabs of a power of two
// of rows; slabs are cut from regions that grow with the table, so that a small table costs a few
// pages and a large one lies in huge pages.
// Thread-safety: Row at any time, for rows that are there; the rest wants a lock.
class RowArena {
 public:
  static constexpr std::uint32_t kBlockRows = 64;

  explicit RowArena(std::size_t stride);
  RowArena(const RowArena&) = delete;
  RowArena& operator=(const RowArena&) = delete;

  // Makes kBlockRows more rows, behind the others. What a row had in it that Trim took is gone, or
  // still there.
  void AddBlock();
  // Leaves only the first `rows` rows, a multiple of kBlockRows, and gives the pages behind them
  // back to the kernel.
  void Trim(std::size_t rows);

  std::byte* Row(std::uint32_t row) const {
    return slabs()[row >> slab_shift_].load(std::memory_order_relaxed) +
           std::size_t{row & slab_mask_} * stride_;
  }

  // Of all pages that have a row.
  std::size_t bytes() const { return bytes_; }

 private:
  struct Region {
    Pages pages;
    std::size_t first_slab;
  };

  std::atomic<std::byte*>* slabs() const {
    return reinterpret_cast<std::atomic<std::byte*>*>(slab_table_.data());
  }
  std::byte* CutSlab(std::size_t slab);
  // Bytes of the region before that row, or all that it can have.
  std::size_t BytesBefore(std::size_t row, const Region& region) const;
  std::size_t Measure() const;

  const std::size_t stride_;
  const std::uint32_t slab_shift_;
  const std::uint32_t slab_mask_;
  const std::uint64_t max_rows_;
  Pages slab_table_;  // of std::atomic<std::byte*>, filled from the front; slabs stay
  std::uint64_t rows_ = 0;
  std::size_t slab_count_ = 0;
  std::vector<Region> regions_;
  std::size_t bytes_ = 0;
};

}  // namespace cairn::ps
