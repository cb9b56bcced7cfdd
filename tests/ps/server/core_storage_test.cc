// Values of 16 bits through a server: training, checkpoints, memory limits, recovery.
#include <cmath>

#include "tests/ps/server/shard_cluster.h"

namespace cairn::ps {
namespace {

constexpr std::size_t kDim = 7;  // odd: the state in a record lies at no multiple of 4

proto::JobConfig Job(const std::string& storage, const std::string& server = "",
                     const std::string& table = "optimizer { adagrad {} }") {
  return ParseJob(
      "seed: 5 table { name: 'plain' dim: 3 optimizer { adam {} } } "
      "table { name: 'short' dim: 7 initializer { uniform { bound: 0.1 } } storage: " +
      storage + " " + table + " } server { " + server + " }");
}

class CoreStorage : public testing::TestWithParam<std::string> {
 protected:
  void Train(ShardCluster& cluster, std::uint64_t first, std::uint64_t pushes) {
    for (std::uint64_t step = first; step < first + pushes; ++step) {
      ASSERT_EQ(cluster.Push(1, keys_, Gradients(step, keys_.size() * kDim)), OkStatus());
      ASSERT_EQ(cluster.Push(0, keys_, Gradients(step, keys_.size() * 3)), OkStatus());
    }
  }
  // Largest distance of a number of this size to the next one of the type.
  double Spacing(double value) const {
    if (GetParam() == "FLOAT32") return 0;
    const int digits = GetParam() == "BFLOAT16" ? 7 : 10;
    return std::ldexp(std::max(std::abs(value), 0x1p-14), -digits);
  }

  TempFolder folder_;
  const std::vector<std::uint64_t> keys_ = Keys(1, 700);
};

TEST_P(CoreStorage, FollowsTrainingInFloat32WithoutBias) {
  ShardCluster cluster(Job(GetParam()), 1, folder_, "short");
  ShardCluster exact(Job("FLOAT32"), 1, folder_, "exact");
  ASSERT_EQ(cluster.Restore(""), OkStatus());
  ASSERT_EQ(exact.Restore(""), OkStatus());
  // Before its first push a key reads as it does in float32.
  EXPECT_EQ(cluster.Pull(1, keys_), exact.Pull(1, keys_));
  constexpr int kPushes = 20;
  Train(cluster, 1, kPushes);
  Train(exact, 1, kPushes);
  EXPECT_EQ(cluster.Pull(0, keys_), exact.Pull(0, keys_));
  const auto values = cluster.Pull(1, keys_);
  const auto wanted = exact.Pull(1, keys_);
  // Adagrad's steps do not depend on the value: what differs is a sum of rounding errors, each
  // less than a spacing and of mean 0.
  double sum = 0, bound = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double spacing = Spacing(std::abs(wanted[i]) + 0.3);  // no value passes this on its way
    EXPECT_LE(std::abs(values[i] - wanted[i]), kPushes * spacing) << i;
    sum += values[i] - wanted[i];
    bound += kPushes * spacing * spacing / 4;
  }
  EXPECT_LE(std::abs(sum), 5 * std::sqrt(bound));
}

TEST_P(CoreStorage, TheFirstPushRoundsOnce) {
  ShardCluster cluster(Job(GetParam()), 1, folder_, "short");
  ShardCluster exact(Job("FLOAT32"), 1, folder_, "exact");
  ASSERT_EQ(cluster.Restore(""), OkStatus());
  ASSERT_EQ(exact.Restore(""), OkStatus());
  Train(cluster, 1, 1);
  Train(exact, 1, 1);
  const auto values = cluster.Pull(1, keys_);
  const auto wanted = exact.Pull(1, keys_);
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_LE(std::abs(values[i] - wanted[i]), Spacing(wanted[i])) << i;
  }
}

TEST_P(CoreStorage, ACheckpointOfAnyNumberOfServersGoesOnBitForBit) {
  ShardCluster straight(Job(GetParam()), 1, folder_, "straight");
  ASSERT_EQ(straight.Restore(""), OkStatus());
  Train(straight, 1, 3);
  const proto::CheckpointManifest manifest = straight.Checkpoint(folder_ / "a");
  EXPECT_EQ(manifest.table(1).has_storage(), GetParam() != "FLOAT32");
  const TableContent rows = ReadTable(folder_ / "a", 1);
  const auto values = straight.Pull(1, keys_);
  ASSERT_EQ(rows.size(), keys_.size());
  for (std::size_t i = 0; i < keys_.size(); ++i) {
    const RowContent& row = rows.at(keys_[i]);
    EXPECT_TRUE(std::equal(row.value.begin(), row.value.end(), values.begin() + i * kDim));
    for (const float square : row.state) EXPECT_GT(square, 0);
    EXPECT_EQ(row.metadata.count, 3u);
  }
  Train(straight, 4, 2);
  straight.Checkpoint(folder_ / "straight_on");
  for (const std::uint32_t servers : {1u, 2u}) {
    ShardCluster resumed(Job(GetParam()), servers, folder_, "resumed" + std::to_string(servers));
    ASSERT_EQ(resumed.Restore(folder_ / "a"), OkStatus());
    EXPECT_EQ(resumed.Pull(1, keys_), values);
    Train(resumed, 4, 2);
    const std::string folder = folder_ / ("on" + std::to_string(servers));
    resumed.Checkpoint(folder);
    EXPECT_EQ(ReadTable(folder, 1), ReadTable(folder_ / "straight_on", 1));
  }
}

