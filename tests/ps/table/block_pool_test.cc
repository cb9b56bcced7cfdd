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

// As the indexes of a table do that grows and shrinks: blocks of about the same size are replaced
// one by one by larger or smaller ones.
TEST(BlockPool, LittleLiesBetweenTheBlocksOfATable) {
  constexpr std::size_t kHugePage = 2u << 20;
  BlockPool pool;
  Rng rng(2, 2);
  std::vector<BlockPool::Block> blocks(64);
  std::size_t wanted = 64u << 10;
  for (const double step : {1.0625, 0.9375, 1.0625}) {
    for (int i = 0; i < 32; ++i) {
      wanted = static_cast<std::size_t>(static_cast<double>(wanted) * step);
      for (int n = 0; n < 64; ++n) {
        // The old one goes after the new one has come.
        const std::size_t at = rng.NextBelow(64);
        auto fresh = pool.Allocate(wanted + rng.NextBelow(wanted / 16));
        blocks[at] = std::move(fresh);
      }
      std::size_t bytes = 0;
      for (const auto& block : blocks) bytes += block.bytes();
      ASSERT_GE(pool.bytes(), bytes);
      ASSERT_LE(pool.bytes(), bytes * 3 / 2 + 2 * kHugePage);
    }
  }
  blocks.clear();
  EXPECT_EQ(pool.bytes(), 0u);
}

}  // namespace
}  // namespace cairn::ps
