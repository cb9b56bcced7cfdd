// The verbs on checkpoints that parameter servers wrote.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "common/io/file.h"
#include "common/math/hash.h"
#include "launch/coordinator/checkpoint_writer.h"
#include "launch/coordinator/checkpoints.h"
#include "launch/inspect/inspect.h"
#include "tests/ps/server/shard_cluster.h"

namespace cairn::launch {
namespace {

using testing::HasSubstr;

constexpr std::size_t kRows = 500;
constexpr std::uint32_t kServers = 2;

class RealCheckpointTest : public testing::Test {
 protected:
  RealCheckpointTest() : run_dir_(folder_ / "run") {
    ps::ShardCluster cluster(ps::TwoTables(), kServers, folder_, "live");
    EXPECT_EQ(cluster.Restore(""), OkStatus());
    EXPECT_EQ(cluster.InitDense(ps::SmallModel()), OkStatus());
    std::vector<std::uint64_t> keys;
    for (std::size_t i = 0; i < kRows; ++i) {
      keys.push_back(KeyOf("value" + std::to_string(i), TableSalt("user")));
    }
    EXPECT_EQ(cluster.Push(0, keys, std::vector<float>(kRows * 8, 0.5f)), OkStatus());
    EXPECT_EQ(cluster.Push(1, keys, std::vector<float>(kRows * 3, -0.25f)), OkStatus());
    Save(cluster, "step-000000000002");
  }

