// Recoveries whose log names more rows than memory holds, and what follows a recovery.
#include <unistd.h>

#include <filesystem>

#include <gmock/gmock.h>

#include "tests/ps/server/recovery.h"

namespace cairn::ps {
namespace {

constexpr char kUnlimited[] = "durability: PROCESS log_mib: 128";
constexpr char kTiers[] = "durability: PROCESS log_mib: 128 memory_mib: 6";
// Some 28 000 rows of each table, named about three times by 60 pushes: 10 MB, and 20 MB of log.
constexpr PushScript kWide{.keys = 1500, .universe = 30'000};
constexpr std::uint64_t kPushes = 60;

class ReplayTest : public testing::Test {
 protected:
  static void Push(PsCore& core, const PushScript& script, std::uint64_t from, std::uint64_t to) {
    for (std::uint64_t n = from; n <= to; ++n) {
      ASSERT_EQ(PushNumber(core, script, n, n), OkStatus()) << n;
    }
  }
  // A server that never died, with the same pushes.
  std::unique_ptr<PsCore> Straight(const PushScript& script, std::uint64_t pushes,
                                   const PsOptions& options) {
    auto core = PsCore::Make(RecoveryJob("durability: NONE"), options);
    EXPECT_TRUE(core.ok()) << core.status();
    EXPECT_EQ(Restore(**core), OkStatus());
    EXPECT_EQ(InitSmallModel(**core), OkStatus());
    Push(**core, script, 1, pushes);
    return std::move(*core);
  }
  ServerContent StraightContent(const PushScript& script, std::uint64_t pushes) {
    const auto core = Straight(script, pushes, {.folder = folder_ / "straight"});
    return ReadServer(*core, RecoveryJob("durability: NONE"), folder_ / "read");
  }
  static std::vector<float> Values(PsCore& core, const PushScript& script) {
    std::vector<std::uint64_t> keys;
    for (std::uint64_t i = 0; i < script.universe; ++i) keys.push_back(MixedKey(i));
    std::vector<float> values(keys.size() * 35);
    const RowsRead reads[] = {{0, keys, values.data()},
                              {1, keys, values.data() + keys.size() * 32}};
    EXPECT_EQ(core.Pull(reads, AbsentRow::kZero), OkStatus());
    return values;
  }
  // Until all rows are in memory.
  static void WaitUntilWarm(const PsCore& core) {
    for (int i = 0; i < 6000; ++i) {
      const proto::PsStatsReply stats = StatsOf(core);
      bool is_warm = true;
      for (const proto::TableStats& table : stats.table()) {
        is_warm &= table.rows() == table.resident_rows() && table.rows() >= kWide.universe * 3 / 4;
      }
      if (is_warm) return;
      usleep(10'000);
    }
    FAIL() << StatsOf(core).ShortDebugString();
  }
  TempFolder folder_;
};

// Several times over the log, for rows of other slots each time; also of a server that died right
// after it was recovered, when some rows in the database are newer than others.
TEST_F(ReplayTest, ALogOfMoreRowsThanMemoryHoldsComesBackBitForBit) {
  const auto job = RecoveryJob(kTiers);
  {
    const auto core = MakeServer(job, folder_ / "ps");
    ASSERT_EQ(Restore(*core), OkStatus());
    ASSERT_EQ(InitSmallModel(*core), OkStatus());
    Push(*core, kWide, 1, kPushes);
    EXPECT_EQ(StatsOf(*core).log_cuts(), 0u);
  }
  for (std::uint64_t life = 0; life < 3; ++life) {
    SCOPED_TRACE(life);
    const auto core = MakeServer(job, folder_ / "ps");
    ASSERT_EQ(Recover(*core), OkStatus());
    const proto::PsStatsReply stats = StatsOf(*core);
    EXPECT_GT(stats.table(0).spilled_rows(), 0u);
    EXPECT_LE(stats.table(0).bytes() + stats.table(1).bytes(), 6u << 20);
    if (life > 0) Push(*core, kWide, kPushes + life, kPushes + life);
  }
  const auto core = MakeServer(job, folder_ / "ps");
  ASSERT_EQ(Recover(*core), OkStatus());
  EXPECT_EQ(ReadServer(*core, job, folder_ / "read"), StraightContent(kWide, kPushes + 2));
}

// All rows share one slot, so they cannot come in parts: each push brings its own.
TEST_F(ReplayTest, ASlotWithMoreRowsThanMemoryHolds) {
  const PsOptions options{.slot_bits = 0, .folder = folder_ / "ps"};
  const auto job = RecoveryJob(kTiers);
  {
    const auto core = PsCore::Make(job, options).value();
    ASSERT_EQ(Restore(*core), OkStatus());
    ASSERT_EQ(InitSmallModel(*core), OkStatus());
    Push(*core, kWide, 1, kPushes);
  }
  const auto core = PsCore::Make(job, options).value();
  ASSERT_EQ(Recover(*core), OkStatus());
  EXPECT_GT(StatsOf(*core).table(0).spilled_rows(), 0u);
  const auto straight = Straight(kWide, kPushes, {.slot_bits = 0, .folder = folder_ / "straight"});
  EXPECT_EQ(Values(*core, kWide), Values(*straight, kWide));
  // The state of the optimizer shows in further pushes.
  Push(*core, kWide, kPushes + 1, kPushes + 20);
  Push(*straight, kWide, kPushes + 1, kPushes + 20);
  EXPECT_EQ(Values(*core, kWide), Values(*straight, kWide));
}

// Servers that own some of the slots.
TEST_F(ReplayTest, EveryServerComesBackWithItsSlots) {
  constexpr std::size_t kKeys = 2000;
  for (const char* const server : {kUnlimited, kTiers}) {
    SCOPED_TRACE(server);
    TempFolder folder;
    const auto job = RecoveryJob(server);
    ShardCluster straight(RecoveryJob("durability: NONE"), 3, folder, "straight");
    ASSERT_EQ(straight.Restore(""), OkStatus());
    std::vector<std::uint64_t> all;
    for (std::uint64_t i = 0; i < 60'000; ++i) all.push_back(MixedKey(i));
    const auto push = [&](ShardCluster& cluster, std::uint64_t n) {
      const std::vector<std::uint64_t> keys(
          all.begin() + static_cast<std::ptrdiff_t>(n * 700 % 50'000),
          all.begin() + static_cast<std::ptrdiff_t>(n * 700 % 50'000 + kKeys));
      ASSERT_EQ(cluster.Push(0, keys, Gradients(n, kKeys * 32)), OkStatus());
    };
    {
      ShardCluster cluster(job, 3, folder, "ps");
      ASSERT_EQ(cluster.Restore(""), OkStatus());
      for (std::uint64_t n = 0; n < 100; ++n) push(cluster, n);
    }
    ShardCluster cluster(job, 3, folder, "ps");
    for (std::size_t p = 0; p < 3; ++p) ASSERT_EQ(Recover(cluster.core(p)), OkStatus());
    for (std::uint64_t n = 0; n < 100; ++n) push(straight, n);
    EXPECT_EQ(cluster.Pull(0, all), straight.Pull(0, all));
  }
}

// A record that was being written was not acknowledged.
TEST_F(ReplayTest, ATornRecordIsTakenForNeverWritten) {
  for (const char* const server : {kUnlimited, kTiers}) {
    SCOPED_TRACE(server);
    TempFolder folder;
    const auto job = RecoveryJob(server);
    {
      const auto core = MakeServer(job, folder / "ps");
      ASSERT_EQ(Restore(*core), OkStatus());
      ASSERT_EQ(InitSmallModel(*core), OkStatus());
      Push(*core, {}, 1, 20);
    }
    const auto logs = ListFolder(folder / "ps/log", ListMode::kEntries);
    ASSERT_TRUE(logs.ok() && !logs->empty());
    const std::string newest = folder / ("ps/log/" + logs->back());
    std::filesystem::resize_file(newest, std::filesystem::file_size(newest) - 9);
    const auto core = MakeServer(job, folder / "ps");
    ASSERT_EQ(Recover(*core), OkStatus());
    EXPECT_EQ(StatsOf(*core).duplicates(), 0u);
    Push(*core, {}, 20, 21);  // again, as from a client without an answer
    EXPECT_EQ(StatsOf(*core).duplicates(), 0u);
    EXPECT_EQ(ReadServer(*core, job, folder / "read"), StraightContent({}, 21));
  }
}

class WarmUpTest : public ReplayTest {
 protected:
  static constexpr std::uint64_t kBefore = kPushes + 3;
  // A server whose rows are in a snapshot, but for a few pushes.
  void SetUp() override {
    const auto core = MakeServer(job_, folder_ / "ps");
    ASSERT_EQ(Restore(*core), OkStatus());
    ASSERT_EQ(InitSmallModel(*core), OkStatus());
    Push(*core, kWide, 1, kPushes);
    (void)ReadServer(*core, job_, folder_ / "read");
    Push(*core, {}, kPushes + 1, kBefore);
  }
  const proto::JobConfig job_ = RecoveryJob(kUnlimited);
};

// Without requests, all rows come to memory; then the database is asked for none.
TEST_F(WarmUpTest, AllRowsComeToMemory) {
  const auto core = MakeServer(job_, folder_ / "ps");
  ASSERT_EQ(Recover(*core), OkStatus());
  WaitUntilWarm(*core);
  const std::uint64_t fetched = StatsOf(*core).table(0).fetched_rows();
  const auto values = Values(*core, kWide);
  Push(*core, kWide, kBefore + 1, kBefore + 7);
  EXPECT_EQ(StatsOf(*core).table(0).fetched_rows(), fetched);
  EXPECT_EQ(ReadServer(*core, job_, folder_ / "read"), [&] {
    const auto straight = Straight({}, 0, {.folder = folder_ / "straight"});
    Push(*straight, kWide, 1, kPushes);
    Push(*straight, {}, kPushes + 1, kBefore);
    EXPECT_EQ(values, Values(*straight, kWide));
    Push(*straight, kWide, kBefore + 1, kBefore + 7);
    return ReadServer(*straight, RecoveryJob("durability: NONE"), folder_ / "read");
  }());
}

// Pushes, new rows, snapshots and further recoveries beside it.
TEST_F(WarmUpTest, RequestsGoOnMeanwhile) {
  const PushScript wider{.keys = 1500, .universe = 40'000};
  std::uint64_t number = kBefore + 1;
  for (int life = 0; life < 4; ++life) {
    SCOPED_TRACE(life);
    const auto core = MakeServer(job_, folder_ / "ps");
    ASSERT_EQ(Recover(*core), OkStatus());
    if (life == 2) {
      ASSERT_EQ(Recover(*core), OkStatus());
    }
    for (int i = 0; i < 10; ++i, ++number) {
      ASSERT_EQ(PushNumber(*core, wider, number, number), OkStatus());
      (void)Values(*core, {});
      if (i == 5 && life % 2 == 0) (void)ReadServer(*core, job_, folder_ / "read");
    }
    if (life == 3) WaitUntilWarm(*core);
  }
  const auto core = MakeServer(job_, folder_ / "ps");
  ASSERT_EQ(Recover(*core), OkStatus());
  const auto straight = Straight({}, 0, {.folder = folder_ / "straight"});
  Push(*straight, kWide, 1, kPushes);
  Push(*straight, {}, kPushes + 1, kBefore);
  Push(*straight, wider, kBefore + 1, number - 1);
  EXPECT_EQ(ReadServer(*core, job_, folder_ / "read"),
            ReadServer(*straight, RecoveryJob("durability: NONE"), folder_ / "read2"));
}

// Rows of the old state do not come to the new one.
TEST_F(WarmUpTest, EndsWithARestore) {
  const auto core = MakeServer(job_, folder_ / "ps");
  ASSERT_EQ(Recover(*core), OkStatus());
  ASSERT_EQ(Restore(*core), OkStatus());
  ASSERT_EQ(InitSmallModel(*core), OkStatus());
  Push(*core, {}, 1, 50);
  EXPECT_EQ(ReadServer(*core, job_, folder_ / "read"), StraightContent({}, 50));
}

}  // namespace
}  // namespace cairn::ps
