// Snapshot and Restore of servers, with any number of them.
#include <set>

#include "tests/ps/server/shard_cluster.h"

namespace cairn::ps {
namespace {

constexpr std::size_t kRows = 4000;

class SnapshotTest : public testing::Test {
 protected:
  // Three steps of both tables and of the dense tensors.
  void Train(ShardCluster& cluster, std::uint64_t seed) {
    ASSERT_EQ(cluster.InitDense(SmallModel()), OkStatus());
    for (std::uint64_t step = seed; step < seed + 3; ++step) {
      ASSERT_EQ(cluster.Push(0, users_, Gradients(step, kRows * 8)), OkStatus());
      ASSERT_EQ(cluster.Push(1, items_, Gradients(step + 100, kRows * 3)), OkStatus());
      ASSERT_EQ(cluster.PushDense(SmallModel(), step), OkStatus());
    }
  }
  std::set<std::string> FilesOf(const proto::CheckpointManifest& manifest) {
    std::set<std::string> files;
    for (const auto& file : manifest.file()) files.insert(file.path());
    return files;
  }

  TempFolder folder_;
  const std::vector<std::uint64_t> users_ = Keys(1, kRows), items_ = Keys(2, kRows);
};

TEST_F(SnapshotTest, OneTwoThreeOneServersKeepTheRows) {
  TableContent users, items;
  std::string checkpoint = "";
  const std::vector<std::uint32_t> counts = {1, 2, 3, 1};
  for (std::size_t i = 0; i < counts.size(); ++i) {
    ShardCluster cluster(TwoTables(), counts[i], folder_, "stage" + std::to_string(i) + "-");
    std::uint64_t rows = 0;
    ASSERT_EQ(cluster.Restore(checkpoint, &rows), OkStatus());
    if (i == 0) {
      Train(cluster, 1);
    } else {
      EXPECT_EQ(rows, 2 * kRows);
    }
    checkpoint = folder_ / ("step-" + std::to_string(i));
    cluster.Checkpoint(checkpoint);
    if (i == 0) {
      users = ReadTable(checkpoint, 0);
      items = ReadTable(checkpoint, 1);
      ASSERT_EQ(users.size(), kRows);
      ASSERT_EQ(users.begin()->second.metadata.version, 3u);
    } else {
      EXPECT_EQ(ReadTable(checkpoint, 0), users) << counts[i] << " servers";
      EXPECT_EQ(ReadTable(checkpoint, 1), items) << counts[i] << " servers";
    }
  }
}

TEST_F(SnapshotTest, TrainingGoesOnBitForBitAfterRestore) {
  for (const std::uint32_t servers : {1u, 2u}) {
    ShardCluster straight(TwoTables(), 1, folder_, "straight" + std::to_string(servers));
    ASSERT_EQ(straight.Restore(""), OkStatus());
    Train(straight, 1);
    const std::string checkpoint = folder_ / ("ckpt" + std::to_string(servers));
    straight.Checkpoint(checkpoint);
    ShardCluster resumed(TwoTables(), servers, folder_, "resumed" + std::to_string(servers) + "-");
    ASSERT_EQ(resumed.Restore(checkpoint), OkStatus());
    Train(straight, 10);
    Train(resumed, 10);
    EXPECT_EQ(straight.Pull(0, users_), resumed.Pull(0, users_));
    EXPECT_EQ(straight.Pull(1, items_), resumed.Pull(1, items_));
    EXPECT_EQ(straight.PullDense(SmallModel()), resumed.PullDense(SmallModel()));
  }
}

// Also of servers that own no key of the last pushes.
TEST_F(SnapshotTest, PushesAreNumberedOnFromTheCheckpointByAnyNumberOfServers) {
  ShardCluster before(TwoTables(), 3, folder_, "before");
  ASSERT_EQ(before.Restore(""), OkStatus());
  ASSERT_EQ(before.Push(0, users_, Gradients(1, kRows * 8)), OkStatus());
  for (int i = 0; i < 4; ++i) {
    ASSERT_EQ(before.Push(1, {items_[0]}, Gradients(2, 3)), OkStatus());
  }
  before.Checkpoint(folder_ / "five");
  for (const std::uint32_t servers : {1u, 2u, 3u, 4u}) {
    const std::string name = "after" + std::to_string(servers) + "-";
    ShardCluster after(TwoTables(), servers, folder_, name);
    ASSERT_EQ(after.Restore(folder_ / "five"), OkStatus());
    ASSERT_EQ(after.Push(0, users_, Gradients(3, kRows * 8)), OkStatus());
    after.Checkpoint(folder_ / (name + "six"));
    std::set<std::uint64_t> steps;
    for (const auto& [key, row] : ReadTable(folder_ / (name + "six"), 0)) {
      steps.insert(row.metadata.last_step);
    }
    EXPECT_EQ(steps, std::set<std::uint64_t>{6}) << servers << " servers";
  }
}

TEST_F(SnapshotTest, ASnapshotHoldsThePushesBeforeItAndNotThoseAfter) {
  ShardCluster cluster(TwoTables(), 1, folder_, "ps");
  ASSERT_EQ(cluster.Restore(""), OkStatus());
  Train(cluster, 1);
  const auto before = cluster.Pull(0, users_);
  cluster.Checkpoint(folder_ / "a");
  Train(cluster, 10);
  const auto after = cluster.Pull(0, users_);
  cluster.Checkpoint(folder_ / "b");
  ASSERT_EQ(cluster.Restore(folder_ / "a"), OkStatus());
  EXPECT_EQ(cluster.Pull(0, users_), before);
  ASSERT_EQ(cluster.Restore(folder_ / "b"), OkStatus());
  EXPECT_EQ(cluster.Pull(0, users_), after);
}

TEST_F(SnapshotTest, ASecondSnapshotSharesTheFilesOfTheFirst) {
  ShardCluster cluster(TwoTables(), 1, folder_, "ps");
  ASSERT_EQ(cluster.Restore(""), OkStatus());
  Train(cluster, 1);
  const auto first = cluster.Checkpoint(folder_ / "a");
  ASSERT_EQ(cluster.Push(0, {users_[0]}, Gradients(5, 8)), OkStatus());
  const auto second = cluster.Checkpoint(folder_ / "b");
  std::size_t shared = 0;
  for (const std::string& path : FilesOf(first)) {
    if (!path.ends_with(".sst")) continue;
    ASSERT_TRUE(FilesOf(second).contains(path)) << path;
    EXPECT_TRUE(std::filesystem::equivalent(folder_ / ("a/" + path), folder_ / ("b/" + path)));
    ++shared;
  }
  EXPECT_GE(shared, 2u);
  // What came in addition is one row.
  for (const auto& file : second.file()) {
    if (file.path().ends_with(".sst") && !FilesOf(first).contains(file.path())) {
      EXPECT_LT(file.bytes(), 4096u) << file.path();
    }
  }
  EXPECT_EQ(ReadTable(folder_ / "b", 0).size(), kRows);
}

TEST_F(SnapshotTest, RestoreOnTheSameSlotsLinksTheFilesAndKeepsRowsClean) {
  ShardCluster cluster(TwoTables(), 2, folder_, "ps");
  ASSERT_EQ(cluster.Restore(""), OkStatus());
  Train(cluster, 1);
  const auto first = cluster.Checkpoint(folder_ / "a");
  ASSERT_EQ(cluster.Restore(folder_ / "a"), OkStatus());
  const auto second = cluster.Checkpoint(folder_ / "b");
  for (const std::string& path : FilesOf(second)) {
    if (!path.ends_with(".sst")) continue;
    EXPECT_TRUE(std::filesystem::equivalent(folder_ / ("a/" + path), folder_ / ("b/" + path)));
  }
  EXPECT_EQ(ReadTable(folder_ / "a", 0), ReadTable(folder_ / "b", 0));
}

TEST_F(SnapshotTest, NoLogFilesAreInASnapshotAndReadingItWritesNothing) {
  ShardCluster cluster(TwoTables(), 1, folder_, "ps");
  ASSERT_EQ(cluster.Restore(""), OkStatus());
  Train(cluster, 1);
  cluster.Checkpoint(folder_ / "a");
  const auto listing = [&] {
    std::map<std::string, std::filesystem::file_time_type> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_ / "a")) {
      files[entry.path()] = entry.last_write_time();
    }
    return files;
  };
  const auto before = listing();
  for (const auto& [path, time] : before) {
    EXPECT_EQ(path.find("/LOG"), std::string::npos) << path;
    EXPECT_EQ(path.find("/LOCK"), std::string::npos) << path;
  }
  EXPECT_EQ(ReadTable(folder_ / "a", 0).size(), kRows);
  ASSERT_EQ(cluster.Restore(folder_ / "a"), OkStatus());
  EXPECT_EQ(listing(), before);
}

