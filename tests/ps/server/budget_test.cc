// Servers whose tables are larger than their memory.
#include <atomic>
#include <thread>
#include <unordered_map>

#include "tests/ps/server/shard_cluster.h"

namespace cairn::ps {
namespace {

constexpr std::uint64_t kMiB = 1u << 20;

// With SGD of rate 1, zero initial values and gradients that are whole numbers, a row is minus the
// sum of its gradients, exactly.
proto::JobConfig LedgerJob(std::uint64_t memory_mib) {
  proto::JobConfig job = ParseJob(R"(
    table { name: "a" dim: 4 optimizer { sgd { learning_rate: 1 } } initializer { zero {} } }
    table { name: "b" dim: 3 optimizer { sgd { learning_rate: 1 } } initializer { zero {} } })");
  job.mutable_server()->set_memory_mib(memory_mib);
  return job;
}
constexpr std::size_t kDims[] = {4, 3};

std::uint64_t TableBytes(const proto::PsStatsReply& stats) {
  std::uint64_t bytes = 0;
  for (const auto& table : stats.table()) bytes += table.bytes();
  return bytes;
}
proto::PsStatsReply StatsOf(const PsCore& core) {
  proto::PsStatsReply stats;
  core.Stats(&stats);
  return stats;
}

// Keys of which some are popular: their numbers are drawn with a density of 1 / x.
std::vector<std::uint64_t> DifferentKeys(Rng& rng, const std::vector<std::uint64_t>& keys,
                                         std::size_t n) {
  std::vector<std::uint64_t> out;
  for (std::size_t i = 0; i < n; ++i) {
    const double at = std::pow(static_cast<double>(keys.size()), rng.NextDouble()) - 1;
    // Half of them from all over, so that rows come and go.
    out.push_back(keys[i % 2 == 0 ? rng.NextBelow(keys.size()) : static_cast<std::size_t>(at)]);
  }
  std::ranges::sort(out);
  out.erase(std::ranges::unique(out).begin(), out.end());
  for (std::size_t i = out.size(); i > 1; --i) std::swap(out[i - 1], out[rng.NextBelow(i)]);
  return out;
}

class BudgetTest : public testing::Test {
 protected:
  // Makes every row of both tables, with the gradient that tells it from others.
  void PushAll(ShardCluster& cluster, std::size_t at_once = 5000) {
    for (std::uint32_t table = 0; table < 2; ++table) {
      for (std::size_t i = 0; i < keys_.size(); i += at_once) {
        const std::size_t n = std::min(at_once, keys_.size() - i);
        std::vector<float> gradients;
        for (std::size_t k = i; k < i + n; ++k) {
          for (std::size_t j = 0; j < kDims[table]; ++j) {
            gradients.push_back(-static_cast<float>(k * 4 + j));
          }
        }
        const auto begin = keys_.begin() + static_cast<std::ptrdiff_t>(i);
        ASSERT_EQ(cluster.Push(table, {begin, begin + static_cast<std::ptrdiff_t>(n)}, gradients),
                  OkStatus());
      }
    }
  }
  // After PushAll.
  void ExpectAll(ShardCluster& cluster, AbsentRow absent) {
    for (std::uint32_t table = 0; table < 2; ++table) {
      const std::size_t dim = kDims[table];
      for (std::size_t i = 0; i < keys_.size(); i += 5000) {
        const auto begin = keys_.begin() + static_cast<std::ptrdiff_t>(i);
        const auto values = cluster.Pull(table, {begin, begin + 5000}, absent);
        for (std::size_t k = 0; k < values.size(); ++k) {
          ASSERT_EQ(values[k], static_cast<float>((i + k / dim) * 4 + k % dim));
        }
      }
    }
  }

