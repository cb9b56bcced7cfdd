#include "ps/table/block_pool.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include "common/math/rng.h"

namespace cairn::ps {
namespace {

// Blocks of all sizes come and go; each is zero at first, its own, and keeps its content.
TEST(BlockPool, BlocksAreZeroAndDoNotOverlap) {
  BlockPool pool;
  Rng rng(1, 1);
  struct Held {
    BlockPool::Block block;
    unsigned char mark;
  };
  std::vector<Held> held;
  for (int i = 0; i < 2000; ++i) {
    if (held.size() > 60) {
      std::swap(held[rng.NextBelow(held.size())], held.back());
      const Held& last = held.back();
      ASSERT_TRUE(std::all_of(last.block.data(), last.block.data() + last.block.bytes(),
                              [&](std::byte b) { return b == std::byte{last.mark}; }));
      held.pop_back();
    }
    const std::size_t bytes = std::size_t{1} << (6 + rng.NextBelow(16));
    const std::size_t wanted = bytes + rng.NextBelow(bytes);
    Held fresh{pool.Allocate(wanted), static_cast<unsigned char>(1 + i % 250)};
    ASSERT_GE(fresh.block.bytes(), wanted);
    ASSERT_LE(fresh.block.bytes(),
              std::max<std::size_t>({256, wanted * 3 / 2, wanted + (2 << 20)}));
    ASSERT_TRUE(std::all_of(fresh.block.data(), fresh.block.data() + fresh.block.bytes(),
                            [](std::byte b) { return b == std::byte{0}; }));
    std::memset(fresh.block.data(), fresh.mark, fresh.block.bytes());
    held.push_back(std::move(fresh));
  }
}

}  // namespace
}  // namespace cairn::ps
