// Memory for the indexes of one table's stripes. An index is smaller than a huge page for long, and
// look-ups that miss the address cache cost more than those that miss the data caches; so blocks of
// equal size are cut from shared huge pages. A huge page whose blocks are all free is returned.
#pragma once

#include <cstddef>
#include <list>
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
      if (pool_ != nullptr) pool_->Free(data_);
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
    BlockPool* pool_ = nullptr;  // null: nothing, or own_
    std::byte* data_ = nullptr;
    std::size_t bytes_ = 0;
    Pages own_;
  };

  // At least `bytes`, rounded up to a size of the pool (steps of about 3 %).
  Block Allocate(std::size_t bytes) EXCLUDES(mu_);

 private:
  static constexpr std::size_t kSmallestBlock = 16u << 10;  // smaller ones come from the allocator
  static constexpr std::size_t kLargestBlock = 64u << 20;   // larger ones have pages of their own
  struct Region {
    Pages pages;
    std::size_t block_bytes;
    std::vector<bool> used;
  };

  // A region that is cut into 32 or more blocks of the size; what no block has touched costs no
  // memory.
  static std::size_t RegionBytes(std::size_t bytes);
  static std::size_t RoundUp(std::size_t bytes);
  void Free(const std::byte* data) EXCLUDES(mu_);

  Mutex mu_;
  std::list<Region> regions_ GUARDED_BY(mu_);
};

}  // namespace cairn::ps
