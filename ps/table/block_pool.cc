#include "ps/table/block_pool.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include <glog/logging.h>

namespace cairn::ps {

// 2^k or 3 * 2^(k-1); whole huge pages once it is more than one.
std::size_t BlockPool::RoundUp(std::size_t bytes) {
  if (bytes > kLargestBlock) return (bytes + kRegionBytes - 1) / kRegionBytes * kRegionBytes;
  const std::size_t power = std::bit_ceil(std::max<std::size_t>(bytes, 256));
  return bytes <= power / 4 * 3 ? power / 4 * 3 : power;
}

BlockPool::Block BlockPool::Allocate(std::size_t bytes) {
  Block block;
  block.bytes_ = RoundUp(bytes);
  if (block.bytes_ < kSmallestBlock || block.bytes_ > kLargestBlock) {
    block.own_ = Pages(block.bytes_, Pages::Huge::kAdvise);
    block.data_ = block.own_.data();
    return block;
  }
  block.pool_ = this;
  MutexLock lock(mu_);
  const std::size_t blocks = kRegionBytes / block.bytes_;
  for (Region& region : regions_) {
    if (region.block_bytes != block.bytes_ || region.used.count() == blocks) continue;
    std::size_t free = 0;
    while (region.used[free]) ++free;
    region.used.set(free);
    block.data_ = region.pages.data() + free * block.bytes_;
    std::memset(block.data_, 0, block.bytes_);  // it may have been in use before
    return block;
  }
  Region& region =
      regions_.emplace_back(Region{Pages(kRegionBytes, Pages::Huge::kAdvise), block.bytes_, {}});
  region.used.set(0);
  block.data_ = region.pages.data();
  return block;
}

void BlockPool::Free(const std::byte* data) {
  MutexLock lock(mu_);
  const auto region = std::ranges::find_if(regions_, [data](const Region& r) {
    return data >= r.pages.data() && data < r.pages.data() + kRegionBytes;
  });
  CHECK(region != regions_.end()) << "a block of another pool";
  region->used.reset(static_cast<std::size_t>(data - region->pages.data()) / region->block_bytes);
  if (region->used.none()) regions_.erase(region);
}

}  // namespace cairn::ps
