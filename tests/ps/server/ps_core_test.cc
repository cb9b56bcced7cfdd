#include "ps/server/ps_core.h"

#include <limits>

#include "tests/ps/server/shard_cluster.h"

namespace cairn::ps {
namespace {

class PsCoreTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(cluster_.Restore(""), OkStatus()); }

  PsCore& core() { return cluster_.core(0); }
  proto::PsStatsReply Stats() {
    proto::PsStatsReply stats;
    core().Stats(&stats);
    return stats;
  }
  Status PushOne(std::uint32_t table, std::uint64_t key, PushId id = {}) {
    const std::vector<float> gradient(TwoTables().table(static_cast<int>(table)).dim(), 0.5f);
    const RowsUpdate update{table, {&key, 1}, gradient.data()};
    return core().Push({&update, 1}, {}, id, 1);
  }

  TempFolder folder_;
  ShardCluster cluster_{TwoTables(), 1, folder_, "ps"};
};

TEST_F(PsCoreTest, AbsentRowsReadAsInitialValuesOrZerosAndAreNotMade) {
  const auto keys = Keys(1, 1000);
  const auto initial = cluster_.Pull(0, keys);
  EXPECT_EQ(initial, cluster_.Pull(0, keys));
  EXPECT_NE(initial, std::vector<float>(initial.size()));
  EXPECT_EQ(cluster_.Pull(0, keys, AbsentRow::kZero), std::vector<float>(initial.size()));
  EXPECT_EQ(Stats().table(0).rows(), 0u);
  EXPECT_EQ(Stats().table(0).pulled_absent(), 3000u);
}

TEST_F(PsCoreTest, APushStartsFromTheInitialValueThatAPullShowed) {
  const std::uint64_t key = 42;
  const auto before = cluster_.Pull(0, {key});
  ASSERT_EQ(PushOne(0, key), OkStatus());
  const auto after = cluster_.Pull(0, {key});
  // The first Adagrad step is the learning rate against the gradient's sign.
  for (std::size_t i = 0; i < 8; ++i) EXPECT_NEAR(after[i], before[i] - 0.1f, 1e-6);
  EXPECT_EQ(Stats().table(0).rows(), 1u);
}

// Two tables of weights under plain SGD with rate 0.1 and l2 0.5: a step without gradient is a
// factor 0.95.
TEST(L2OfAllRows, IsTakenWithEveryPushAlsoOfOtherTables) {
  proto::JobConfig job;
  for (const char* name : {"all", "touched"}) {
    proto::TableConfig& table = *job.add_table();
    table.set_name(name);
    table.set_dim(2);
    table.set_l2(0.5);
    table.mutable_optimizer()->mutable_sgd()->set_learning_rate(0.1);
    table.mutable_initializer()->mutable_uniform()->set_bound(1);
  }
  job.mutable_table(0)->set_l2_rows(proto::TableConfig::ALL);
  TempFolder folder;
  ShardCluster cluster(job, 1, folder, "ps");
  ASSERT_EQ(cluster.Restore(""), OkStatus());
  const auto keys = Keys(4, 50);
  const std::vector<float> before[2] = {cluster.Pull(0, keys), cluster.Pull(1, keys)};
  const std::vector<float> none(100);
  ASSERT_EQ(cluster.Push(0, keys, none), OkStatus());
  ASSERT_EQ(cluster.Push(1, keys, none), OkStatus());
  ASSERT_EQ(cluster.Push(1, {keys[7]}, {0, 0}), OkStatus());
  const std::vector<float> after[2] = {cluster.Pull(0, keys), cluster.Pull(1, keys)};
  for (std::size_t i = 0; i < 100; ++i) {
    EXPECT_FLOAT_EQ(after[0][i], before[0][i] * 0.95f * 0.95f * 0.95f) << i;
    EXPECT_FLOAT_EQ(after[1][i], before[1][i] * (i / 2 == 7 ? 0.95f * 0.95f : 0.95f)) << i;
  }
}

TEST_F(PsCoreTest, RowsAgreeWithOneRowAtATimeForAnyNumberOfKeys) {
  const auto keys = Keys(2, 5000);
  for (std::uint64_t step = 0; step < 3; ++step) {
    ASSERT_EQ(cluster_.Push(1, keys, Gradients(step, keys.size() * 3)), OkStatus());
  }
  TempFolder other_folder;
  ShardCluster other(TwoTables(), 1, other_folder, "ps");
  ASSERT_EQ(other.Restore(""), OkStatus());
  for (std::uint64_t step = 0; step < 3; ++step) {
    const auto gradients = Gradients(step, keys.size() * 3);
    for (std::size_t i = keys.size(); i-- > 0;) {  // another order
      ASSERT_EQ(
          other.Push(1, {keys[i]}, {gradients[3 * i], gradients[3 * i + 1], gradients[3 * i + 2]}),
          OkStatus());
    }
  }
  EXPECT_EQ(cluster_.Pull(1, keys), other.Pull(1, keys));
}

