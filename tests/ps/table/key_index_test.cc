#include "ps/table/key_index.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include <gtest/gtest.h>

#include "common/math/rng.h"
#include "ps/table/key_groups.h"

namespace cairn::ps {
namespace {

std::uint32_t HashOf(std::uint64_t key) { return static_cast<std::uint32_t>(MixedKey(key)); }

// One look-up.
std::uint32_t Find(const KeyIndex& index, std::uint64_t key, std::uint32_t hash) {
  const IndexedKey indexed{key, hash, 0};
  std::uint32_t row = 0;
  index.Find({&indexed, 1}, &row);
  return row;
}
std::uint32_t FindAndMark(KeyIndex& index, std::uint64_t key) {
  const IndexedKey indexed{key, HashOf(key), 0};
  std::uint32_t row = 0;
  index.FindAndMark({&indexed, 1}, &row);
  return row;
}

TEST(KeyIndex, AgreesWithAReferenceMapWhileItGrows) {
  Rng rng(3, 3);
  BlockPool pool;
  KeyIndex index(&pool);
  std::unordered_map<std::uint64_t, std::uint32_t> reference;
  EXPECT_EQ(Find(index, 0, HashOf(0)), KeyIndex::kNoRow);
  for (std::uint32_t row = 0; row < 50'000; ++row) {
    const std::uint64_t key = row < 2 ? row - 1ull : rng.NextU64();  // 2^64 - 1 and 0 are keys, too
    if (!reference.emplace(key, row).second) continue;
    EXPECT_EQ(Find(index, key, HashOf(key)), KeyIndex::kNoRow);
    index.Insert(key, HashOf(key), row, false);
    if ((row & (row + 1)) == 0) {
      for (const auto& [k, r] : reference) ASSERT_EQ(Find(index, k, HashOf(k)), r);
    }
  }
  EXPECT_EQ(index.size(), reference.size());
  for (const auto& [key, row] : reference) ASSERT_EQ(Find(index, key, HashOf(key)), row);
  std::size_t visited = 0;
  index.ForEach([&](std::uint64_t key, std::uint32_t row, bool dirty) {
    EXPECT_EQ(reference.at(key), row);
    EXPECT_FALSE(dirty);
    ++visited;
  });
  EXPECT_EQ(visited, reference.size());
  EXPECT_LT(static_cast<double>(index.bytes()) / static_cast<double>(visited), 28);
}

// Against a map while keys come and go, more of them and fewer.
TEST(KeyIndex, ShrinksAfterRemovalsAndKeepsTheRest) {
  Rng rng(4, 4);
  BlockPool pool;
  KeyIndex index(&pool);
  std::unordered_map<std::uint64_t, std::uint32_t> reference;
  for (int round = 0; round < 6; ++round) {
    for (std::uint32_t i = 0; i < 20'000; ++i) {
      const std::uint64_t key = rng.NextU64();
      if (!reference.emplace(key, i).second) continue;
      index.Insert(key, HashOf(key), i, key % 2 == 0);
    }
    const std::size_t most = index.bytes();
    const std::uint64_t kept_of_16 = round % 3 * 3;  // 0, 3 or 6
    (void)index.Sweep(0, index.bucket_count(), [&](KeyIndex::Swept& entry) {
      entry.recent = entry.key % 3 == 0;
      return entry.key % 16 >= kept_of_16 && reference.erase(entry.key) == 1;
    });
    index.Shrink();
    ASSERT_EQ(index.size(), reference.size());
    std::size_t visited = 0;
    (void)index.Sweep(0, index.bucket_count(), [&](KeyIndex::Swept& entry) {
      ++visited;
      EXPECT_EQ(entry.row, reference.at(entry.key));
      EXPECT_EQ(entry.dirty, entry.key % 2 == 0);
      EXPECT_EQ(entry.recent, entry.key % 3 == 0);
      return false;
    });
    ASSERT_EQ(visited, reference.size());
    for (const auto& [key, row] : reference) ASSERT_EQ(Find(index, key, HashOf(key)), row);
    EXPECT_LE(index.bytes(), kept_of_16 == 0 ? 0 : kept_of_16 == 3 ? most / 2 : most);
  }
}

// Keys whose hashes are all equal fill bucket after bucket.
TEST(KeyIndex, EqualHashesSpillIntoTheNextBuckets) {
  BlockPool pool;
  KeyIndex index(&pool);
  index.Reserve(1000);
  for (std::uint32_t key = 0; key < 40; ++key) index.Insert(key, 0xffffffffu, key, false);
  for (std::uint32_t key = 0; key < 40; ++key) EXPECT_EQ(Find(index, key, 0xffffffffu), key);
  EXPECT_EQ(Find(index, 40, 0xffffffffu), KeyIndex::kNoRow);
}

TEST(KeyIndex, MarksSurviveGrowthAndAreCleared) {
  BlockPool pool;
  KeyIndex index(&pool);
  std::unordered_set<std::uint64_t> marked;
  for (std::uint64_t key = 0; key < 1000; ++key) {
    const bool dirty = key % 3 == 0;
    index.Insert(key, HashOf(key), static_cast<std::uint32_t>(key), dirty);
    if (dirty) marked.insert(key);
  }
  EXPECT_EQ(FindAndMark(index, 1), 1u);
  EXPECT_EQ(FindAndMark(index, 5000), KeyIndex::kNoRow);
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
  (void)index.Sweep(0, index.bucket_count(), [](KeyIndex::Swept& entry) {
    EXPECT_EQ(entry.recent, entry.key != 1) << "a row that was marked is no longer recent";
    return false;
  });
  index.MarkAllClean();
  EXPECT_TRUE(dirty_keys().empty());
}

// Removal leaves every other key findable, also those that live behind full buckets, and its room
// is used again. Parts of the index that are swept seldom become crowded: then it is built anew.
TEST(KeyIndex, AgreesWithAReferenceMapUnderRemoval) {
  Rng rng(5, 5);
  BlockPool pool;
  KeyIndex index(&pool);
  std::unordered_map<std::uint64_t, std::uint32_t> reference;
  std::uint32_t next = 0;
  for (int round = 0; round < 30; ++round) {
    for (int i = 0; i < 1000; ++i) {
      const std::uint64_t key = rng.NextU64() % 20'000;
      if (!reference.emplace(key, next).second) continue;
      index.Insert(key, HashOf(key), next++, false);
    }
    std::size_t bucket = rng.NextBelow(index.bucket_count());
    for (int sweep = 0; sweep < 3; ++sweep) {
      bucket = index.Sweep(bucket, index.bucket_count() / 4 + 1, [&](KeyIndex::Swept& entry) {
        EXPECT_EQ(reference.at(entry.key), entry.row);
        if (entry.recent) {
          entry.recent = false;
          return false;
        }
        if (rng.NextBelow(2) == 0) return false;
        reference.erase(entry.key);
        return true;
      });
    }
    ASSERT_EQ(index.size(), reference.size());
    for (std::uint64_t key = 0; key < 20'000; ++key) {
      const auto found = reference.find(key);
      ASSERT_EQ(Find(index, key, HashOf(key)),
                found == reference.end() ? KeyIndex::kNoRow : found->second);
    }
  }
}

TEST(KeyIndex, TakesAtMostSixteenBytesForAKeyOfALargeTable) {
  BlockPool pool;
  KeyIndex index(&pool);
  Rng rng(6, 6);
  std::size_t most = 0;
  for (std::uint32_t row = 0; row < 400'000; ++row) {
    const std::uint64_t key = rng.NextU64();
    index.Insert(key, HashOf(key), row, false);
    if (row >= 100'000) most = std::max(most, index.bytes() * 100 / index.size());
  }
  EXPECT_LE(most, 1660u);  // hundredths of a byte, right after growth
  EXPECT_LE(index.bytes(), index.size() * 16);
}

}  // namespace
}  // namespace cairn::ps