  void Save(ps::ShardCluster& cluster, const std::string& name) {
    const std::string checkpoints = JoinPath(run_dir_, kCheckpointsFolder);
    auto writer = CheckpointWriter::Begin(checkpoints, name);
    ASSERT_TRUE(writer.ok()) << writer.status();
    std::vector<proto::SnapshotReply> replies(kServers);
    for (std::uint32_t p = 0; p < kServers; ++p) {
      ASSERT_EQ(cluster.core(p).Snapshot(writer->ShardFolder(p), &replies[p]), OkStatus());
    }
    proto::TrainState state;
    state.set_steps(2);
    ASSERT_EQ(writer->Seal(ps::TwoTables(), state, replies, 1'800'000'000, "cairn"), OkStatus());
    ASSERT_EQ(writer->Publish(), OkStatus());
    ASSERT_EQ(MovePointer(checkpoints, kLatestFile, name), OkStatus());
    checkpoint_ = JoinPath(checkpoints, name);
  }

  template <typename Verb>
  Status Run(const Verb& verb) {
    std::FILE* file = std::tmpfile();
    Output out(fileno(file));
    const Status status = verb(out);
    std::rewind(file);
    result_.clear();
    char piece[4096];
    for (std::size_t got; (got = std::fread(piece, 1, sizeof piece, file)) > 0;) {
      result_.append(piece, got);
    }
    std::fclose(file);
    return status;
  }
  Status Verify() {
    return Run([&](Output& out) {
      return InspectVerify(run_dir_, Format::kTable, out, messages_, &ps::ShardReader::Open);
    });
  }
  Status Rows(const RowsRequest& request, Format format) {
    return Run([&](Output& out) {
      return InspectRows(run_dir_, request, format, out, messages_, &ps::ShardReader::Open);
    });
  }
  std::vector<std::string> Files() const {
    const auto files = ListFolder(checkpoint_, ListMode::kAllFiles);
    EXPECT_TRUE(files.ok());
    return files.value_or(std::vector<std::string>());
  }
  // Names, contents and times of everything below the run directory.
  std::string Everything() const {
    std::string all;
    const auto files = ListFolder(run_dir_, ListMode::kAllFiles);
    EXPECT_TRUE(files.ok());
    for (const std::string& file : files.value_or(std::vector<std::string>())) {
      const std::string path = JoinPath(run_dir_, file);
      for (const std::string& stamped : {path, FolderOf(path)}) {
        struct stat info {};
        EXPECT_EQ(stat(stamped.c_str(), &info), 0);
        StrAppend(all, stamped, " ", info.st_mtim.tv_sec, ".", info.st_mtim.tv_nsec, " ",
                  info.st_ctim.tv_sec, ".", info.st_ctim.tv_nsec, " ", info.st_mode, "\n");
      }
      StrAppend(all, *ReadFile(path), "\n");
    }
    return all;
  }

  const ps::TempFolder folder_;
  const std::string run_dir_;
  std::string checkpoint_;
  std::string result_;
  std::ostringstream messages_;
};

TEST_F(RealCheckpointTest, NothingIsWrittenIntoWhatIsRead) {
  const std::string before = Everything();
  EXPECT_EQ(Verify(), OkStatus()) << result_;
  EXPECT_THAT(result_, HasSubstr("1 000 rows and 4 dense chunks"));
  EXPECT_EQ(Rows({.table = "user", .limit = 0}, Format::kCsv), OkStatus());
  EXPECT_EQ(std::count(result_.begin(), result_.end(), '\n'), 1 + static_cast<long>(kRows));
  EXPECT_EQ(Rows({.table = "item", .limit = 3}, Format::kTable), OkStatus());
  EXPECT_EQ(
      Run([&](Output& out) { return InspectSummary(run_dir_, Format::kTable, out, messages_); }),
      OkStatus());
  EXPECT_EQ(Everything(), before);
}

TEST_F(RealCheckpointTest, RowOfARawValueHasItsUpdates) {
  ASSERT_EQ(Rows({.table = "user", .value = "value7", .with_state = true}, Format::kJson),
            OkStatus());
  EXPECT_THAT(result_, HasSubstr(std::to_string(KeyOf("value7", TableSalt("user")))));
  EXPECT_THAT(result_, HasSubstr("\"version\": 1, \"count\": 1"));
  EXPECT_THAT(result_, HasSubstr("\"state\": [0.25, 0.25"));  // Adagrad: g * g
  EXPECT_EQ(Rows({.table = "user", .value = "nobody"}, Format::kJson).code(),
            absl::StatusCode::kNotFound);
}

TEST_F(RealCheckpointTest, FlippedByteInAnyFileIsFoundAndTheFileNamed) {
  for (const std::string& file : Files()) {
    const std::string path = JoinPath(checkpoint_, file);
    const std::string content = *ReadFile(path);
    for (const std::size_t at : {std::size_t{0}, content.size() / 2, content.size() - 1}) {
      std::string damaged = content;
      damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
      std::ofstream(path, std::ios::binary) << damaged;
      EXPECT_EQ(Verify().code(), absl::StatusCode::kDataLoss) << file << " byte " << at;
      EXPECT_THAT(result_, HasSubstr("DAMAGED  " + path + ": ")) << "byte " << at;
    }
    std::ofstream(path, std::ios::binary) << content.substr(0, content.size() - 1);
    EXPECT_EQ(Verify().code(), absl::StatusCode::kDataLoss) << file;
    EXPECT_THAT(result_, HasSubstr(path));
    std::ofstream(path, std::ios::binary) << content;
  }
  EXPECT_EQ(Verify(), OkStatus()) << result_;
}

TEST_F(RealCheckpointTest, MissingAndExtraFilesAreNamed) {
  for (const std::string& file : Files()) {
    const std::string path = JoinPath(checkpoint_, file);
    ASSERT_EQ(std::rename(path.c_str(), (folder_ / "aside").c_str()), 0);
    EXPECT_EQ(Verify().code(), absl::StatusCode::kDataLoss) << file;
    EXPECT_THAT(result_, HasSubstr(path));
    ASSERT_EQ(std::rename((folder_ / "aside").c_str(), path.c_str()), 0);
  }
  std::ofstream(JoinPath(checkpoint_, "ps-0000/extra")) << "x";
  EXPECT_EQ(Verify().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(result_, HasSubstr("ps-0000/extra: "));
}

// `rows` opens what `verify` would have refused: it must end in order on any damage.
TEST_F(RealCheckpointTest, RowsOfADamagedDatabaseEndInOrder) {
  for (const std::string& file : Files()) {
    if (!file.starts_with("ps-")) continue;
    const std::string path = JoinPath(checkpoint_, file);
    const std::string content = *ReadFile(path);
    const std::size_t step = std::max<std::size_t>(1, content.size() / 15);
    for (std::size_t at = 0; at < content.size(); at += step) {
      std::string damaged = content;
      damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
      std::ofstream(path, std::ios::binary) << damaged;
      const Status status = Rows({.table = "user", .limit = 0}, Format::kCsv);
      if (!status.ok()) {
        EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << file << " byte " << at << status;
      }
    }
    std::ofstream(path, std::ios::binary) << content;
  }
}

}  // namespace
}  // namespace cairn::launch
