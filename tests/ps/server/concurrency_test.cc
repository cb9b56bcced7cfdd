// Pulls, pushes, statistics and snapshots of one server from several threads at once. Meant for the
// thread sanitizer too.
#include <atomic>
#include <thread>

#include "tests/ps/server/shard_cluster.h"

namespace cairn::ps {
namespace {

// With SGD of rate 1, zero initial values and gradients of -1, each float of a row counts the
// pushes that named it.
proto::JobConfig CountingJob() {
  return ParseJob(R"(
    table { name: "a" dim: 6 optimizer { sgd { learning_rate: 1 } } initializer { zero {} } }
    table { name: "b" dim: 17 optimizer { sgd { learning_rate: 1 } } initializer { zero {} } }
    dense { optimizer { sgd { learning_rate: 1 } } })");
}

class ConcurrencyTest : public testing::Test {
 protected:
  static constexpr int kClients = 3;
  static constexpr std::uint64_t kPushes = 60;
  static constexpr std::size_t kKeys = 400;

  void SetUp() override {
    ASSERT_EQ(cluster_.Restore(""), OkStatus());
    const std::vector<float> zeros(1000);
    const DenseChunkUpdate chunk{0, 0, zeros};
    ASSERT_EQ(core().RegisterDense(layout_), OkStatus());
    ASSERT_EQ(core().InitDense({&chunk, 1}), OkStatus());
  }
  PsCore& core() { return cluster_.core(0); }

  // Pushes all rows of both tables and the dense chunk, each push twice, as if replies got lost.
  void Push(std::uint64_t client) {
    const std::vector<float> ones(kKeys * 17, -1.0f);
    const std::vector<RowsUpdate> updates = {{0, keys_, ones.data()}, {1, keys_, ones.data()}};
    const DenseChunkUpdate dense{0, 0, {ones.data(), 1000}};
    for (std::uint64_t sequence = 1; sequence <= kPushes; ++sequence) {
      for (int attempt = 0; attempt < 2; ++attempt) {
        ASSERT_EQ(core().Push(updates, {&dense, 1}, {client, sequence}, 1), OkStatus());
      }
    }
  }
  // Rows must be whole, and never go back.
  void PullUntilDone(const std::atomic<int>& running) {
    std::vector<float> a(kKeys * 6), b(kKeys * 17), dense(1000), last(kKeys);
    while (running > 0) {
      const std::vector<RowsRead> reads = {{0, keys_, a.data()}, {1, keys_, b.data()}};
      ASSERT_EQ(core().Pull(reads, AbsentRow::kZero), OkStatus());
      const DenseChunkRead chunk{0, 0, dense};
      ASSERT_EQ(core().PullDense({&chunk, 1}), OkStatus());
      for (std::size_t i = 0; i < a.size(); ++i) ASSERT_EQ(a[i], a[i / 6 * 6]);
      for (std::size_t i = 0; i < b.size(); ++i) ASSERT_EQ(b[i], b[i / 17 * 17]);
      for (const float x : dense) ASSERT_EQ(x, dense[0]);
      for (std::size_t i = 0; i < kKeys; ++i) {
        ASSERT_GE(a[i * 6], last[i]);
        last[i] = a[i * 6];
      }
    }
  }

  TempFolder folder_;
  ShardCluster cluster_{CountingJob(), 1, folder_, "ps"};
  const std::vector<std::uint64_t> keys_ = Keys(1, kKeys);
  const std::vector<DenseTensorSpec> layout_ = {{.name = "w", .dims = {1000}}};
};

TEST_F(ConcurrencyTest, NothingIsTornLostOrAppliedTwice) {
  std::atomic<int> running{kClients};
  std::vector<std::thread> threads;
  for (std::uint64_t client = 1; client <= kClients; ++client) {
    threads.emplace_back([this, client, &running] {
      Push(client);
      --running;
    });
  }
  threads.emplace_back([&] { PullUntilDone(running); });
  threads.emplace_back([&] {
    for (int i = 0; running > 0; ++i) {
      proto::PsStatsReply stats;
      core().Stats(&stats);
      proto::SnapshotReply reply;
      ASSERT_EQ(core().Snapshot(folder_ / ("snapshot" + std::to_string(i)), &reply), OkStatus());
    }
  });
  for (std::thread& thread : threads) thread.join();
  const auto total = static_cast<float>(kClients * kPushes);
  EXPECT_EQ(cluster_.Pull(0, keys_), std::vector<float>(kKeys * 6, total));
  EXPECT_EQ(cluster_.Pull(1, keys_), std::vector<float>(kKeys * 17, total));
  EXPECT_EQ(cluster_.PullDense(layout_).at({0, 0}), std::vector<float>(1000, total));
  proto::PsStatsReply stats;
  core().Stats(&stats);
  EXPECT_EQ(stats.pushes(), kClients * kPushes);
  EXPECT_EQ(stats.duplicates(), kClients * kPushes);
}

// The same push arrives over two connections at the same time: one of them applies it.
TEST_F(ConcurrencyTest, ARaceOfRepeatsIsAppliedOnce) {
  const std::vector<float> ones(kKeys * 6, -1.0f);
  const RowsUpdate update{0, keys_, ones.data()};
  for (std::uint64_t sequence = 1; sequence <= 50; ++sequence) {
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&] {
        ASSERT_EQ(core().Push({&update, 1}, {}, {7, sequence}, 1), OkStatus());
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(cluster_.Pull(0, keys_), std::vector<float>(kKeys * 6, 50.0f));
}

}  // namespace
}  // namespace cairn::ps