  TempFolder folder_;
  const std::vector<std::uint64_t> keys_ = Keys(1, 20'000);
};

TEST_F(BudgetTest, NothingIsLostWhileRowsComeAndGo) {
  constexpr int kThreads = 4;
#if defined(__SANITIZE_THREAD__)
  constexpr int kRequests = 40;
#else
  constexpr int kRequests = 120;
#endif
  constexpr std::uint64_t kMemoryMib = 1;
  constexpr std::size_t kKeys = 700;  // of a request, in each table
  const auto all = Keys(2, 50'000);
  ShardCluster cluster(LedgerJob(kMemoryMib), 1, folder_, "ps");
  ASSERT_EQ(cluster.Restore(""), OkStatus());
  PsCore& core = cluster.core(0);
  // By thread and table: what was pushed.
  using Ledger = std::unordered_map<std::uint64_t, std::int64_t>;
  std::vector<std::array<Ledger, 2>> ledgers(kThreads);
  std::atomic<int> running{kThreads};
  std::atomic<std::uint64_t> most_bytes{0};
  const auto train = [&](std::uint64_t t) {
    Rng rng(t, 9);
    for (std::uint64_t i = 1; i <= kRequests; ++i) {
      const std::vector<std::uint64_t> keys[2] = {DifferentKeys(rng, all, kKeys),
                                                  DifferentKeys(rng, all, kKeys)};
      std::vector<float> gradients[2], values[2];
      for (std::size_t table = 0; table < 2; ++table) {
        values[table].resize(keys[table].size() * kDims[table]);
        for (const std::uint64_t key : keys[table]) {
          const auto gradient = static_cast<std::int64_t>(rng.NextBelow(7)) - 3;
          gradients[table].resize(gradients[table].size() + kDims[table],
                                  static_cast<float>(gradient));
          ledgers[t][table][key] += gradient;
        }
      }
      const RowsRead reads[] = {{0, keys[0], values[0].data()}, {1, keys[1], values[1].data()}};
      const bool trains = rng.NextBelow(4) != 0;
      ASSERT_EQ(core.Pull(reads, trains ? AbsentRow::kInitialValue : AbsentRow::kZero), OkStatus());
      for (std::size_t k = 0; k < values[0].size(); ++k) {
        ASSERT_EQ(values[0][k], values[0][k / 4 * 4]) << "a torn row";
      }
      const RowsUpdate updates[] = {{0, keys[0], gradients[0].data()},
                                    {1, keys[1], gradients[1].data()}};
      ASSERT_EQ(core.Push(updates, {}, {t + 1, i}, 1), OkStatus());
    }
  };
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      train(t);
      --running;
    });
  }
  int snapshots = 0;
  while (running > 0) {
    most_bytes = std::max(most_bytes.load(), TableBytes(StatsOf(core)));
    if (++snapshots % 64 == 1) {
      // Between the keeper's two steps now and then.
      proto::SnapshotReply reply;
      const std::string name = folder_ / ("snapshot" + std::to_string(snapshots));
      ASSERT_EQ(core.Snapshot(name, &reply), OkStatus());
      std::filesystem::remove_all(name);
    }
    std::this_thread::yield();
  }
  for (auto& thread : threads) thread.join();
  // What requests that run at once may bring beyond the limit: rows, and the index's growth.
  EXPECT_LE(most_bytes, kMemoryMib * kMiB + kThreads * 2 * kKeys * (32 + 24));
  const proto::PsStatsReply stats = StatsOf(core);
  cluster.Checkpoint(folder_ / "end");
  for (std::uint32_t table = 0; table < 2; ++table) {
    Ledger sums;
    for (const auto& ledger : ledgers) {
      for (const auto& [key, sum] : ledger[table]) sums[key] += sum;
    }
    EXPECT_GT(stats.table(static_cast<int>(table)).fetched_rows(), 1000u);
    EXPECT_GT(stats.table(static_cast<int>(table)).spilled_rows(), 1000u);
    EXPECT_EQ(stats.table(static_cast<int>(table)).rows(), sums.size());
    const TableContent content = ReadTable(folder_ / "end", table);
    ASSERT_EQ(content.size(), sums.size());
    for (const auto& [key, row] : content) {
      ASSERT_EQ(row.value, std::vector<float>(kDims[table], -static_cast<float>(sums.at(key))));
    }
  }
}

// Rows, values and counts over servers with a budget and without one.
TEST_F(BudgetTest, CheckpointsGoFromAnyBudgetToAnyOther) {
  std::string checkpoint;
  TableContent contents[2];
  struct Stage {
    std::uint32_t servers;
    std::uint64_t memory_mib;
  };
  // The same number of servers takes the files as they are, another one reads the rows.
  const std::vector<Stage> stages = {{1, 0}, {1, 1}, {3, 1}, {3, 2},
                                     {2, 0}, {2, 1}, {1, 1}, {1, 1}};
  for (std::size_t i = 0; i < stages.size(); ++i) {
    SCOPED_TRACE(StrCat("stage ", i));
    ShardCluster cluster(LedgerJob(stages[i].memory_mib), stages[i].servers, folder_,
                         "stage" + std::to_string(i) + "-");
    std::uint64_t rows = 0;
    ASSERT_EQ(cluster.Restore(checkpoint, &rows), OkStatus());
    EXPECT_EQ(rows, i == 0 ? 0 : 2 * keys_.size());
    if (i == 0) PushAll(cluster);
    ExpectAll(cluster, i % 2 == 0 ? AbsentRow::kInitialValue : AbsentRow::kZero);
    for (std::size_t p = 0; p < stages[i].servers && stages[i].memory_mib != 0; ++p) {
      EXPECT_LE(TableBytes(StatsOf(cluster.core(p))),
                stages[i].memory_mib * kMiB + 5000 * (32 + 24));
    }
    checkpoint = folder_ / ("step-" + std::to_string(i));
    const auto manifest = cluster.Checkpoint(checkpoint);
    for (std::uint32_t table = 0; table < 2; ++table) {
      EXPECT_EQ(manifest.table(static_cast<int>(table)).rows(), keys_.size());
      TableContent content = ReadTable(checkpoint, table);
      if (i == 0) {
        contents[table] = std::move(content);
      } else {
        EXPECT_EQ(content, contents[table]);
      }
    }
  }
}

TEST_F(BudgetTest, PushesAfterARestoreGoOnFromTheRowsOfTheCheckpoint) {
  ShardCluster first(LedgerJob(1), 1, folder_, "first");
  ASSERT_EQ(first.Restore(""), OkStatus());
  PushAll(first);
  first.Checkpoint(folder_ / "a");
  for (const std::uint32_t servers : {1u, 2u}) {
    ShardCluster second(LedgerJob(1), servers, folder_, "second" + std::to_string(servers) + "-");
    ASSERT_EQ(second.Restore(folder_ / "a"), OkStatus());
    PushAll(second);
    second.Checkpoint(folder_ / ("b" + std::to_string(servers)));
    const auto before = ReadTable(folder_ / "a", 0);
    const auto after = ReadTable(folder_ / ("b" + std::to_string(servers)), 0);
    ASSERT_EQ(after.size(), keys_.size());
    for (const auto& [key, row] : before) {
      const RowContent& now = after.at(key);
      ASSERT_EQ(now.metadata.version, 2u);
      ASSERT_EQ(now.metadata.count, 2u);
      ASSERT_GT(now.metadata.last_step, row.metadata.last_step);
      for (std::size_t j = 0; j < 4; ++j) ASSERT_EQ(now.value[j], 2 * row.value[j]);
    }
  }
}

// The state is replaced while the keeper is between its two steps. Every gradient is -1: whatever
// was lost with a restore, a row's value stays its number of steps.
TEST_F(BudgetTest, RestoreWhileRowsComeAndGo) {
  ShardCluster cluster(LedgerJob(1), 1, folder_, "ps");
  ASSERT_EQ(cluster.Restore(""), OkStatus());
  PsCore& core = cluster.core(0);
  std::atomic<bool> runs{true};
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      Rng rng(t, 4);
      const std::vector<float> gradients(4000, -1.0f);
      std::vector<float> values(4000);
      while (runs) {
        const auto keys = DifferentKeys(rng, keys_, 1000);
        const RowsRead read{0, keys, values.data()};
        const RowsUpdate update{0, keys, gradients.data()};
        ASSERT_EQ(core.Push({&update, 1}, {}, {}, 1), OkStatus());
        ASSERT_EQ(core.Pull({&read, 1}, AbsentRow::kInitialValue), OkStatus());
      }
    });
  }
  for (int i = 0; i < 6; ++i) {
    while (StatsOf(core).table(0).spilled_rows() < 4000) std::this_thread::yield();
    const std::string checkpoint = folder_ / std::to_string(i);
    const auto manifest = cluster.Checkpoint(checkpoint);
    if (i % 2 == 0) continue;
    // A restored server counts from nothing.
    ASSERT_EQ(cluster.Restore(folder_ / std::to_string(i - 1)), OkStatus());
  }
  runs = false;
  for (auto& thread : threads) thread.join();
  const auto manifest = cluster.Checkpoint(folder_ / "end");
  const TableContent content = ReadTable(folder_ / "end", 0);
  EXPECT_EQ(content.size(), manifest.table(0).rows());
  EXPECT_EQ(content.size(), StatsOf(core).table(0).rows());
  for (const auto& [key, row] : content) {
    ASSERT_EQ(row.value, std::vector<float>(4, static_cast<float>(row.metadata.version)));
    ASSERT_EQ(row.metadata.count, row.metadata.version);
  }
}

