#include "worker/nn/placement.h"

#include <gtest/gtest.h>

#include "common/math/rng.h"

namespace cairn::worker::nn {
namespace {

TEST(PlaceLifetimes, ArraysInUseAtTheSameMomentNeverOverlap) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Rng rng(seed, 0);
    std::vector<Lifetime> arrays(1 + rng.NextBelow(30));
    std::size_t sum = 0;
    for (Lifetime& array : arrays) {
      array.size = 1 + rng.NextBelow(100);
      array.first = static_cast<int>(rng.NextBelow(20));
      array.last = array.first + static_cast<int>(rng.NextBelow(6));
      sum += array.size;
    }
    const std::size_t end = PlaceLifetimes(arrays);
    EXPECT_LE(end, sum);
    for (std::size_t i = 0; i < arrays.size(); ++i) {
      const Lifetime& a = arrays[i];
      EXPECT_LE(a.offset + a.size, end);
      for (std::size_t j = 0; j < i; ++j) {
        const Lifetime& b = arrays[j];
        const bool same_time = a.first <= b.last && b.first <= a.last;
        const bool same_place = a.offset < b.offset + b.size && b.offset < a.offset + a.size;
        EXPECT_FALSE(same_time && same_place) << "seed " << seed;
      }
    }
  }
}

TEST(PlaceLifetimes, ArraysInTurnShareOnePlace) {
  std::vector<Lifetime> arrays = {{10, 0, 1}, {10, 2, 3}, {10, 4, 9}};
  EXPECT_EQ(PlaceLifetimes(arrays), 10u);
}

}  // namespace
}  // namespace cairn::worker::nn
