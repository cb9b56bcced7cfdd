// What is special about RocksDB: locks, read-only folders, damage, files that a crash left, full
// disks. The rest is in row_store_test.cc.
#include "ps/store/rocks_store.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "common/io/file.h"
#include "ps/store/folder_lock.h"
#include "ps/store/free_space.h"
#include "tests/ps/store/store_folder.h"

namespace cairn::ps {
namespace {

class RocksStoreTest : public StoreFolder {
 protected:
  // A snapshot with enough rows for several blocks.
  std::string MakeSnapshot() {
    auto store = OpenRocksStore(folder_ + "/db", {});
    EXPECT_TRUE(store.ok()) << store.status();
    EXPECT_EQ(Put(**store, Family::kRows, RandomRecords(3, 2000)), OkStatus());
    EXPECT_EQ((*store)->Snapshot(folder_ + "/snapshot"), OkStatus());
    return folder_ + "/snapshot";
  }
  // Path of the snapshot's sorted table of rows.
  static std::string LargestFile(const std::string& folder) {
    std::string largest;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      if (largest.empty() || entry.file_size() > std::filesystem::file_size(largest)) {
        largest = entry.path();
      }
    }
    return largest;
  }
};

TEST_F(RocksStoreTest, ASecondWriterIsRefused) {
  const auto store = OpenRocksStore(folder_ + "/db", {});
  ASSERT_TRUE(store.ok());
  EXPECT_EQ(OpenRocksStore(folder_ + "/db", {}).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(RocksStoreTest, AReadOnlyFolderThatIsNotThereIsNotMade) {
  EXPECT_EQ(OpenRocksStore(folder_ + "/none", {.read_only = true}).status().code(),
            absl::StatusCode::kDataLoss);
  EXPECT_FALSE(PathExists(folder_ + "/none"));
}

TEST_F(RocksStoreTest, ReadingDoesNotWriteIntoTheFolder) {
  const std::string snapshot = MakeSnapshot();
  const auto before = ListFolder(snapshot, ListMode::kAllFiles).value();
  {
    const auto store = OpenRocksStore(snapshot, {.read_only = true});
    ASSERT_TRUE(store.ok());
    EXPECT_EQ(ScanAll(**store, Family::kRows).size(), 2000u);
    EXPECT_EQ(ListFolder(snapshot, ListMode::kAllFiles).value(), before);
  }
  EXPECT_EQ(ListFolder(snapshot, ListMode::kAllFiles).value(), before);
}

TEST_F(RocksStoreTest, AFlippedBitInABlockIsDataLossThatNamesTheFile) {
  const std::string snapshot = MakeSnapshot();
  const std::string path = LargestFile(snapshot);
  std::string content = ReadFile(path).value();
  content[content.size() / 3] ^= 1;
  std::filesystem::remove(path);
  ASSERT_EQ(WriteFileAtomically(path, content), OkStatus());
  const auto store = OpenRocksStore(snapshot, {.read_only = true});
  ASSERT_TRUE(store.ok()) << store.status();
  const Status scanned =
      (*store)->Scan(Family::kRows, "", "", [](const StoreRecord&) { return true; });
  EXPECT_EQ(scanned.code(), absl::StatusCode::kDataLoss) << scanned;
  EXPECT_NE(scanned.message().find(std::filesystem::path(path).filename().string()),
            std::string::npos)
      << scanned;
  EXPECT_EQ((*store)->VerifyBlocks().code(), absl::StatusCode::kDataLoss);
}

TEST_F(RocksStoreTest, ATruncatedFileIsDataLoss) {
  const std::string snapshot = MakeSnapshot();
  const std::string path = LargestFile(snapshot);
  const std::string content = ReadFile(path).value();
  for (const std::size_t n : {std::size_t{0}, content.size() / 2, content.size() - 1}) {
    std::filesystem::remove(path);
    ASSERT_EQ(WriteFileAtomically(path, content.substr(0, n)), OkStatus());
    EXPECT_EQ(OpenRocksStore(snapshot, {.read_only = true}).status().code(),
              absl::StatusCode::kDataLoss)
        << n;
  }
}

// A crash inside an ingestion leaves a second name of a file that is live already.
TEST_F(RocksStoreTest, AFileThatACrashLeftIsRemovedAndNeverWrittenTo) {
  const Records first = RandomRecords(1, 500);
  const std::string left = folder_ + "/db/ingest.tmp.0";
  for (const bool while_open : {false, true}) {
    auto store = OpenRocksStore(folder_ + "/db", {.ingest_records = 1}).value();
    ASSERT_EQ(Put(*store, Family::kRows, first), OkStatus());
    ASSERT_EQ(store->Flush(), OkStatus());
    if (!while_open) store.reset();
    std::filesystem::create_hard_link(LargestFile(folder_ + "/db"), left);
    if (!while_open) store = OpenRocksStore(folder_ + "/db", {.ingest_records = 1}).value();
    EXPECT_EQ(PathExists(left), while_open);
    ASSERT_EQ(Put(*store, Family::kRows, {{"", "first"}}), OkStatus());
    EXPECT_FALSE(PathExists(left));
    Records expected = first;
    expected[""] = "first";
    EXPECT_EQ(ScanAll(*store, Family::kRows), expected);
    EXPECT_EQ(store->VerifyBlocks(), OkStatus());
  }
}

TEST_F(RocksStoreTest, OpeningAFolderThatIsNoDatabaseTouchesNoFileInIt) {
  ASSERT_EQ(MakeFolders(folder_ + "/db"), OkStatus());
  ASSERT_EQ(WriteFileAtomically(folder_ + "/db/thesis", "years of work"), OkStatus());
  for (int again = 0; again < 2; ++again) {
    const auto store = OpenRocksStore(folder_ + "/db", {}).value();
    ASSERT_EQ(Put(*store, Family::kRows, {{"a", "1"}}), OkStatus());
    ASSERT_EQ(store->Flush(), OkStatus());
    EXPECT_EQ(ScanAll(*store, Family::kRows).size(), 1u);
  }
  EXPECT_EQ(ReadFile(folder_ + "/db/thesis").value(), "years of work");
}

TEST_F(RocksStoreTest, DamageIsFoundByGetManyToo) {
  const std::string snapshot = MakeSnapshot();
  const std::string path = LargestFile(snapshot);
  std::string content = ReadFile(path).value();
  for (std::size_t i = 0; i < content.size() / 2; i += 500) content[i] ^= 1;
  std::filesystem::remove(path);
  ASSERT_EQ(WriteFileAtomically(path, content), OkStatus());
  const auto store = OpenRocksStore(snapshot, {.read_only = true}).value();
  std::vector<std::string> keys;
  for (const auto& [key, value] : RandomRecords(3, 2000)) keys.push_back(key);
  const std::vector<std::string_view> views(keys.begin(), keys.end());
  EXPECT_EQ(store->GetMany(Family::kRows, views, [](std::size_t, std::string_view) {}).code(),
            absl::StatusCode::kDataLoss);
}

TEST_F(RocksStoreTest, AWriteThatWouldNotLeaveTheReserveIsRefusedBeforeItStarts) {
  const auto store = OpenRocksStore(folder_ + "/db", {});
  ASSERT_TRUE(store.ok());
  bool asked = false;
  const Status status =
      (*store)->PutSorted(Family::kRows, 1, std::uint64_t{1} << 60, [&asked](std::size_t) {
        asked = true;
        return StoreRecord{"k", "v"};
      });
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_NE(status.message().find(folder_ + "/db"), std::string::npos) << status;
  EXPECT_FALSE(asked);
  EXPECT_EQ(CheckFreeSpace(folder_, 1, 1), OkStatus());
}

TEST(FolderLock, OneOwnerAtATime) {
  std::string pattern = testing::TempDir() + "cairn_lock_XXXXXX";
  const std::string folder = mkdtemp(pattern.data());
  {
    auto first = FolderLock::Acquire(folder);
    ASSERT_TRUE(first.ok());
    const FolderLock moved = std::move(*first);
    EXPECT_EQ(FolderLock::Acquire(folder).status().code(), absl::StatusCode::kFailedPrecondition);
  }
  EXPECT_TRUE(FolderLock::Acquire(folder).ok());
  std::filesystem::remove_all(folder);
  EXPECT_EQ(FolderLock::Acquire(folder).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace cairn::ps