TEST_P(CoreStorage, RowsThatLeaveMemoryComeBackAsTheyWere) {
  ShardCluster bounded(Job(GetParam(), "memory_mib: 4"), 1, folder_, "bounded");
  ShardCluster whole(Job(GetParam()), 1, folder_, "whole");
  ASSERT_EQ(bounded.Restore(""), OkStatus());
  ASSERT_EQ(whole.Restore(""), OkStatus());
  constexpr std::size_t kPart = 8000;
  const auto many = Keys(7, 12 * kPart);
  for (std::uint64_t step = 0; step < 2; ++step) {
    for (std::size_t begin = 0; begin < many.size(); begin += kPart) {
      const auto at = many.begin() + static_cast<std::ptrdiff_t>(begin);
      const auto gradients = Gradients(step * 1000 + begin, kPart * kDim);
      ASSERT_EQ(bounded.Push(1, {at, at + kPart}, gradients), OkStatus());
      ASSERT_EQ(whole.Push(1, {at, at + kPart}, gradients), OkStatus());
    }
  }
  proto::PsStatsReply stats;
  bounded.core(0).Stats(&stats);
  EXPECT_GT(stats.table(1).fetched_rows(), 0u);
  EXPECT_EQ(stats.table(1).rows(), many.size());
  for (const AbsentRow absent : {AbsentRow::kZero, AbsentRow::kInitialValue}) {
    for (std::size_t begin = 0; begin < many.size(); begin += kPart) {
      const auto at = many.begin() + static_cast<std::ptrdiff_t>(begin);
      EXPECT_EQ(bounded.Pull(1, {at, at + kPart}, absent), whole.Pull(1, {at, at + kPart}, absent));
    }
  }
}

TEST_P(CoreStorage, TheLogReplaysToTheSameBits) {
  for (const std::string& table : {std::string("optimizer { ftrl {} }"),
                                   std::string("l2: 0.01 l2_rows: ALL optimizer { adagrad {} }")}) {
    const proto::JobConfig job = Job(GetParam(), "durability: PROCESS", table);
    TempFolder folder;
    std::vector<float> values;
    {
      ShardCluster cluster(job, 1, folder, "ps");
      ASSERT_EQ(cluster.Restore(""), OkStatus());
      Train(cluster, 1, 3);
      cluster.Checkpoint(folder / "a");
      Train(cluster, 4, 3);
      values = cluster.Pull(1, keys_);
    }
    ShardCluster cluster(job, 1, folder, "ps");
    proto::RestoreReply reply;
    ASSERT_EQ(cluster.core(0).Recover(&reply), OkStatus());
    EXPECT_EQ(cluster.Pull(1, keys_), values);
  }
}

INSTANTIATE_TEST_SUITE_P(All, CoreStorage, testing::Values("FLOAT32", "BFLOAT16", "FLOAT16"));

TEST(CoreStorageMismatch, AnotherStorageIsRefusedNamingBoth) {
  TempFolder folder;
  const auto keys = Keys(1, 10);
  {
    ShardCluster cluster(Job("BFLOAT16", "durability: PROCESS"), 1, folder, "ps");
    ASSERT_EQ(cluster.Restore(""), OkStatus());
    ASSERT_EQ(cluster.Push(1, keys, Gradients(1, 10 * kDim)), OkStatus());
    cluster.Checkpoint(folder / "a");
  }
  for (const std::string other : {"FLOAT32", "FLOAT16"}) {
    ShardCluster cluster(Job(other, "durability: PROCESS"), 1, folder, "ps");
    proto::RestoreReply reply;
    EXPECT_EQ(cluster.core(0).Recover(&reply).code(), absl::StatusCode::kFailedPrecondition);
    const Status restored = cluster.Restore(folder / "a");
    EXPECT_EQ(restored.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_NE(restored.message().find("table short: the checkpoint keeps values as bfloat16"),
              std::string::npos)
        << restored;
  }
}

}  // namespace
}  // namespace cairn::ps
