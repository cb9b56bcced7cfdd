// What a server tells about its requests: times, and how evenly its slots are named.
#include "ps/server/request_stats.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "common/metrics/distribution_proto.h"
#include "tests/ps/server/shard_cluster.h"

namespace cairn::ps {
namespace {

using ::testing::ElementsAre;

// Different keys of one slot.
std::vector<std::uint64_t> KeysOfSlot(std::uint32_t slot, int slot_bits, std::size_t count) {
  std::vector<std::uint64_t> keys;
  for (std::uint64_t key = 1; keys.size() < count; ++key) {
    if (SlotOf(key, slot_bits) == slot) keys.push_back(key);
  }
  return keys;
}

std::vector<std::uint64_t> KeysOf(const SlotRange& slots, std::size_t count) {
  std::vector<std::uint64_t> keys;
  for (std::uint64_t key = 1; keys.size() < count; ++key) {
    if (slots.HasMixed(MixedKey(key))) keys.push_back(key);
  }
  return keys;
}

proto::SlotLoadStats Told(const SlotLoad& load) {
  proto::SlotLoadStats told;
  load.Tell(&told);
  return told;
}

TEST(SlotLoad, EveryKeyHasTheSameChance) {
  const SlotRange slots{4, 4, 8};
  SlotLoad load(slots);
  // Keys in order of their slots, in requests whose length is the distance of the samples: without
  // a new beginning for each request the same slots would be found each time.
  std::vector<std::uint64_t> keys;
  for (std::uint32_t slot = 4; slot < 12; ++slot) {
    for (const std::uint64_t key : KeysOfSlot(slot, 4, 8)) keys.push_back(key);
  }
  ASSERT_EQ(keys.size(), SlotLoad::kSampledOneIn);
  constexpr std::uint64_t kRequests = 16'000;
  for (std::uint64_t i = 0; i < kRequests; ++i) load.Count(RequestKind::kPull, keys);
  const proto::SlotLoadStats told = Told(load);
  EXPECT_EQ(told.groups(), 8u);
  EXPECT_EQ(told.sampled_one_in(), 64u);
  EXPECT_EQ(told.pulled_rows(), kRequests * keys.size());
  EXPECT_EQ(told.pushed_rows(), 0u);
  ASSERT_EQ(told.most_loaded_size(), 8);
  for (const proto::SlotGroupLoad& group : told.most_loaded()) {
    EXPECT_EQ(group.first_slot(), group.last_slot());
    // 2000 samples each: five standard deviations.
    EXPECT_NEAR(static_cast<double>(group.pulled_rows()), 8.0 * kRequests,
                64 * 5 * std::sqrt(2000.0))
        << group.first_slot();
  }
}

TEST(SlotLoad, TheMostLoadedComeFirst) {
  SlotLoad load({4, 8, 8});
  const auto all = KeysOf({4, 8, 8}, 64);
  const auto hot = KeysOfSlot(13, 4, 64);
  const auto warm = KeysOfSlot(10, 4, 64);
  for (int i = 0; i < 1000; ++i) {
    load.Count(RequestKind::kPull, all);
    load.Count(RequestKind::kPush, hot);
    if (i % 2 == 0) load.Count(RequestKind::kPull, warm);
  }
  const proto::SlotLoadStats told = Told(load);
  EXPECT_EQ(told.pulled_rows(), 1500u * 64);
  EXPECT_EQ(told.pushed_rows(), 1000u * 64);
  ASSERT_GE(told.most_loaded_size(), 2);
  EXPECT_EQ(told.most_loaded(0).first_slot(), 13u);
  EXPECT_EQ(told.most_loaded(0).pushed_rows(), 1000u * 64);
  EXPECT_EQ(told.most_loaded(1).first_slot(), 10u);
  EXPECT_EQ(told.most_loaded(1).pushed_rows(), 0u);
  EXPECT_GE(told.most_loaded(1).pulled_rows(), 500u * 64);
}

TEST(SlotLoad, ManySlotsAreGrouped) {
  // 3000 slots: groups of four, so that there are at most 1024.
  const SlotRange slots{16, 5000, 3000};
  SlotLoad load(slots);
  const auto first = KeysOfSlot(5003, 16, 64);
  const auto last = KeysOfSlot(7999, 16, 64);
  load.Count(RequestKind::kPull, first);
  load.Count(RequestKind::kPull, first);
  load.Count(RequestKind::kPush, last);
  const proto::SlotLoadStats told = Told(load);
  EXPECT_EQ(told.groups(), 750u);
  ASSERT_EQ(told.most_loaded_size(), 2);
  EXPECT_EQ(told.most_loaded(0).first_slot(), 5000u);
  EXPECT_EQ(told.most_loaded(0).last_slot(), 5003u);
  EXPECT_EQ(told.most_loaded(0).pulled_rows(), 128u);
  EXPECT_EQ(told.most_loaded(1).first_slot(), 7996u);
  EXPECT_EQ(told.most_loaded(1).last_slot(), 7999u);
}

TEST(SlotLoad, OneSlotAndSmallRequests) {
  SlotLoad load({0, 0, 1});
  const std::uint64_t key = 5;
  for (int i = 0; i < 6400; ++i) load.Count(RequestKind::kPush, {&key, 1});
  load.Count(RequestKind::kPush, {});
  const proto::SlotLoadStats told = Told(load);
  EXPECT_EQ(told.groups(), 1u);
  // A request of one key counts one time in 64; 100 times here, five standard deviations.
  EXPECT_NEAR(static_cast<double>(told.pushed_rows()), 6400, 64 * 50);
}

TEST(SlotLoad, ThreadsLoseNothing) {
  const SlotRange slots{4, 0, 16};
  SlotLoad load(slots);
  const auto keys = KeysOf(slots, 3200);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) load.Count(RequestKind::kPull, keys);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Told(load).pulled_rows(), 4u * 500 * 3200);
}

