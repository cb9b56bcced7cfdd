#include "ps/table/row_arena.h"

#include <algorithm>
#include <bit>

#include <glog/logging.h>

namespace cairn::ps {
namespace {

constexpr std::size_t kSlabBytes = 4u << 20;  // at most, but at least one block
constexpr std::size_t kLargestRegion = 256u << 20;
constexpr std::uint64_t kMaxTableBytes = 1ull << 40;

std::uint32_t SlabShift(std::size_t stride) {
  const std::size_t rows = std::max<std::size_t>(kSlabBytes / stride, RowArena::kBlockRows);
  return static_cast<std::uint32_t>(std::bit_width(rows) - 1);
}

}  // namespace

RowArena::RowArena(std::size_t stride)
    : stride_(stride),
      slab_shift_(SlabShift(stride)),
      slab_mask_((1u << slab_shift_) - 1),
      max_rows_(std::min<std::uint64_t>(kMaxTableBytes / stride, 0xffffffc0u)),
      slab_table_(((max_rows_ >> slab_shift_) + 1) * sizeof(std::atomic<std::byte*>),
                  Pages::Huge::kNo) {
  CHECK_GT(stride, 0u);
}

std::uint32_t RowArena::AllocateBlock() {
  MutexLock lock(mu_);
  CHECK_LE(next_row_ + kBlockRows, max_rows_) << "a table has outgrown its arena";
  const auto first = static_cast<std::uint32_t>(next_row_);
  if ((first & slab_mask_) == 0) {
    slabs()[first >> slab_shift_].store(CutSlab(), std::memory_order_relaxed);
  }
  next_row_ += kBlockRows;
  return first;
}

std::byte* RowArena::CutSlab() {
  const std::size_t slab = stride_ << slab_shift_;
  if (regions_.empty() || region_used_ + slab > regions_.back().bytes()) {
    // The first region is not advised: a huge page would be more than a small table needs.
    const std::size_t bytes =
        regions_.empty() ? slab
                         : std::max(slab, std::min(2 * regions_.back().bytes(), kLargestRegion));
    regions_.emplace_back(bytes, regions_.empty() ? Pages::Huge::kNo : Pages::Huge::kAdvise);
    region_used_ = 0;
  }
  std::byte* const out = regions_.back().data() + region_used_;
  region_used_ += slab;
  return out;
}

std::size_t RowArena::ReservedBytes() const {
  MutexLock lock(mu_);
  std::size_t sum = 0;
  for (const Pages& region : regions_) sum += region.bytes();
  return sum;
}

}  // namespace cairn::ps
