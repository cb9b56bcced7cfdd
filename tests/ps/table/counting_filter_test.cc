#include "ps/table/counting_filter.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include <gtest/gtest.h>

#include "common/math/rng.h"

namespace cairn::ps {
namespace {

constexpr std::uint32_t kStripe = 5;
constexpr std::size_t kSmall = 1u << 20;  // 16 KiB for each stripe

// Different keys of one stripe in these slots.
std::vector<std::uint64_t> KeysOf(std::uint32_t stripe, std::size_t n, std::uint64_t seed,
                                  const SlotRange& slots = {}) {
  Rng rng(seed, stripe);
  std::vector<std::uint64_t> keys;
  while (keys.size() < n) {
    const std::uint64_t key = rng.NextU64();
    if (StripeOf(MixedKey(key)) == stripe && slots.HasMixed(MixedKey(key))) keys.push_back(key);
  }
  return keys;
}

CountingFilter::Options Small(std::uint32_t threshold, std::uint64_t halve_after = 0) {
  CountingFilter::Options options;
  options.bytes = kSmall;
  options.threshold = threshold;
  options.halve_after = halve_after;
  options.table_salt = 77;
  return options;
}

std::vector<std::uint8_t> Count(CountingFilter& filter, std::span<const std::uint64_t> keys,
                                std::uint64_t push, std::uint32_t stripe = kStripe) {
  std::vector<std::uint8_t> counts(keys.size());
  filter.Count(stripe, keys, push, counts.data());
  return counts;
}

// Some keys much more often than others: key i of n with a probability falling as 1 / (i + 1).
std::vector<std::uint64_t> SkewedBatch(const std::vector<std::uint64_t>& keys, std::size_t n,
                                       Rng& rng) {
  std::vector<std::uint64_t> batch;
  for (std::size_t i = 0; i < n; ++i) {
    const double at = std::pow(static_cast<double>(keys.size()), rng.NextDouble()) - 1;
    batch.push_back(keys[static_cast<std::size_t>(at)]);
  }
  std::ranges::sort(batch);
  batch.erase(std::unique(batch.begin(), batch.end()), batch.end());
  return batch;
}

class CountingFilterTest : public testing::TestWithParam<std::uint32_t> {};

TEST_P(CountingFilterTest, FewKeysAreCountedExactly) {
  CountingFilter filter(Small(GetParam()));
  const auto keys = KeysOf(kStripe, 20, 1);
  for (std::uint32_t n = 1; n <= filter.max_count() + 3; ++n) {
    for (const std::uint8_t count : Count(filter, keys, n)) {
      EXPECT_EQ(count, std::min(n, filter.max_count() + 1));
    }
  }
}

// Against exact counts that saturate and are halved as the filter's are, far beyond its capacity.
TEST_P(CountingFilterTest, AKeyIsNeverCountedTooSeldom) {
  for (const std::uint64_t halve_after : {0, 7}) {
    CountingFilter filter(Small(GetParam(), halve_after));
    const auto keys = KeysOf(kStripe, 40'000, 2);
    std::unordered_map<std::uint64_t, std::uint32_t> exact;
    Rng rng(3, halve_after);
    std::uint64_t too_often = 0;
    for (std::uint64_t push = 1; push <= 60; ++push) {
      if (halve_after != 0 && push % halve_after == 0) {
        for (auto& [key, count] : exact) count /= 2;
      }
      const auto batch = SkewedBatch(keys, 2'000, rng);
      const auto counts = Count(filter, batch, push);
      for (std::size_t i = 0; i < batch.size(); ++i) {
        std::uint32_t& count = exact[batch[i]];
        ASSERT_GE(counts[i], count + 1) << "push " << push;
        too_often += counts[i] > count + 1;
        count = std::min(count + 1, filter.max_count());
      }
    }
    EXPECT_GT(too_often, 0u) << "the filter was never crowded: the test shows nothing";
  }
}

TEST_P(CountingFilterTest, AgeingHalvesOnceForEveryPeriodPassed) {
  for (const std::uint64_t periods : {1, 2, 3, 4, 5, 255}) {
    CountingFilter filter(Small(GetParam(), 100));
    const auto keys = KeysOf(kStripe, 20, 4);
    for (std::uint64_t push = 50; push < 70; ++push) Count(filter, keys, push);
    const std::uint32_t left = periods > 4 ? 0 : filter.max_count() >> periods;
    for (const std::uint8_t count : Count(filter, keys, 50 + 100 * periods)) {
      EXPECT_EQ(count, left + 1) << periods << " periods";
    }
  }
}

TEST_P(CountingFilterTest, AgeingOfALineDoesNotDependOnWhenItIsTouched) {
  const auto keys = KeysOf(kStripe, 20'000, 5);
  CountingFilter rarely(Small(GetParam(), 10)), often(Small(GetParam(), 10));
  Rng rng(6, 0);
  for (std::uint64_t push = 0; push < 100; push += 10) {
    const auto batch = SkewedBatch(keys, 3'000, rng);
    EXPECT_EQ(Count(rarely, batch, push), Count(often, batch, push));
    std::string saved;  // ages every line of the copy that goes on
    often.SaveStripe(kStripe, push + 10, &saved);
    CountingFilter aged(Small(GetParam(), 10));
    ASSERT_TRUE(aged.Load(saved, push + 10, "test").ok());
    often = std::move(aged);
  }
}

TEST_P(CountingFilterTest, APushThatComesLateCountsAndDoesNotAge) {
  CountingFilter filter(Small(GetParam(), 10));
  const auto keys = KeysOf(kStripe, 20, 7);
  Count(filter, keys, 20);
  for (const std::uint8_t count : Count(filter, keys, 19)) EXPECT_EQ(count, 2);
}

INSTANTIATE_TEST_SUITE_P(Thresholds, CountingFilterTest, testing::Values(2, 3, 4, 5, 10, 15, 16));

TEST(CountingFilter, StripesCountAtOnceAsOneByOne) {
  CountingFilter together(Small(5, 3)), one_by_one(Small(5, 3));
  constexpr std::uint32_t kUsed = 8;
  std::vector<std::vector<std::uint64_t>> keys;
  for (std::uint32_t s = 0; s < kUsed; ++s) keys.push_back(KeysOf(s, 3'000, 8));
  std::vector<std::vector<std::uint8_t>> results(kUsed);
  std::vector<std::thread> threads;
  for (std::uint32_t s = 0; s < kUsed; ++s) {
    threads.emplace_back([&, s] {
      for (std::uint64_t push = 0; push < 5; ++push) {
        results[s] = Count(together, keys[s], push, s);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::uint64_t push = 0; push < 5; ++push) {
    for (std::uint32_t s = 0; s < kUsed; ++s) {
      const auto counts = Count(one_by_one, keys[s], push, s);
      if (push == 4) {
        EXPECT_EQ(counts, results[s]) << "stripe " << s;
      }
    }
  }
}

TEST(CountingFilter, ItsMemoryIsWhatWasAskedFor) {
  CountingFilter::Options options = Small(2);
  options.bytes = 3u << 20;
  const CountingFilter filter(options);
  EXPECT_EQ(filter.bytes(), (3u << 20) + sizeof(CountingFilter));
}

TEST(CountingFilter, GoesOnAfterSaveAndLoadAsIfNothingHadHappened) {
  CountingFilter filter(Small(5, 10));
  const auto keys = KeysOf(kStripe, 20'000, 9);
  Rng rng(10, 0);
  std::uint64_t push = 0;
  for (; push < 25; ++push) Count(filter, SkewedBatch(keys, 1'000, rng), push);
  std::string saved;
  for (std::uint32_t s = 0; s < kStripes; ++s) filter.SaveStripe(s, push, &saved);
  CountingFilter loaded(Small(5, 10));
  ASSERT_TRUE(loaded.Load(saved, push, "test").ok());
  std::string again;
  for (std::uint32_t s = 0; s < kStripes; ++s) loaded.SaveStripe(s, push, &again);
  EXPECT_EQ(again, saved);
  for (; push < 60; ++push) {
    const auto batch = SkewedBatch(keys, 1'000, rng);
    ASSERT_EQ(Count(loaded, batch, push), Count(filter, batch, push)) << "push " << push;
  }
}

// 1024 slots cut in `servers` parts.
SlotRange PartOf(std::uint32_t servers, std::uint32_t server) {
  const std::uint32_t first = 1024 * server / servers;
  return {10, first, 1024 * (server + 1) / servers - first};
}

std::vector<CountingFilter> MakeServers(std::uint32_t servers, std::size_t bytes) {
  std::vector<CountingFilter> filters;
  for (std::uint32_t i = 0; i < servers; ++i) {
    CountingFilter::Options options = Small(5);
    options.bytes = bytes;
    options.slots = PartOf(servers, i);
    filters.emplace_back(options);
  }
  return filters;
}

// Counts of all keys, on the servers that hold their slots.
std::vector<std::uint32_t> CountOnServers(std::vector<CountingFilter>& filters,
                                          const std::vector<std::uint64_t>& keys) {
  std::vector<std::uint32_t> counts;
  for (const std::uint64_t key : keys) {
    for (std::uint32_t i = 0; i < filters.size(); ++i) {
      if (!PartOf(static_cast<std::uint32_t>(filters.size()), i).HasMixed(MixedKey(key))) continue;
      counts.push_back(Count(filters[i], {&key, 1}, 0)[0]);
    }
  }
  return counts;
}

TEST(CountingFilter, LoadsOnAnyNumberOfServersAndWithAnySize) {
  const auto keys = KeysOf(kStripe, 5'000, 11);
  for (const auto& [before, after, bytes] : {std::tuple{1u, 2u, kSmall},
                                             {2u, 1u, kSmall},
                                             {3u, 2u, kSmall},
                                             {1u, 7u, kSmall / 2},
                                             {2u, 2u, 3 * kSmall},
                                             {4u, 4u, kSmall}}) {
    auto from = MakeServers(before, kSmall);
    std::vector<std::uint32_t> counts;
    for (int i = 0; i < 3; ++i) counts = CountOnServers(from, keys);
    auto to = MakeServers(after, bytes);
    for (const CountingFilter& filter : from) {
      std::string saved;
      filter.SaveStripe(kStripe, 0, &saved);
      for (CountingFilter& target : to) ASSERT_TRUE(target.Load(saved, 0, "test").ok());
    }
    const auto moved = CountOnServers(to, keys);
    ASSERT_EQ(moved.size(), keys.size());
    std::size_t larger = 0;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      ASSERT_GE(moved[i], counts[i] + 1) << before << " to " << after << " servers, key " << i;
      larger += moved[i] > counts[i] + 1;
    }
    // Counted too often where borders do not match, yet far from everywhere.
    EXPECT_LT(larger, keys.size() / 5) << before << " to " << after << " servers";
  }
}

class SavedFilterTest : public testing::Test {
 protected:
  void SetUp() override {
    CountingFilter::Options options = Small(5);
    options.bytes = 8192;
    CountingFilter filter(options);
    Count(filter, KeysOf(kStripe, 30, 12), 0);
    filter.SaveStripe(kStripe, 0, &saved_);
  }
  static Status LoadInto(const CountingFilter::Options& options, std::string_view bytes) {
    CountingFilter filter(options);
    std::string before, after;
    filter.SaveStripe(kStripe, 0, &before);
    Status status = filter.Load(bytes, 0, "table a");
    filter.SaveStripe(kStripe, 0, &after);
    EXPECT_EQ(before == after, !status.ok());
    return status;
  }
  std::string saved_;
};

TEST_F(SavedFilterTest, DamageIsFoundWhereverItIs) {
  ASSERT_TRUE(LoadInto(Small(5), saved_).ok());
  for (std::size_t i = 0; i < saved_.size(); ++i) {
    std::string bytes = saved_;
    bytes[i] = static_cast<char>(bytes[i] ^ (1 << (i % 8)));
    const Status status = LoadInto(Small(5), bytes);
    // The version is told apart before the checksum is known to fit.
    EXPECT_EQ(status.code(),
              i == 7 ? absl::StatusCode::kFailedPrecondition : absl::StatusCode::kDataLoss)
        << "byte " << i;
    EXPECT_NE(status.message().find("table a"), std::string_view::npos) << status;
    if (i > 0) {
      EXPECT_EQ(LoadInto(Small(5), std::string_view(saved_).substr(0, i)).code(),
                absl::StatusCode::kDataLoss);
    }
  }
}

TEST_F(SavedFilterTest, ADamagedPieceBehindGoodOnesLeavesTheFilterAsItWas) {
  EXPECT_EQ(LoadInto(Small(5), saved_ + saved_.substr(1)).code(), absl::StatusCode::kDataLoss);
}

TEST_F(SavedFilterTest, AnotherTableOrWidthIsRefused) {
  CountingFilter::Options other_table = Small(5);
  other_table.table_salt = 78;
  EXPECT_EQ(LoadInto(other_table, saved_).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(LoadInto(Small(2), saved_).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(LoadInto(Small(15), saved_).ok());  // of the same width
}

}  // namespace
}  // namespace cairn::ps