TEST_F(SnapshotTest, AFlippedByteInAnyFileIsDataLossThatNamesIt) {
  ShardCluster cluster(TwoTables(), 1, folder_, "ps");
  ASSERT_EQ(cluster.Restore(""), OkStatus());
  Train(cluster, 1);
  const auto manifest = cluster.Checkpoint(folder_ / "a");
  auto files = FilesOf(manifest);
  files.insert(std::string(kManifestFile));
  for (const std::string& file : files) {
    const std::string path = folder_ / ("a/" + file);
    std::string content = ReadFile(path).value();
    if (content.empty()) continue;
    std::filesystem::remove(path);  // a new file: the live database has links to the old one
    content[content.size() / 2] ^= 0x10;
    ASSERT_EQ(WriteFileAtomically(path, content), OkStatus());
    const Status status = cluster.Restore(folder_ / "a");
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << file << ": " << status;
    EXPECT_NE(status.message().find(file), std::string::npos) << status;
    content[content.size() / 2] ^= 0x10;
    ASSERT_EQ(WriteFileAtomically(path, content), OkStatus());
    EXPECT_EQ(cluster.Pull(0, {users_[0]}).size(), 8u) << "the state is gone";
  }
  EXPECT_EQ(cluster.Restore(folder_ / "a"), OkStatus());
}

