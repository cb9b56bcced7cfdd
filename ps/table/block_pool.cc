#include "ps/table/block_pool.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include <glog/logging.h>

namespace cairn::ps {

std::size_t BlockPool::RegionBytes(std::size_t bytes) {
  std::size_t region = 2u << 20;
  while (region < 32 * bytes) region *= 8;
  return region;
}

// A whole number of blocks fills the region; whole huge pages beyond the largest block.
std::size_t BlockPool::RoundUp(std::size_t bytes) {
  constexpr std::size_t kHugePage = 2u << 20;
  if (bytes > kLargestBlock) return (bytes + kHugePage - 1) / kHugePage * kHugePage;
  if (bytes < kSmallestBlock) {
    const std::size_t power = std::bit_ceil(std::max<std::size_t>(bytes, 256));
    return bytes <= power / 4 * 3 ? power / 4 * 3 : power;
  }
  const std::size_t region = RegionBytes(bytes);
  return region / (region / bytes) / 64 * 64;
}

BlockPool::Block BlockPool::Allocate(std::size_t bytes) {
  Block block;
  block.bytes_ = RoundUp((bytes + 63) / 64 * 64);
  if (block.bytes_ < kSmallestBlock || block.bytes_ > kLargestBlock) {
    block.own_ = Pages(block.bytes_, Pages::Huge::kAdvise);
    block.data_ = block.own_.data();
    return block;
  }
  block.pool_ = this;
  MutexLock lock(mu_);
  for (Region& region : regions_) {
    if (region.block_bytes != block.bytes_) continue;
    const auto free = std::ranges::find(region.used, false);
    if (free == region.used.end()) continue;
    *free = true;
    block.data_ =
        region.pages.data() + static_cast<std::size_t>(free - region.used.begin()) * block.bytes_;
    std::memset(block.data_, 0, block.bytes_);  // it may have been in use before
    return block;
  }
  const std::size_t region_bytes = RegionBytes(block.bytes_);
  Region& region =
      regions_.emplace_back(Region{Pages(region_bytes, Pages::Huge::kAdvise), block.bytes_,
                                   std::vector<bool>(region_bytes / block.bytes_)});
  region.used[0] = true;
  block.data_ = region.pages.data();
  return block;
}

void BlockPool::Free(const std::byte* data) {
  MutexLock lock(mu_);
  const auto region = std::ranges::find_if(regions_, [data](const Region& r) {
    return data >= r.pages.data() && data < r.pages.data() + r.pages.bytes();
  });
  CHECK(region != regions_.end()) << "a block of another pool";
  region->used[static_cast<std::size_t>(data - region->pages.data()) / region->block_bytes] = false;
  if (std::ranges::find(region->used, true) == region->used.end()) regions_.erase(region);
}

}  // namespace cairn::ps
