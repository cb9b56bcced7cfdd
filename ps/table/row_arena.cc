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

void RowArena::AddBlock() {
  CHECK_LE(rows_ + kBlockRows, max_rows_) << "a table has outgrown its arena";
  if (const std::size_t slab = rows_ >> slab_shift_; slab == slab_count_) {
    slabs()[slab].store(CutSlab(slab), std::memory_order_relaxed);
    ++slab_count_;
  }
  rows_ += kBlockRows;
  bytes_ = Measure();
}

std::byte* RowArena::CutSlab(std::size_t slab) {
  const std::size_t bytes = stride_ << slab_shift_;
  if (regions_.empty() ||
      (slab - regions_.back().first_slab + 1) * bytes > regions_.back().pages.bytes()) {
    // The first region is not advised: a huge page would be more than a small table needs.
    const std::size_t wanted =
        regions_.empty()
            ? bytes
            : std::max(bytes, std::min(2 * regions_.back().pages.bytes(), kLargestRegion));
    regions_.push_back(
        {Pages(wanted, regions_.empty() ? Pages::Huge::kNo : Pages::Huge::kAdvise), slab});
  }
  return regions_.back().pages.data() + (slab - regions_.back().first_slab) * bytes;
}

std::size_t RowArena::BytesBefore(std::size_t row, const Region& region) const {
  const std::size_t slab = row >> slab_shift_;
  if (slab < region.first_slab) return 0;
  const std::size_t before = (((slab - region.first_slab) << slab_shift_) + (row & slab_mask_));
  return std::min(before * stride_, region.pages.bytes());
}

std::size_t RowArena::Measure() const {
  std::size_t sum = 0;
  for (const Region& region : regions_) {
    const std::size_t grain = region.pages.grain();
    sum += (BytesBefore(rows_, region) + grain - 1) / grain * grain;
  }
  return sum;
}

void RowArena::Trim(std::size_t rows) {
  CHECK_LE(rows, rows_);
  for (Region& region : regions_) {
    const std::size_t grain = region.pages.grain();
    const std::size_t end = (BytesBefore(rows_, region) + grain - 1) / grain * grain;
    region.pages.Release(BytesBefore(rows, region), std::min(end, region.pages.bytes()));
  }
  rows_ = rows;
  bytes_ = Measure();
}

}  // namespace cairn::ps