TEST_F(SnapshotTest, AMissingOrShortFileIsDataLossThatNamesIt) {
  ShardCluster cluster(TwoTables(), 1, folder_, "ps");
  ASSERT_EQ(cluster.Restore(""), OkStatus());
  Train(cluster, 1);
  for (const std::string& file : FilesOf(cluster.Checkpoint(folder_ / "a"))) {
    const std::string path = folder_ / ("a/" + file);
    const std::string content = ReadFile(path).value();
    std::filesystem::remove(path);
    Status status = cluster.Restore(folder_ / "a");
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << file;
    EXPECT_NE(status.message().find(file), std::string::npos) << status;
    if (!content.empty()) {
      ASSERT_EQ(WriteFileAtomically(path, content.substr(0, content.size() - 1)), OkStatus());
      status = cluster.Restore(folder_ / "a");
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << file;
    }
    ASSERT_EQ(WriteFileAtomically(path, content), OkStatus());
  }
}

TEST_F(SnapshotTest, TablesGoByNameAndOthersStartEmpty) {
  ShardCluster cluster(TwoTables(), 1, folder_, "ps");
  ASSERT_EQ(cluster.Restore(""), OkStatus());
  Train(cluster, 1);
  cluster.Checkpoint(folder_ / "a");
  proto::JobConfig job = TwoTables();
  job.mutable_table()->SwapElements(0, 1);
  job.mutable_table(1)->set_name("shop");  // "user" is gone, "shop" is new
  ShardCluster other(job, 2, folder_, "other");
  std::uint64_t rows = 0;
  ASSERT_EQ(other.Restore(folder_ / "a", &rows), OkStatus());
  EXPECT_EQ(rows, kRows);
  EXPECT_EQ(other.Pull(0, items_), cluster.Pull(1, items_));
  other.Checkpoint(folder_ / "b");
  EXPECT_EQ(ReadTable(folder_ / "b", 0), ReadTable(folder_ / "a", 1));
  EXPECT_TRUE(ReadTable(folder_ / "b", 1).empty());
}

