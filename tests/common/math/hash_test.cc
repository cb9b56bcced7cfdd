#include "common/math/hash.h"

#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace cairn {
namespace {

// Frozen: these values are in checkpoints.
TEST(Hash, ValuesAreFrozen) {
  EXPECT_EQ(Mix64(1), 0x5692161d100b05e5ull);
  EXPECT_EQ(HashBytes("", 0), 0x2d06800538d394c2ull);
  EXPECT_EQ(SlotOf(0, 10), Mix64(0x9e3779b97f4a7c15ull) >> 54);
}

TEST(Hash, KeysOfOneTableDoNotCoincide) {
  const std::uint64_t salt = TableSalt("t");
  const std::uint64_t parts[] = {KeyOf("", salt), KeyOf("", salt)};
  const std::set<std::uint64_t> keys = {KeyOf("", salt),       KeyOf("rare", salt), RareKey(salt),
                                        CrossKey(parts, salt), CrossKey({}, salt),  GroupOf("")};
  EXPECT_EQ(keys.size(), 6u);
  EXPECT_NE(RareKey(salt), RareKey(TableSalt("u")));
}

TEST(Hash, EqualValuesOfTwoTablesHaveDifferentKeys) {
  EXPECT_NE(KeyOf("42", TableSalt("user")), KeyOf("42", TableSalt("item")));
}

TEST(Hash, SlotsAreEvenlyUsedBySequentialKeys) {
  std::vector<int> count(1024);
  for (std::uint64_t key = 0; key < 1024 * 1000; ++key) ++count[SlotOf(key, 10)];
  for (int c : count) {
    EXPECT_GT(c, 800);
    EXPECT_LT(c, 1200);
  }
}

TEST(Hash, OneSlotTakesEverything) { EXPECT_EQ(SlotOf(~0ull, 0), 0u); }

}  // namespace
}  // namespace cairn
