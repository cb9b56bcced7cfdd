#include "common/math/rng.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace cairn {
namespace {

// Known answers of the Random123 distribution (kat_vectors, philox4x32 10 rounds).
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(Philox4x32(0, 0, 0),
            (std::array<std::uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32(~0ull, ~0ull, ~0ull),
            (std::array<std::uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(Rng, StreamsAreReproducibleAndDifferent) {
  Rng a(1, 2), b(1, 2), c(1, 3);
  const std::uint64_t first = a.NextU64();
  EXPECT_EQ(first, b.NextU64());
  EXPECT_NE(first, c.NextU64());
}

TEST(Rng, MomentsOfNormalsAreRight) {
  std::vector<float> x(200000);
  FillNormal(7, 1, 2.0f, 3.0f, x);
  double sum = 0, squares = 0;
  for (float v : x) {
    sum += v;
    squares += (v - 2.0) * (v - 2.0);
  }
  EXPECT_NEAR(sum / static_cast<double>(x.size()), 2.0, 0.03);
  EXPECT_NEAR(std::sqrt(squares / static_cast<double>(x.size())), 3.0, 0.03);
}

TEST(Rng, NextBelowStaysBelowAndReachesEveryValue) {
  Rng rng(3, 4);
  std::vector<int> seen(7);
  for (int i = 0; i < 7000; ++i) ++seen.at(rng.NextBelow(7));
  for (int count : seen) EXPECT_GT(count, 800);
}

}  // namespace
}  // namespace cairn
