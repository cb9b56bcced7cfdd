#include "ps/table/key_index.h"

#include <unordered_map>
#include <unordered_set>
#include <vector>

#include <gtest/gtest.h>

#include "common/math/rng.h"
#include "ps/table/key_groups.h"

namespace cairn::ps {
namespace {

std::uint32_t HashOf(std::uint64_t key) { return static_cast<std::uint32_t>(MixedKey(key)); }

TEST(KeyIndex, AgreesWithAReferenceMapWhileItGrows) {
  Rng rng(3, 3);
  KeyIndex index;
  std::unordered_map<std::uint64_t, std::uint32_t> reference;
  EXPECT_EQ(index.Find(0, HashOf(0)), KeyIndex::kNoRow);
  for (std::uint32_t row = 0; row < 50'000; ++row) {
    const std::uint64_t key = row < 2 ? row - 1ull : rng.NextU64();  // 2^64 - 1 and 0 are keys, too
    if (!reference.emplace(key, row).second) continue;
    EXPECT_EQ(index.Find(key, HashOf(key)), KeyIndex::kNoRow);
    index.Insert(key, HashOf(key), row, false);
    if ((row & (row + 1)) == 0) {
      for (const auto& [k, r] : reference) ASSERT_EQ(index.Find(k, HashOf(k)), r);
    }
  }
  EXPECT_EQ(index.size(), reference.size());
  for (const auto& [key, row] : reference) ASSERT_EQ(index.Find(key, HashOf(key)), row);
  std::size_t visited = 0;
  index.ForEach([&](std::uint64_t key, std::uint32_t row, bool dirty) {
    EXPECT_EQ(reference.at(key), row);
    EXPECT_FALSE(dirty);
    ++visited;
  });
  EXPECT_EQ(visited, reference.size());
  EXPECT_LT(static_cast<double>(index.bytes()) / static_cast<double>(visited), 28);
}

// Keys whose hashes are all equal fill bucket after bucket.
TEST(KeyIndex, EqualHashesSpillIntoTheNextBuckets) {
  KeyIndex index;
  index.Reserve(1000);
  for (std::uint32_t key = 0; key < 40; ++key) index.Insert(key, 0xffffffffu, key, false);
  for (std::uint32_t key = 0; key < 40; ++key) EXPECT_EQ(index.Find(key, 0xffffffffu), key);
  EXPECT_EQ(index.Find(40, 0xffffffffu), KeyIndex::kNoRow);
}

TEST(KeyIndex, MarksSurviveGrowthAndAreCleared) {
  KeyIndex index;
  std::unordered_set<std::uint64_t> marked;
  for (std::uint64_t key = 0; key < 1000; ++key) {
    const bool dirty = key % 3 == 0;
    index.Insert(key, HashOf(key), static_cast<std::uint32_t>(key), dirty);
    if (dirty) marked.insert(key);
  }
  EXPECT_EQ(index.FindAndMark(1, HashOf(1)), 1u);
  EXPECT_EQ(index.FindAndMark(5000, HashOf(5000)), KeyIndex::kNoRow);
  marked.insert(1);
  index.Reserve(100'000);
  const auto dirty_keys = [&index] {
    std::unordered_set<std::uint64_t> keys;
    index.ForEach([&keys](std::uint64_t key, std::uint32_t, bool dirty) {
      if (dirty) keys.insert(key);
    });
    return keys;
  };
  EXPECT_EQ(dirty_keys(), marked);
  index.MarkAllClean();
  EXPECT_TRUE(dirty_keys().empty());
}

}  // namespace
}  // namespace cairn::ps
