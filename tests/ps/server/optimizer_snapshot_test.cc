// Every optimizer of the catalogue on the servers: tables and dense tensors train, are stored and
// go on.
#include "ps/optim/optimizers.h"

#include <cmath>

#include "tests/ps/server/shard_cluster.h"

namespace cairn::ps {
namespace {

class OptimizerSnapshot : public testing::TestWithParam<std::string> {
 protected:
  // An even and an odd width; values of one table start from 0.
  proto::JobConfig Job() const {
    const std::string optimizer = "optimizer { " + GetParam() + " {} }";
    return ParseJob("seed: 3 dense { l2: 0.02 " + optimizer +
                    " } table { name: 'wide' dim: 1 initializer { zero {} } " + optimizer +
                    " } table { name: 'deep' dim: 17 l2: 0.01 " + optimizer + " }");
  }
  void Train(ShardCluster& cluster, std::uint64_t seed) {
    ASSERT_EQ(cluster.InitDense(SmallModel()), OkStatus());
    for (std::uint64_t step = seed; step < seed + 3; ++step) {
      ASSERT_EQ(cluster.Push(0, keys_, Gradients(step, keys_.size())), OkStatus());
      ASSERT_EQ(cluster.Push(1, keys_, Gradients(step + 50, keys_.size() * 17)), OkStatus());
      ASSERT_EQ(cluster.PushDense(SmallModel(), step), OkStatus());
    }
  }

  TempFolder folder_;
  const std::vector<std::uint64_t> keys_ = Keys(1, 500);
};

TEST_P(OptimizerSnapshot, TrainingGoesOnBitForBitAfterRestore) {
  ShardCluster straight(Job(), 1, folder_, "straight");
  ASSERT_EQ(straight.Restore(""), OkStatus());
  const auto initial = straight.Pull(1, keys_);
  Train(straight, 1);
  const proto::CheckpointManifest manifest = straight.Checkpoint(folder_ / "a");
  for (const auto& tensor : manifest.dense()) {
    EXPECT_EQ(tensor.optimizer(), tensor.name() == "mean" ? "moving_average" : GetParam());
  }
  const std::size_t state_floats = MakeOptimizer(Job().dense().optimizer()).value()->StateSize(17);
  const TableContent rows = ReadTable(folder_ / "a", 1);
  ASSERT_EQ(rows.size(), keys_.size());
  for (const auto& [key, row] : rows) {
    ASSERT_EQ(row.state.size(), state_floats);
    for (const float x : row.state) ASSERT_TRUE(std::isfinite(x));
  }
  ShardCluster resumed(Job(), 2, folder_, "resumed");
  ASSERT_EQ(resumed.Restore(folder_ / "a"), OkStatus());
  Train(straight, 10);
  Train(resumed, 10);
  EXPECT_NE(straight.Pull(1, keys_), initial);
  for (const std::uint32_t table : {0u, 1u}) {
    EXPECT_EQ(straight.Pull(table, keys_), resumed.Pull(table, keys_));
  }
  EXPECT_EQ(straight.PullDense(SmallModel()), resumed.PullDense(SmallModel()));
  straight.Checkpoint(folder_ / "b");
  resumed.Checkpoint(folder_ / "c");
  const TableContent expected = ReadTable(folder_ / "b", 1), found = ReadTable(folder_ / "c", 1);
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [key, row] : expected) {
    ASSERT_EQ(found.at(key).state, row.state) << "key " << key;
    ASSERT_EQ(found.at(key).metadata.version, 6u) << "key " << key;
  }
}

std::vector<std::string> AllNames() {
  std::vector<std::string> names;
  for (const OptimizerEntry& entry : Optimizers()) names.emplace_back(entry.name);
  return names;
}
INSTANTIATE_TEST_SUITE_P(Catalogue, OptimizerSnapshot, testing::ValuesIn(AllNames()),
                         [](const auto& param_info) { return param_info.param; });

}  // namespace
}  // namespace cairn::ps