// A recovered server counts the rows of its database beside everything else; snapshots, several at
// once among them, wait for the count.
TEST_F(BudgetTest, RowsAreCountedExactlyAfterARecovery) {
  proto::JobConfig job = LedgerJob(1);
  job.mutable_server()->set_durability(proto::ServerConfig::PROCESS);
  {
    ShardCluster cluster(job, 1, folder_, "ps");
    ASSERT_EQ(cluster.Restore(""), OkStatus());
    PushAll(cluster);
  }
  ShardCluster cluster(job, 1, folder_, "ps");
  PsCore& core = cluster.core(0);
  for (int i = 0; i < 3; ++i) {
    proto::RestoreReply recovered;
    ASSERT_EQ(core.Recover(&recovered), OkStatus());
    const auto fresh = Keys(50 + static_cast<std::uint64_t>(i), 100);
    ASSERT_EQ(cluster.Push(0, fresh, std::vector<float>(400, 1)), OkStatus());
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&, t] {
        proto::SnapshotReply reply;
        ASSERT_EQ(core.Snapshot(folder_ / StrCat("s", i, "-", t), &reply), OkStatus());
        EXPECT_EQ(reply.shard().rows(0), keys_.size() + 100u * static_cast<unsigned>(i + 1));
        EXPECT_EQ(reply.shard().rows(1), keys_.size());
      });
    }
    for (auto& thread : threads) thread.join();
  }
  ExpectAll(cluster, AbsentRow::kZero);
}

