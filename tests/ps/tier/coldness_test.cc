// Which rows should leave memory: hit rates of the rule against those that know less.
#include <algorithm>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "common/math/rng.h"
#include "ps/table/spill.h"

namespace cairn::ps {
namespace {

using Rule = float (*)(const RowMetadata&, std::uint64_t now);
float LeastRecentlyUsed(const RowMetadata& row, std::uint64_t now) {
  return static_cast<float>(now - row.last_step);
}
float LeastFrequentlyUsed(const RowMetadata& row, std::uint64_t) {
  return 1 / static_cast<float>(std::max(row.count, 1u));
}

// Share of the keys of pushes, other than new ones, that are in memory. Popularity falls with the
// rank to the power of 1.05; memory has room for a tenth of the rows. Every `drift_every` pushes
// each key's rank falls by a two-hundredth of all, the most popular ones becoming the least; 0:
// never.
double HitRate(Rule coldness, std::uint64_t drift_every) {
  constexpr std::size_t kRows = 20'000, kRoom = kRows / 10, kKeys = 200;
  constexpr std::uint64_t kPushes = 3000;
  std::vector<double> reach(kRows);  // share of requests of this rank or a smaller one
  double sum = 0;
  for (std::size_t i = 0; i < kRows; ++i) {
    reach[i] = sum += std::pow(static_cast<double>(i + 1), -1.05);
  }
  std::vector<RowMetadata> rows(kRows);
  std::vector<bool> is_resident(kRows);
  std::vector<std::size_t> resident;
  Rng rng(3, 6);
  double hits = 0, wanted = 0;
  std::size_t first = 0;  // the most popular row
  for (std::uint64_t push = 1; push <= kPushes; ++push) {
    if (drift_every != 0 && push % drift_every == 0) first += kRows / 200;
    for (std::size_t k = 0; k < kKeys; ++k) {
      const auto rank = std::ranges::lower_bound(reach, rng.NextDouble() * sum) - reach.begin();
      const std::size_t key = (first + std::min(static_cast<std::size_t>(rank), kRows - 1)) % kRows;
      if (rows[key].last_step == push) continue;
      if (push > kPushes / 3 && rows[key].count > 0) {
        ++wanted;
        hits += is_resident[key];
      }
      rows[key] = NextMetadata(rows[key], push);
      if (!is_resident[key]) resident.push_back(key);
      is_resident[key] = true;
    }
    if (resident.size() <= kRoom) continue;
    const auto kept = resident.begin() + static_cast<std::ptrdiff_t>(kRoom * 97 / 100);
    std::ranges::nth_element(resident, kept, {},
                             [&](std::size_t key) { return coldness(rows[key], push); });
    for (auto key = kept; key != resident.end(); ++key) is_resident[*key] = false;
    resident.erase(kept, resident.end());
  }
  return hits / wanted;
}

TEST(Coldness, KeepsMoreThanAgeOrCountAlone) {
  for (const std::uint64_t drift_every : {0, 200, 60}) {
    const double ours = HitRate(&Coldness, drift_every);
    const double by_age = HitRate(&LeastRecentlyUsed, drift_every);
    const double by_count = HitRate(&LeastFrequentlyUsed, drift_every);
    EXPECT_GT(ours, by_age + 0.01) << "drift every " << drift_every;
    // Counts are the best guess only where nothing ever changes.
    EXPECT_GT(ours, drift_every == 0 ? by_count - 0.05 : by_count) << "drift every " << drift_every;
  }
}

TEST(Coldness, GrowsWithAgeAndFallsWithUse) {
  EXPECT_LT(Coldness({9, 9, 100}, 100), Coldness({9, 9, 50}, 100));
  EXPECT_LT(Coldness({9, 9, 50}, 100), Coldness({9, 2, 50}, 100));
  EXPECT_EQ(Coldness({0, 0, 0}, 0), Coldness({1, 1, 0}, 0)) << "a row that was loaded";
  EXPECT_EQ(Coldness({1, 1, 9}, 5), Coldness({1, 1, 5}, 5)) << "a step ahead of the clock";
}

}  // namespace
}  // namespace cairn::ps
