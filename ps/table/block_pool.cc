#include "ps/table/block_pool.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>

#include <glog/logging.h>

namespace cairn::ps {

// In steps of 1/32 or 1/64, whole ordinary pages and beyond the largest block whole huge pages: so
// most gaps are as large as a block that is wanted.
std::size_t BlockPool::RoundUp(std::size_t bytes) {
  const auto up = [bytes](std::size_t step) { return (bytes + step - 1) / step * step; };
  if (bytes > kLargestBlock) return up(kPage);
  if (bytes >= kSmallestBlock) return up(std::max<std::size_t>(std::bit_floor(bytes) / 32, 4096));
  const std::size_t power = std::bit_ceil(std::max<std::size_t>(bytes, 256));
  return bytes <= power / 4 * 3 ? power / 4 * 3 : power;
}

void BlockPool::Count(Region& region, std::size_t begin, std::size_t bytes, int change) {
  for (std::size_t page = begin / kPage; page <= (begin + bytes - 1) / kPage; ++page) {
    const std::size_t size = std::min(kPage, region.pages.bytes() - page * kPage);
    std::uint32_t& blocks = region.blocks[page];
    if (change > 0 && blocks++ == 0) bytes_.fetch_add(size, std::memory_order_relaxed);
    if (change < 0 && --blocks == 0) {
      region.pages.Release(page * kPage, page * kPage + size);
      bytes_.fetch_sub(size, std::memory_order_relaxed);
    }
  }
}

std::byte* BlockPool::Cut(Region& region, std::size_t bytes) {
  const auto gap =
      std::ranges::find_if(region.gaps, [bytes](const auto& g) { return g.second >= bytes; });
  if (gap == region.gaps.end()) return nullptr;
  const std::size_t begin = gap->first, rest = gap->second - bytes;
  region.gaps.erase(gap);
  if (rest > 0) region.gaps.emplace(begin + bytes, rest);
  Count(region, begin, bytes, 1);
  return region.pages.data() + begin;
}

BlockPool::Block BlockPool::Allocate(std::size_t bytes) {
  Block block;
  block.bytes_ = RoundUp((bytes + 63) / 64 * 64);
  block.pool_ = this;
  if (block.bytes_ < kSmallestBlock || block.bytes_ > kLargestBlock) {
    block.own_ = Pages(block.bytes_, Pages::Huge::kAdvise);
    block.data_ = block.own_.data();
    bytes_.fetch_add(block.bytes_, std::memory_order_relaxed);
    return block;
  }
  MutexLock lock(mu_);
  for (Region& region : regions_) {
    block.data_ = Cut(region, block.bytes_);
    if (block.data_ == nullptr) continue;
    std::memset(block.data_, 0, block.bytes_);  // it may have been in use before
    return block;
  }
  // Each region twice the one before: what no block has touched costs no memory.
  const std::size_t wanted = std::clamp(
      regions_.empty() ? kSmallestRegion : 2 * regions_.back().pages.bytes(),
      std::max(kSmallestRegion, (block.bytes_ + kPage - 1) / kPage * kPage), kLargestRegion);
  Region& region = regions_.emplace_back();
  // A small table shall not need a huge page.
  region.pages = Pages(wanted, wanted == kPage ? Pages::Huge::kNo : Pages::Huge::kAdvise);
  region.gaps.emplace(0, wanted);
  region.blocks.resize(wanted / kPage);
  block.data_ = Cut(region, block.bytes_);
  return block;
}

void BlockPool::Free(const Block& block) {
  if (block.own_.data() != nullptr) {
    bytes_.fetch_sub(block.bytes_, std::memory_order_relaxed);
    return;
  }
  MutexLock lock(mu_);
  const auto region = std::ranges::find_if(regions_, [&block](const Region& r) {
    return block.data_ >= r.pages.data() && block.data_ < r.pages.data() + r.pages.bytes();
  });
  CHECK(region != regions_.end()) << "a block of another pool";
  auto begin = static_cast<std::size_t>(block.data_ - region->pages.data());
  std::size_t bytes = block.bytes_;
  Count(*region, begin, bytes, -1);
  const auto next = region->gaps.lower_bound(begin);
  const auto previous = next == region->gaps.begin() ? region->gaps.end() : std::prev(next);
  if (next != region->gaps.end() && next->first == begin + bytes) {
    bytes += next->second;
    region->gaps.erase(next);
  }
  if (previous != region->gaps.end() && previous->first + previous->second == begin) {
    begin = previous->first;
    bytes += previous->second;
    region->gaps.erase(previous);
  }
  region->gaps.emplace(begin, bytes);
  if (bytes == region->pages.bytes()) regions_.erase(region);
}

}  // namespace cairn::ps