TEST_F(SnapshotTest, AnotherWidthOrOptimizerIsRefusedAndNamesBoth) {
  ShardCluster cluster(TwoTables(), 1, folder_, "ps");
  ASSERT_EQ(cluster.Restore(""), OkStatus());
  Train(cluster, 1);
  cluster.Checkpoint(folder_ / "a");
  for (const char* change : {R"(table { name: "user" dim: 4 optimizer { adagrad {} } })",
                             R"(table { name: "user" dim: 8 optimizer { adam {} } })"}) {
    ShardCluster other(ParseJob(change), 1, folder_, "other");
    const Status status = other.Restore(folder_ / "a");
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_NE(status.message().find("table user: the checkpoint has rows of dim 8 with adagrad"),
              std::string::npos)
        << status;
  }
}

TEST_F(SnapshotTest, ADenseLayoutThatDiffersFromTheCheckpointIsRefused) {
  ShardCluster cluster(TwoTables(), 1, folder_, "ps");
  ASSERT_EQ(cluster.Restore(""), OkStatus());
  Train(cluster, 1);
  cluster.Checkpoint(folder_ / "a");
  ShardCluster other(TwoTables(), 1, folder_, "other");
  const auto attempt = [&](std::vector<DenseTensorSpec> layout) {
    EXPECT_EQ(other.Restore(folder_ / "a"), OkStatus());
    return other.core(0).RegisterDense(layout);
  };
  auto layout = SmallModel();
  layout[1].dims = {50, 2};
  EXPECT_EQ(attempt(layout).code(), absl::StatusCode::kFailedPrecondition);
  layout = SmallModel();
  layout[2].is_statistic = false;
  EXPECT_EQ(attempt(layout).code(), absl::StatusCode::kFailedPrecondition);
  layout = SmallModel();
  layout.pop_back();
  EXPECT_EQ(attempt(layout).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(attempt(SmallModel()), OkStatus());
  EXPECT_EQ(other.PullDense(SmallModel()), cluster.PullDense(SmallModel()));
}

TEST_F(SnapshotTest, RestoreOfNothingEmptiesTheServer) {
  ShardCluster cluster(TwoTables(), 1, folder_, "ps");
  ASSERT_EQ(cluster.Restore(""), OkStatus());
  Train(cluster, 1);
  cluster.Checkpoint(folder_ / "a");
  ASSERT_EQ(cluster.Restore(""), OkStatus());
  proto::PsStatsReply stats;
  cluster.core(0).Stats(&stats);
  EXPECT_EQ(stats.table(0).rows(), 0u);
  EXPECT_EQ(stats.dense_floats(), 0u);
  cluster.Checkpoint(folder_ / "b");
  EXPECT_TRUE(ReadTable(folder_ / "b", 0).empty());
  EXPECT_EQ(ReadTable(folder_ / "a", 0).size(), kRows) << "the checkpoint lost rows";
}

TEST_F(SnapshotTest, AClientOfBeforeTheRestoreIsRefused) {
  ShardCluster cluster(TwoTables(), 1, folder_, "ps");
  ASSERT_EQ(cluster.Restore(""), OkStatus());
  ASSERT_EQ(cluster.core(0).Push({}, {}, {4, 1}, 1), OkStatus());
  ASSERT_EQ(cluster.Restore(""), OkStatus());
  EXPECT_EQ(cluster.core(0).Push({}, {}, {4, 2}, 1).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(SnapshotTest, AnExistingFolderIsNotOverwritten) {
  ShardCluster cluster(TwoTables(), 1, folder_, "ps");
  ASSERT_EQ(cluster.Restore(""), OkStatus());
  ASSERT_EQ(MakeFolders(folder_ / "a"), OkStatus());
  ASSERT_EQ(WriteFileAtomically(folder_ / "a/precious", "x"), OkStatus());
  proto::SnapshotReply reply;
  EXPECT_EQ(cluster.core(0).Snapshot(folder_ / "a", &reply).code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(PathExists(folder_ / "a/precious"));
}

TEST_F(SnapshotTest, AMissingCheckpointIsNotFoundAndKeepsTheState) {
  ShardCluster cluster(TwoTables(), 1, folder_, "ps");
  ASSERT_EQ(cluster.Restore(""), OkStatus());
  Train(cluster, 1);
  const auto before = cluster.Pull(0, users_);
  EXPECT_EQ(cluster.Restore(folder_ / "none").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(cluster.Pull(0, users_), before);
}

}  // namespace
}  // namespace cairn::ps
