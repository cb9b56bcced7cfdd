// Eviction through a server, whose background thread does it: what is left in memory, in
// checkpoints and after a recovery.
#include <thread>

#include "tests/ps/server/shard_cluster.h"

namespace cairn::ps {
namespace {

constexpr std::size_t kDim = 8;
constexpr std::size_t kPart = 5000;

proto::JobConfig Job(const std::string& server) {
  return ParseJob(
      "seed: 5 table { name: 't' dim: 8 optimizer { ftrl {} } initializer { uniform {} "
      "} eviction { max_age_pushes: 40 } } server { " +
      server + " }");
}

class CoreEviction : public testing::TestWithParam<std::string> {
 protected:
  proto::TableStats StatsOf(ShardCluster& cluster) {
    proto::PsStatsReply stats;
    cluster.core(0).Stats(&stats);
    return stats.table(0);
  }
  void Push(ShardCluster& cluster, const std::vector<std::uint64_t>& keys, std::uint64_t seed) {
    for (std::size_t begin = 0; begin < keys.size(); begin += kPart) {
      const auto at = keys.begin() + static_cast<std::ptrdiff_t>(begin);
      const auto n = std::min(kPart, keys.size() - begin);
      ASSERT_EQ(cluster.Push(0, {at, at + static_cast<std::ptrdiff_t>(n)},
                             Gradients(seed * 1000 + begin, n * kDim)),
                OkStatus());
    }
  }
  // Pushes `keys` until nothing else has a row. Pushes that only it makes age the others.
  void PushUntilAlone(ShardCluster& cluster, const std::vector<std::uint64_t>& keys,
                      const std::string& checkpoint) {
    for (int i = 0; i < 60; ++i) Push(cluster, keys, 77);
    cluster.Checkpoint(checkpoint);  // the log tells of nothing older
    while (StatsOf(cluster).rows() > keys.size()) {
      Push(cluster, keys, 78);
      std::this_thread::yield();
    }
  }

  TempFolder folder_;
  const std::vector<std::uint64_t> old_ = Keys(1, 5 * kPart);
  const std::vector<std::uint64_t> kept_ = Keys(2, 50);
};

TEST_P(CoreEviction, AnEvictedRowIsGoneEverywhereAndItsKeyStartsAnew) {
  const proto::JobConfig job = Job(GetParam());
  const bool logged = job.server().durability() == proto::ServerConfig::PROCESS;
  const std::vector<std::uint64_t> again(old_.begin(), old_.begin() + 1000);
  std::vector<float> of_again, of_kept;
  {
    ShardCluster cluster(job, 1, folder_, "ps");
    ASSERT_EQ(cluster.Restore(""), OkStatus());
    const auto initial = cluster.Pull(0, again);
    Push(cluster, old_, 1);
    EXPECT_NE(cluster.Pull(0, again), initial);
    PushUntilAlone(cluster, kept_, folder_ / "before");
    EXPECT_EQ(StatsOf(cluster).rows(), kept_.size());
    EXPECT_EQ(StatsOf(cluster).evicted_age(), old_.size());
    EXPECT_EQ(StatsOf(cluster).evicted_count(), 0u);
    EXPECT_EQ(cluster.Pull(0, again), initial);
    cluster.Checkpoint(folder_ / "alone");
    EXPECT_EQ(ReadTable(folder_ / "alone", 0).size(), kept_.size());
    // The same push once more has the same effect as the first time.
    ASSERT_EQ(cluster.Push(0, again, Gradients(5, again.size() * kDim)), OkStatus());
    of_again = cluster.Pull(0, again);
    of_kept = cluster.Pull(0, kept_);
    TempFolder other_folder;
    ShardCluster fresh(job, 1, other_folder, "ps");
    ASSERT_EQ(fresh.Restore(""), OkStatus());
    ASSERT_EQ(fresh.Push(0, again, Gradients(5, again.size() * kDim)), OkStatus());
    EXPECT_EQ(fresh.Pull(0, again), of_again);
  }
  if (!logged) return;
  ShardCluster cluster(job, 1, folder_, "ps");
  proto::RestoreReply reply;
  ASSERT_EQ(cluster.core(0).Recover(&reply), OkStatus());
  EXPECT_EQ(cluster.Pull(0, again), of_again);
  EXPECT_EQ(cluster.Pull(0, kept_), of_kept);
  cluster.Checkpoint(folder_ / "recovered");
  const TableContent rows = ReadTable(folder_ / "recovered", 0);
  EXPECT_EQ(rows.size(), kept_.size() + again.size());
  for (const std::uint64_t key : again) EXPECT_EQ(rows.at(key).metadata.version, 1u);
  // Rows that lie in the recovered database alone are evicted as well.
  PushUntilAlone(cluster, {again[0]}, folder_ / "later");
  EXPECT_EQ(cluster.Pull(0, {kept_[3]}).size(), kDim);
  EXPECT_EQ(StatsOf(cluster).rows(), 1u);
}

TEST_P(CoreEviction, ARestoredCheckpointGoesOnEvicting) {
  const proto::JobConfig job = Job(GetParam());
  {
    ShardCluster cluster(job, 1, folder_, "ps");
    ASSERT_EQ(cluster.Restore(""), OkStatus());
    Push(cluster, old_, 1);
    cluster.Checkpoint(folder_ / "full");
    EXPECT_EQ(ReadTable(folder_ / "full", 0).size(), old_.size());
  }
  for (const std::uint32_t servers : {1u, 2u}) {
    ShardCluster cluster(job, servers, folder_, "again" + std::to_string(servers));
    ASSERT_EQ(cluster.Restore(folder_ / "full"), OkStatus());
    const auto name = "emptied" + std::to_string(servers);
    const auto rows = [&] {
      std::uint64_t sum = 0;
      for (std::size_t p = 0; p < servers; ++p) {
        proto::PsStatsReply stats;
        cluster.core(p).Stats(&stats);
        sum += stats.table(0).rows();
      }
      return sum;
    };
    for (int i = 0; i < 60; ++i) Push(cluster, kept_, 3);
    cluster.Checkpoint(folder_ / name);
    while (rows() > kept_.size()) {
      Push(cluster, kept_, 4);
      std::this_thread::yield();
    }
    cluster.Checkpoint(folder_ / (name + "_2"));
    EXPECT_EQ(ReadTable(folder_ / (name + "_2"), 0).size(), kept_.size());
  }
}

INSTANTIATE_TEST_SUITE_P(All, CoreEviction,
                         testing::Values("durability: NONE", "durability: NONE memory_mib: 2",
                                         "durability: PROCESS",
                                         "durability: PROCESS memory_mib: 2"));

}  // namespace
}  // namespace cairn::ps
