// Memory for the indexes of one table's stripes. An index is smaller than a huge page for long, and
// look-ups that miss the address cache cost more than those that miss the data caches; so blocks
// lie side by side in huge pages, each in the first gap that has room. A huge page without blocks
// goes back to the kernel.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "ps/table/pages.h"

namespace cairn::ps {

// Thread-safety: all methods at once. Outlives its blocks.
class BlockPool {
 public:
  // Zero-filled and aligned to 64 bytes; goes back to the pool when it ends. Movable.
  class Block {
   public:
    Block() = default;
    ~Block() {
      if (pool_ != nullptr) pool_->Free(*this);
    }
    Block(Block&& other) noexcept { *this = std::move(other); }
    Block& operator=(Block&& other) noexcept {
      std::swap(pool_, other.pool_);
      std::swap(data_, other.data_);
      std::swap(bytes_, other.bytes_);
      std::swap(own_, other.own_);
      return *this;
    }
    std::byte* data() const { return data_; }
    std::size_t bytes() const { return bytes_; }

   private:
    friend class BlockPool;
    BlockPool* pool_ = nullptr;  // null: no block
    std::byte* data_ = nullptr;
    std::size_t bytes_ = 0;
    Pages own_;  // of a small or large block
  };

  // At least `bytes`, rounded up to a size of the pool (steps of 3 %).
  Block Allocate(std::size_t bytes) EXCLUDES(mu_);

  // Of all pages that have a block, whole ones.
  std::size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  static constexpr std::size_t kSmallestBlock = 16u << 10;  // smaller ones come from the allocator
  static constexpr std::size_t kLargestBlock = 64u << 20;   // larger ones have pages of their own
  static constexpr std::size_t kPage = 2u << 20;
  static constexpr std::size_t kSmallestRegion = 2u << 20, kLargestRegion = 256u << 20;
  struct Region {
    Pages pages;
    std::map<std::size_t, std::size_t> gaps;  // begin -> bytes; no two touch
    std::vector<std::uint32_t> blocks;        // by huge page: those that lie in it, if in part
  };

  static std::size_t RoundUp(std::size_t bytes);
  // The region's first gap of that size, or nothing.
  std::byte* Cut(Region& region, std::size_t bytes) REQUIRES(mu_);
  void Count(Region& region, std::size_t begin, std::size_t bytes, int change) REQUIRES(mu_);
  void Free(const Block& block) EXCLUDES(mu_);

  Mutex mu_;
  std::list<Region> regions_ GUARDED_BY(mu_);
  std::atomic<std::size_t> bytes_{0};
};

}  // namespace cairn::ps
