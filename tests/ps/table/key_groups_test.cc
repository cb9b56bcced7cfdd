#include "ps/table/key_groups.h"

#include <unordered_set>

#include <gtest/gtest.h>

#include "common/math/rng.h"

namespace cairn::ps {
namespace {

TEST(KeyGroups, SlotsAgreeWithTheSharedFunction) {
  Rng rng(1, 1);
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t key = rng.NextU64();
    for (const int bits : {0, 1, 10, 16}) {
      const SlotRange all{bits, 0, 1u << bits};
      EXPECT_EQ(all.SlotOfMixed(MixedKey(key)), SlotOf(key, bits));
    }
  }
}

TEST(KeyGroups, EveryKeyIsInTheGroupOfItsStripeWithItsPosition) {
  std::vector<std::uint64_t> keys(10'000);
  Rng rng(2, 1);
  for (auto& key : keys) key = rng.NextU64();
  KeyGroups groups;
  for (const std::size_t n : {keys.size(), std::size_t{1}, std::size_t{0}, std::size_t{777}}) {
    ASSERT_EQ(groups.Build({keys.data(), n}, {}), std::nullopt);
    std::size_t seen = 0;
    for (std::uint32_t stripe = 0; stripe < kStripes; ++stripe) {
      std::uint32_t last = 0;
      for (const KeyGroups::Entry& entry : groups.Group(stripe)) {
        EXPECT_EQ(entry.key, keys[entry.position]);
        EXPECT_EQ(StripeOf(MixedKey(entry.key)), stripe);
        EXPECT_GE(entry.position, last);  // the order of the request
        last = entry.position;
        ++seen;
      }
    }
    EXPECT_EQ(seen, n);
  }
}

TEST(KeyGroups, TheFirstForeignKeyIsNamed) {
  const SlotRange slots{10, 256, 512};
  std::vector<std::uint64_t> ours, foreign;
  for (std::uint64_t key = 0; key < 1000; ++key) {
    const std::uint32_t slot = SlotOf(key, 10);
    (slot >= 256 && slot < 768 ? ours : foreign).push_back(key);
  }
  KeyGroups groups;
  EXPECT_EQ(groups.Build(ours, slots), std::nullopt);
  auto mixed = ours;
  mixed.insert(mixed.begin() + 100, {foreign[7], foreign[3]});
  EXPECT_EQ(groups.Build(mixed, slots), foreign[7]);
}

TEST(KeyGroups, BuildInsideLeavesForeignKeysOutAndKeepsPositions) {
  const SlotRange slots{10, 256, 512};
  std::vector<std::uint64_t> keys(5000);
  Rng rng(3, 1);
  for (auto& key : keys) key = rng.NextU64();
  KeyGroups groups;
  ASSERT_EQ(groups.Build(keys, {}), std::nullopt);  // what is left of this must not show
  groups.BuildInside(keys, slots);
  std::unordered_set<std::uint32_t> positions;
  for (std::uint32_t stripe = 0; stripe < kStripes; ++stripe) {
    for (const KeyGroups::Entry& entry : groups.Group(stripe)) {
      EXPECT_EQ(entry.key, keys[entry.position]);
      EXPECT_EQ(entry.hash, static_cast<std::uint32_t>(MixedKey(entry.key)));
      EXPECT_EQ(StripeOf(MixedKey(entry.key)), stripe);
      EXPECT_TRUE(positions.insert(entry.position).second);
    }
  }
  EXPECT_EQ(groups.size(), positions.size());
  for (std::uint32_t i = 0; i < keys.size(); ++i) {
    EXPECT_EQ(positions.contains(i), slots.HasMixed(MixedKey(keys[i])));
  }
}

TEST(KeyGroups, DuplicatesAreFoundAndNothingElseIs) {
  Rng rng(5, 1);
  KeyGroups groups;
  for (int round = 0; round < 200; ++round) {
    std::unordered_set<std::uint64_t> unique;
    while (unique.size() < 50 + rng.NextBelow(2000)) unique.insert(rng.NextU64());
    std::vector<std::uint64_t> keys(unique.begin(), unique.end());
    ASSERT_EQ(groups.Build(keys, {}), std::nullopt);
    EXPECT_EQ(groups.FindDuplicate(), std::nullopt);
    const std::uint64_t twice = keys[rng.NextBelow(keys.size())];
    keys.insert(keys.begin() + static_cast<std::ptrdiff_t>(rng.NextBelow(keys.size())), twice);
    ASSERT_EQ(groups.Build(keys, {}), std::nullopt);
    EXPECT_EQ(groups.FindDuplicate(), twice);
  }
}

}  // namespace
}  // namespace cairn::ps
