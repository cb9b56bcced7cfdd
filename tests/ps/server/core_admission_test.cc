// Admission through a server: what is applied, logged, counted and remembered.
#include "tests/ps/server/shard_cluster.h"

namespace cairn::ps {
namespace {

constexpr std::size_t kDim = 4;

proto::JobConfig Job(const std::string& admission, const std::string& server = "",
                     const std::string& table = "") {
  return ParseJob("seed: 5 table { name: 'rare' dim: 4 optimizer { adagrad {} } " + table +
                  " admission { filter_mib: 1 " + admission +
                  " } } table { name: 'other' dim: 4 optimizer { sgd {} } } server { " + server +
                  " }");
}

proto::TableStats StatsOf(PsCore& core, int table = 0) {
  proto::PsStatsReply stats;
  core.Stats(&stats);
  return stats.table(table);
}

class CoreAdmission : public testing::Test {
 protected:
  std::vector<float> Gradient(std::uint64_t seed) const {
    return Gradients(seed, keys_.size() * kDim);
  }
  TempFolder folder_;
  const std::vector<std::uint64_t> keys_ = Keys(1, 400);
};

TEST_F(CoreAdmission, TheFirstPushesOfAKeyAreDroppedAndTheRestTrainsAsIfTheyHadNotBeen) {
  ShardCluster gated(Job("min_pushes: 3"), 1, folder_, "gated");
  ShardCluster open(Job(""), 1, folder_, "open");
  ASSERT_EQ(gated.Restore(""), OkStatus());
  ASSERT_EQ(open.Restore(""), OkStatus());
  const auto initial = open.Pull(0, keys_);
  for (const std::uint64_t step : {1, 2}) {
    ASSERT_EQ(gated.Push(0, keys_, Gradient(step)), OkStatus());
    EXPECT_EQ(gated.Pull(0, keys_), initial);
    EXPECT_EQ(StatsOf(gated.core(0)).rows(), 0u);
    EXPECT_EQ(StatsOf(gated.core(0)).not_admitted(), step * keys_.size());
  }
  for (const std::uint64_t step : {3, 4}) {
    ASSERT_EQ(gated.Push(0, keys_, Gradient(step)), OkStatus());
    ASSERT_EQ(open.Push(0, keys_, Gradient(step)), OkStatus());
  }
  EXPECT_EQ(gated.Pull(0, keys_), open.Pull(0, keys_));
  EXPECT_EQ(StatsOf(gated.core(0)).rows(), keys_.size());
  EXPECT_EQ(StatsOf(gated.core(0)).admitted(), keys_.size());
  EXPECT_EQ(StatsOf(gated.core(0)).pushed_rows(), 2 * keys_.size());
}

TEST_F(CoreAdmission, OnePushWithOldAndNewKeysOfSeveralTables) {
  ShardCluster gated(Job("min_pushes: 2"), 1, folder_, "gated");
  ShardCluster open(Job(""), 1, folder_, "open");
  ASSERT_EQ(gated.Restore(""), OkStatus());
  ASSERT_EQ(open.Restore(""), OkStatus());
  // Every third key has a row when the push with all of them comes.
  std::vector<std::uint64_t> old;
  for (std::size_t i = 0; i < keys_.size(); i += 3) old.push_back(keys_[i]);
  const auto first = Gradients(9, old.size() * kDim);
  ASSERT_EQ(gated.Push(0, old, std::vector<float>(first.size())), OkStatus());
  ASSERT_EQ(gated.Push(0, old, first), OkStatus());
  ASSERT_EQ(open.Push(0, old, first), OkStatus());

  const auto gradients = Gradient(3);
  std::vector<float> of_old;
  for (std::size_t i = 0; i < keys_.size(); i += 3) {
    of_old.insert(of_old.end(), gradients.begin() + static_cast<std::ptrdiff_t>(i * kDim),
                  gradients.begin() + static_cast<std::ptrdiff_t>((i + 1) * kDim));
  }
  const std::vector<RowsUpdate> all = {{1, keys_, gradients.data()}, {0, keys_, gradients.data()}};
  const std::vector<RowsUpdate> left = {{1, keys_, gradients.data()}, {0, old, of_old.data()}};
  ASSERT_EQ(gated.core(0).Push(all, {}, {}, 1), OkStatus());
  ASSERT_EQ(open.core(0).Push(left, {}, {}, 1), OkStatus());
  for (const std::uint32_t table : {0u, 1u}) {
    EXPECT_EQ(gated.Pull(table, keys_), open.Pull(table, keys_));
  }
  EXPECT_EQ(StatsOf(gated.core(0)).rows(), old.size());
  EXPECT_EQ(StatsOf(gated.core(0), 1).rows(), keys_.size());
}

TEST_F(CoreAdmission, TheLogReplaysWhatWasAppliedAndNothingElse) {
  const proto::JobConfig job = Job("min_pushes: 2 probability: 0.6", "durability: PROCESS");
  std::vector<float> values;
  std::uint64_t rows = 0;
  {
    ShardCluster cluster(job, 1, folder_, "ps");
    ASSERT_EQ(cluster.Restore(""), OkStatus());
    for (std::uint64_t step = 0; step < 5; ++step) {
      const std::size_t n = 100 + 75 * step;
      ASSERT_EQ(cluster.Push(0, {keys_.begin(), keys_.begin() + static_cast<std::ptrdiff_t>(n)},
                             Gradients(step, n * kDim)),
                OkStatus());
    }
    values = cluster.Pull(0, keys_);
    rows = StatsOf(cluster.core(0)).rows();
    EXPECT_GT(rows, 100u);
    EXPECT_LT(rows, keys_.size());
  }
  ShardCluster cluster(job, 1, folder_, "ps");
  proto::RestoreReply reply;
  ASSERT_EQ(cluster.core(0).Recover(&reply), OkStatus());
  EXPECT_EQ(cluster.Pull(0, keys_), values);
  EXPECT_EQ(StatsOf(cluster.core(0)).resident_rows(), rows);
}

TEST_F(CoreAdmission, SightingsOutliveSnapshotsRecoveryAndAnotherNumberOfServers) {
  const proto::JobConfig job = Job("min_pushes: 2", "durability: PROCESS");
  {
    ShardCluster cluster(job, 1, folder_, "ps");
    ASSERT_EQ(cluster.Restore(""), OkStatus());
    ASSERT_EQ(cluster.Push(0, keys_, Gradient(1)), OkStatus());
    cluster.Checkpoint(folder_ / "one");
  }
  const auto expect_admitted = [&](ShardCluster& cluster) {
    ASSERT_EQ(cluster.Push(0, keys_, Gradient(2)), OkStatus());
    std::uint64_t rows = 0;
    for (std::size_t p = 0; p < cluster.size(); ++p) rows += StatsOf(cluster.core(p)).rows();
    EXPECT_EQ(rows, keys_.size());
  };
  {
    ShardCluster recovered(job, 1, folder_, "ps");
    proto::RestoreReply reply;
    ASSERT_EQ(recovered.core(0).Recover(&reply), OkStatus());
    expect_admitted(recovered);
  }
  ShardCluster same(job, 1, folder_, "same");
  ASSERT_EQ(same.Restore(folder_ / "one"), OkStatus());
  expect_admitted(same);
  {
    ShardCluster two(job, 2, folder_, "two");
    ASSERT_EQ(two.Restore(folder_ / "one"), OkStatus());
  }
  // A restore in other shards is written to the database before the first push.
  ShardCluster two(job, 2, folder_, "two");
  for (std::size_t p = 0; p < 2; ++p) {
    proto::RestoreReply reply;
    ASSERT_EQ(two.core(p).Recover(&reply), OkStatus());
  }
  two.Checkpoint(folder_ / "two_shards");
  expect_admitted(two);
  ShardCluster back(job, 1, folder_, "back");
  ASSERT_EQ(back.Restore(folder_ / "two_shards"), OkStatus());
  expect_admitted(back);
}

TEST_F(CoreAdmission, AFilterOfAnotherThresholdIsLeftOutWithAWarning) {
  ShardCluster before(Job("min_pushes: 2"), 1, folder_, "before");
  ASSERT_EQ(before.Restore(""), OkStatus());
  ASSERT_EQ(before.Push(0, keys_, Gradient(1)), OkStatus());
  before.Checkpoint(folder_ / "one");
  ShardCluster after(Job("min_pushes: 9"), 1, folder_, "after");
  ASSERT_EQ(after.Restore(folder_ / "one"), OkStatus());
  for (std::uint64_t step = 2; step < 10; ++step) {
    ASSERT_EQ(after.Push(0, keys_, Gradient(step)), OkStatus());
    EXPECT_EQ(StatsOf(after.core(0)).rows(), 0u);
  }
  ASSERT_EQ(after.Push(0, keys_, Gradient(10)), OkStatus());
  EXPECT_EQ(StatsOf(after.core(0)).rows(), keys_.size());
}

TEST_F(CoreAdmission, AColdRowIsNoNewKey) {
  // The budget leaves little beside the database: most rows are cold when they are pushed again.
  const proto::JobConfig job = Job("min_pushes: 2", "memory_mib: 4");
  ShardCluster cluster(job, 1, folder_, "ps");
  ASSERT_EQ(cluster.Restore(""), OkStatus());
  const auto many = Keys(7, 100'000);
  for (std::uint64_t step = 0; step < 2; ++step) {
    for (std::size_t begin = 0; begin < many.size(); begin += 5000) {
      const auto at = many.begin() + static_cast<std::ptrdiff_t>(begin);
      ASSERT_EQ(cluster.Push(0, {at, at + 5000}, Gradients(step, 5000 * kDim)), OkStatus());
    }
  }
  const std::uint64_t rows = StatsOf(cluster.core(0)).rows();
  const std::uint64_t refused = StatsOf(cluster.core(0)).not_admitted();
  EXPECT_EQ(rows, many.size());
  EXPECT_GT(StatsOf(cluster.core(0)).spilled_rows(), 0u);
  for (std::size_t begin = 0; begin < many.size(); begin += 5000) {
    const auto at = many.begin() + static_cast<std::ptrdiff_t>(begin);
    ASSERT_EQ(cluster.Push(0, {at, at + 5000}, Gradients(3, 5000 * kDim)), OkStatus());
  }
  EXPECT_EQ(StatsOf(cluster.core(0)).not_admitted(), refused);
  EXPECT_EQ(StatsOf(cluster.core(0)).rows(), rows);
}

TEST_F(CoreAdmission, RowsThatStepWithEveryPushDoSoWhenAllKeysAreRefused) {
  const std::string table = "l2: 0.5 l2_rows: ALL initializer { uniform { bound: 1 } }";
  ShardCluster gated(Job("min_pushes: 2", "durability: PROCESS", table), 1, folder_, "gated");
  ASSERT_EQ(gated.Restore(""), OkStatus());
  for (const std::uint64_t step : {1, 2}) {
    ASSERT_EQ(gated.Push(0, keys_, Gradient(step)), OkStatus());
  }
  const auto before = gated.Pull(0, keys_);
  const auto fresh = Keys(2, 50);
  ASSERT_EQ(gated.Push(0, fresh, Gradients(1, 50 * kDim)), OkStatus());
  EXPECT_EQ(StatsOf(gated.core(0)).rows(), keys_.size());
  const auto after = gated.Pull(0, keys_);
  for (std::size_t i = 0; i < after.size(); ++i) EXPECT_NE(after[i], before[i]) << i;
}

TEST(CoreAdmissionConfig, BadValuesAreRefusedWithTheTablesName) {
  TempFolder folder;
  const auto made = PsCore::Make(Job("min_pushes: 16"), {.folder = folder / "ps"});
  EXPECT_EQ(made.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(made.status().message().find("table rare"), std::string::npos) << made.status();
}

}  // namespace
}  // namespace cairn::ps