Distribution Of(const proto::Distribution& message) {
  auto distribution = FromProto(message);
  EXPECT_TRUE(distribution.ok()) << distribution.status();
  return *std::move(distribution);
}

TEST(RequestStats, TheCoreTellsWhatItAnswered) {
  TempFolder folder;
  const proto::JobConfig job = ParseJob("table { name: 'a' dim: 2 } table { name: 'b' dim: 3 }");
  const PsOptions options{.ps = 1, .ps_count = 2, .slot_bits = 4, .folder = folder / "ps"};
  auto made = PsCore::Make(job, options);
  ASSERT_TRUE(made.ok()) << made.status();
  PsCore& core = **made;
  std::vector<std::uint64_t> keys = KeysOf({4, 8, 8}, 128);
  std::vector<float> floats(keys.size() * 3, 0.5f);
  const std::vector<RowsRead> reads = {{0, keys, floats.data()}, {1, keys, floats.data()}};
  EXPECT_FALSE(core.Pull(reads, AbsentRow::kZero).ok());  // not restored: not counted

  proto::RestoreReply restored;
  ASSERT_EQ(core.Restore("", &restored), OkStatus());
  for (int i = 0; i < 5; ++i) ASSERT_EQ(core.Pull(reads, AbsentRow::kInitialValue), OkStatus());
  const std::vector<RowsUpdate> updates = {{1, keys, floats.data()}};
  for (std::uint64_t i = 1; i <= 3; ++i) {
    ASSERT_EQ(core.Push(updates, {}, {7, i}, 1), OkStatus());
  }
  ASSERT_EQ(core.Push(updates, {}, {7, 3}, 1), OkStatus());  // a repeat: answered, no load
  EXPECT_FALSE(core.Push(updates, {}, {7, 9}, 1).ok());      // a gap

  proto::PsStatsReply stats;
  core.Stats(&stats);
  const Distribution pulls = Of(stats.pull_times().in_core());
  const Distribution pushes = Of(stats.push_times().in_core());
  EXPECT_EQ(pulls.count(), 5u);
  EXPECT_EQ(pushes.count(), 4u);
  EXPECT_GT(pulls.smallest, 0);
  EXPECT_GE(pulls.Percentile(0.99), pulls.Percentile(0.5));
  EXPECT_LE(pulls.Percentile(0.99), pulls.largest);
  EXPECT_FALSE(stats.pull_times().has_served());
  // 2 tables of 128 keys, 2 of each counted.
  EXPECT_EQ(stats.slots().pulled_rows(), 5u * 256);
  EXPECT_EQ(stats.slots().pushed_rows(), 3u * 128);
  EXPECT_EQ(stats.slots().groups(), 8u);
  for (const proto::SlotGroupLoad& group : stats.slots().most_loaded()) {
    EXPECT_GE(group.first_slot(), 8u);
    EXPECT_LE(group.last_slot(), 15u);
  }
  // A restore begins the tables anew, not the server.
  ASSERT_EQ(core.Restore("", &restored), OkStatus());
  core.Stats(&stats);
  EXPECT_EQ(stats.table(0).pulled_rows(), 0u);
  EXPECT_EQ(Of(stats.pull_times().in_core()).count(), 5u);
}