// It is served, and does not keep those after it from memory.
TEST_F(BudgetTest, ARequestMayBeLargerThanTheMemory) {
  ShardCluster cluster(LedgerJob(1), 1, folder_, "ps");
  ASSERT_EQ(cluster.Restore(""), OkStatus());
  PushAll(cluster, keys_.size());
  for (std::uint64_t i = 0; i < 5; ++i) {
    cluster.Pull(1, {keys_.begin(), keys_.end()}, AbsentRow::kInitialValue);
    ASSERT_EQ(cluster.Push(0, {i}, std::vector<float>(4, 1)), OkStatus());
  }
  ExpectAll(cluster, AbsentRow::kZero);
  ExpectAll(cluster, AbsentRow::kInitialValue);
}

TEST_F(BudgetTest, EvaluationMakesAndMovesNoRows) {
  ShardCluster cluster(LedgerJob(1), 1, folder_, "ps");
  ASSERT_EQ(cluster.Restore(""), OkStatus());
  PushAll(cluster);
  cluster.Checkpoint(folder_ / "a");
  ASSERT_EQ(cluster.Restore(folder_ / "a"), OkStatus());
  ExpectAll(cluster, AbsentRow::kZero);
  EXPECT_EQ(cluster.Pull(0, Keys(77, 1000), AbsentRow::kZero), std::vector<float>(4000));
  const auto stats = StatsOf(cluster.core(0));
  EXPECT_EQ(stats.table(0).resident_rows(), 0u);
  EXPECT_EQ(stats.table(0).rows(), keys_.size());
  EXPECT_EQ(stats.table(0).pulled_absent(), 1000u);
  EXPECT_EQ(TableBytes(stats), 0u);
}

TEST_F(BudgetTest, ATableThatStepsAsAWholeIsRefused) {
  proto::JobConfig job = LedgerJob(64);
  job.mutable_table(1)->set_l2_rows(proto::TableConfig::ALL);
  const auto core = PsCore::Make(job, {.folder = folder_ / "ps"});
  EXPECT_EQ(core.status(), absl::InvalidArgumentError(
                               "table b: l2_rows is ALL, which needs every row in memory, and "
                               "server.memory_mib is 64, must be 0"));
  job.mutable_server()->set_memory_mib(0);
  EXPECT_TRUE(PsCore::Make(job, {.folder = folder_ / "ps"}).ok());
}

TEST_F(BudgetTest, WithoutALimitAllRowsAreInMemoryAndTheStoreIsNotAsked) {
  ShardCluster cluster(LedgerJob(0), 1, folder_, "ps");
  ASSERT_EQ(cluster.Restore(""), OkStatus());
  PushAll(cluster);
  cluster.Checkpoint(folder_ / "a");
  ASSERT_EQ(cluster.Restore(folder_ / "a"), OkStatus());
  ExpectAll(cluster, AbsentRow::kInitialValue);
  cluster.Pull(0, Keys(77, 1000));
  const auto stats = StatsOf(cluster.core(0));
  for (const auto& table : stats.table()) {
    EXPECT_EQ(table.resident_rows(), keys_.size());
    EXPECT_EQ(table.rows(), keys_.size());
    EXPECT_EQ(table.fetched_rows(), 0u);
    EXPECT_EQ(table.spilled_rows(), 0u);
  }
  EXPECT_EQ(stats.waits_for_room(), 0u);
}

}  // namespace
}  // namespace cairn::ps