TEST_F(PsCoreTest, ARepeatedPushIsAppliedOnce) {
  ASSERT_EQ(PushOne(0, 5, {9, 1}), OkStatus());
  const auto once = cluster_.Pull(0, {5});
  EXPECT_EQ(PushOne(0, 5, {9, 1}), OkStatus());
  EXPECT_EQ(cluster_.Pull(0, {5}), once);
  EXPECT_EQ(Stats().duplicates(), 1u);
  EXPECT_EQ(Stats().pushes(), 1u);
  EXPECT_EQ(PushOne(0, 5, {9, 2}), OkStatus());
  EXPECT_NE(cluster_.Pull(0, {5}), once);
}

TEST_F(PsCoreTest, AGapInTheSequenceIsRefused) {
  ASSERT_EQ(PushOne(0, 5, {9, 1}), OkStatus());
  EXPECT_EQ(PushOne(0, 5, {9, 3}).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(PushOne(0, 5, {10, 2}).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(PushOne(0, 5, {10, 0}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(PushOne(0, 5, {9, 2}), OkStatus());
  EXPECT_EQ(Stats().refused(), 3u);
}

TEST_F(PsCoreTest, ARefusedPushMayBeCorrectedUnderTheSameNumber) {
  ASSERT_EQ(PushOne(0, 5, {9, 1}), OkStatus());
  EXPECT_EQ(core().Push({}, {}, {9, 2}, -1).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(PushOne(0, 5, {9, 2}), OkStatus());
  EXPECT_EQ(Stats().pushes(), 2u);
}

// Each bad request changes nothing, though its first part is good.
class BadPushTest : public PsCoreTest {
 protected:
  void ExpectRefused(const RowsUpdate& bad, std::span<const DenseChunkUpdate> dense,
                     const std::string& message) {
    const auto keys = Keys(3, 10);
    const auto gradients = Gradients(3, 80);
    ASSERT_EQ(cluster_.Push(0, keys, gradients), OkStatus());
    const auto before = cluster_.Pull(0, keys);
    const std::vector<RowsUpdate> updates = {{0, keys, gradients.data()}, bad};
    const Status status = core().Push(updates, dense, {77, 1}, 1);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_NE(status.message().find(message), std::string::npos) << status;
    EXPECT_EQ(cluster_.Pull(0, keys), before);
    EXPECT_EQ(Stats().table(1).rows(), 0u);
    EXPECT_EQ(Stats().refused(), 1u);
    EXPECT_EQ(core().Push({}, {}, {77, 1}, 1), OkStatus()) << "the number was used up";
  }
  std::vector<std::uint64_t> keys_ = {11, 12, 13};
  std::vector<float> gradients_ = std::vector<float>(9, 0.5f);
};

TEST_F(BadPushTest, UnknownTable) {
  ExpectRefused({2, keys_, gradients_.data()}, {}, "table 2 of 2 does not exist");
}
TEST_F(BadPushTest, NotANumber) {
  gradients_[4] = std::numeric_limits<float>::quiet_NaN();
  ExpectRefused({1, keys_, gradients_.data()}, {}, "table item: gradient of key 12 is nan");
}
TEST_F(BadPushTest, Infinity) {
  gradients_[8] = -std::numeric_limits<float>::infinity();
  ExpectRefused({1, keys_, gradients_.data()}, {}, "table item: gradient of key 13 is -inf");
}
TEST_F(BadPushTest, KeyTwice) {
  keys_[2] = 11;
  ExpectRefused({1, keys_, gradients_.data()}, {}, "table item: key 11 occurs twice");
}
TEST_F(BadPushTest, TableTwice) {
  ExpectRefused({0, keys_, std::vector<float>(24).data()}, {}, "table 0 occurs twice");
}
TEST_F(BadPushTest, DenseChunkOfNoTensor) {
  ASSERT_EQ(cluster_.InitDense(SmallModel()), OkStatus());
  const std::vector<DenseChunkUpdate> dense = {{3, 0, gradients_}};
  ExpectRefused({1, keys_, gradients_.data()}, dense, "dense tensor 3 of 3 does not exist");
}
TEST_F(BadPushTest, DenseGradientNotFinite) {
  ASSERT_EQ(cluster_.InitDense(SmallModel()), OkStatus());
  std::vector<float> gradient(100);
  gradient[99] = std::numeric_limits<float>::infinity();
  const std::vector<DenseChunkUpdate> dense = {{1, 0, gradient}};
  ExpectRefused({1, keys_, gradients_.data()}, dense,
                "dense tensor b, chunk 0: gradient of element 99");
}

TEST(PsCore, KeysOfForeignSlotsAreRefusedAndNothingIsRead) {
  TempFolder folder;
  ShardCluster cluster(TwoTables(), 2, folder, "ps");
  ASSERT_EQ(cluster.Restore(""), OkStatus());
  std::uint64_t ours = 0, foreign = 0;
  for (std::uint64_t key = 1; ours == 0 || foreign == 0; ++key) {
    EXPECT_NE(cluster.core(0).Owns(key), cluster.core(1).Owns(key));
    (cluster.core(0).Owns(key) ? ours : foreign) = key;
  }
  const std::vector<std::uint64_t> keys = {ours, foreign};
  std::vector<float> values(16, 123.0f);
  const RowsRead read{0, keys, values.data()};
  const Status status = cluster.core(0).Pull({&read, 1}, AbsentRow::kZero);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find(std::to_string(foreign)), std::string::npos) << status;
  EXPECT_EQ(values, std::vector<float>(16, 123.0f));
  const RowsUpdate update{0, keys, values.data()};
  EXPECT_EQ(cluster.core(0).Push({&update, 1}, {}, {}, 1).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(PsCore, InitialValuesDoNotDependOnTheNumberOfServers) {
  TempFolder folder;
  ShardCluster one(TwoTables(), 1, folder, "one"), three(TwoTables(), 3, folder, "three");
  ASSERT_EQ(one.Restore(""), OkStatus());
  ASSERT_EQ(three.Restore(""), OkStatus());
  auto keys = Keys(8, 3000);
  EXPECT_EQ(one.Pull(1, keys), three.Pull(1, keys));
  ASSERT_EQ(one.Push(1, keys, Gradients(1, 9000)), OkStatus());
  ASSERT_EQ(three.Push(1, keys, Gradients(1, 9000)), OkStatus());
  EXPECT_EQ(one.Pull(1, keys), three.Pull(1, keys));
}

TEST(PsCore, NothingIsServedBeforeRestore) {
  TempFolder folder;
  ShardCluster cluster(TwoTables(), 1, folder, "ps");
  EXPECT_EQ(cluster.core(0).Pull({}, AbsentRow::kZero).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(cluster.core(0).Push({}, {}, {}, 1).code(), absl::StatusCode::kFailedPrecondition);
}

TEST(PsCore, ASecondServerOnTheSameFolderIsRefused) {
  TempFolder folder;
  const PsOptions options{.folder = folder / "ps"};
  auto first = PsCore::Make(TwoTables(), options);
  ASSERT_TRUE(first.ok()) << first.status();
  const Status second = PsCore::Make(TwoTables(), options).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(second.message().find("is in use by the parameter server of process " +
                                  std::to_string(getpid())),
            std::string::npos)
      << second;
  first->reset();
  EXPECT_TRUE(PsCore::Make(TwoTables(), options).ok());
}

TEST(PsCore, BadOptionsAndHyperParametersAreRefused) {
  TempFolder folder;
  const auto make = [&](std::uint32_t ps, std::uint32_t ps_count, int slot_bits,
                        const proto::JobConfig& job) {
    const PsOptions options{
        .ps = ps, .ps_count = ps_count, .slot_bits = slot_bits, .folder = folder / "ps"};
    return PsCore::Make(job, options).status().code();
  };
  const auto bad = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(make(1, 1, 10, TwoTables()), bad);
  EXPECT_EQ(make(0, 0, 10, TwoTables()), bad);
  EXPECT_EQ(make(0, 1, 17, TwoTables()), bad);
  EXPECT_EQ(make(0, 3, 1, TwoTables()), bad);
  EXPECT_EQ(
      make(0, 1, 10, ParseJob(R"(table { name: "a" optimizer { sgd { learning_rate: -1 } } })")),
      bad);
  EXPECT_EQ(make(0, 1, 10, ParseJob(R"(table { name: "a" dim: 0 })")), bad);
}

TEST(PsCore, AFolderThatCannotBeWrittenIsUnavailable) {
  TempFolder folder;
  ASSERT_EQ(WriteFileAtomically(folder / "file", "x"), OkStatus());
  EXPECT_FALSE(PsCore::Make(TwoTables(), {.folder = folder / "file" + "/ps"}).ok());
  EXPECT_EQ(PsCore::Make(TwoTables(), {.folder = "/proc/cairn"}).status().code(),
            absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace cairn::ps