// Only what the tables apply is load: keys that admission leaves out are not.
TEST(RequestStats, RefusedKeysAreNoLoad) {
  TempFolder folder;
  const proto::JobConfig job =
      ParseJob("table { name: 'a' dim: 2 admission { min_pushes: 15 filter_mib: 1 } }");
  auto made = PsCore::Make(job, {.slot_bits = 4, .folder = folder / "ps"});
  ASSERT_TRUE(made.ok()) << made.status();
  proto::RestoreReply restored;
  ASSERT_EQ((*made)->Restore("", &restored), OkStatus());
  const std::vector<std::uint64_t> keys = KeysOf({4, 0, 16}, 320);
  const std::vector<float> gradients(keys.size() * 2, 0.5f);
  const std::vector<RowsUpdate> updates = {{0, keys, gradients.data()}};
  ASSERT_EQ((*made)->Push(updates, {}, {7, 1}, 1), OkStatus());
  proto::PsStatsReply stats;
  (*made)->Stats(&stats);
  EXPECT_EQ(stats.table(0).not_admitted(), 320u);
  EXPECT_EQ(stats.slots().pushed_rows(), 0u);
}

// The histogram holds one more than the pushes between.
TEST(RequestStats, StalenessCountsThePushesBetweenAPullAndItsPush) {
  Staleness staleness;
  constexpr std::uint32_t kWorker = 3;
  constexpr std::uint64_t kClient = 77;
  staleness.Pulled(kWorker, kClient, 1, /*rows=*/true, /*dense=*/false, 10);
  staleness.Pulled(kWorker, kClient, 2, true, false, 12);
  staleness.Pulled(kWorker, kClient, 1, false, true, 14);
  staleness.Pushed(kWorker, kClient, 1, 15);  // the 15th push
  EXPECT_EQ(staleness.rows().count(), 1u);
  EXPECT_EQ(staleness.rows().largest(), 5) << "pushes 11 to 14";
  EXPECT_EQ(staleness.dense().largest(), 1) << "none";
  staleness.Pushed(kWorker, kClient, 1, 99);             // told twice
  staleness.Pushed(kWorker, kClient, 7, 99);             // never pulled
  staleness.Pushed(8, kClient, 2, 99);                   // another worker
  staleness.Pulled(kWorker, kClient, 0, true, true, 1);  // an evaluation
  staleness.Pushed(kWorker, kClient, 0, 99);
  EXPECT_EQ(staleness.rows().count(), 1u);
  // The process that took the worker's place knows nothing of the old one's steps.
  staleness.Pulled(kWorker, kClient + 1, 3, true, true, 20);
  staleness.Pushed(kWorker, kClient + 1, 2, 99);
  EXPECT_EQ(staleness.rows().count(), 1u);
  staleness.Pushed(kWorker, kClient + 1, 3, 21);
  EXPECT_EQ(staleness.rows().count(), 2u);
  EXPECT_EQ(staleness.rows().smallest(), 1);
  EXPECT_EQ(staleness.dense().count(), 2u);
}

}  // namespace
}  // namespace cairn::ps
