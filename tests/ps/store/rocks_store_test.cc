// The conformance suite of row stores, over RocksDB by both ways of writing; and what is special
// about RocksDB: locks, read-only folders, damage, full disks.
#include "ps/store/rocks_store.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "common/io/file.h"
#include "common/math/rng.h"
#include "ps/store/folder_lock.h"

namespace cairn::ps {
namespace {

using Records = std::map<std::string, std::string>;

class StoreFolder : public testing::Test {
 protected:
  StoreFolder() {
    std::string pattern = testing::TempDir() + "cairn_store_XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  ~StoreFolder() override { std::filesystem::remove_all(folder_); }

  static Status Put(RowStore& store, Family family, const Records& records) {
    const std::vector<std::pair<std::string, std::string>> list(records.begin(), records.end());
    std::uint64_t bytes = 0;
    for (const auto& [key, value] : list) bytes += key.size() + value.size();
    return store.PutSorted(family, list.size(), bytes, [&list](std::size_t i) {
      return StoreRecord{list[i].first, list[i].second};
    });
  }
  static Records ScanAll(const RowStore& store, Family family, const std::string& begin = "",
                         const std::string& end = "") {
    Records out;
    EXPECT_EQ(
        store.Scan(family, begin, end,
                   [&out](const StoreRecord& record) {
                     const bool added =
                         out.emplace(std::string(record.key), std::string(record.value)).second;
                     EXPECT_TRUE(added) << "a key twice";
                     return true;
                   }),
        OkStatus());
    return out;
  }
  static Records RandomRecords(std::uint64_t seed, std::size_t n) {
    Rng rng(seed, 1);
    Records records;
    while (records.size() < n) {
      std::string key(1 + rng.NextBelow(12), '\0'), value(rng.NextBelow(200), '\0');
      for (char& c : key) c = static_cast<char>(rng.NextU32());
      for (char& c : value) c = static_cast<char>(rng.NextU32());
      records[key] = value;
    }
    return records;
  }

  std::string folder_;
};

// Parameter: from how many records on sets are ingested as files.
class RowStoreTest : public StoreFolder, public testing::WithParamInterface<std::size_t> {
 protected:
  std::unique_ptr<RowStore> Open(const std::string& name, bool read_only = false) {
    auto store = OpenRocksStore(folder_ + "/" + name,
                                {.read_only = read_only, .ingest_records = GetParam()});
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? std::move(*store) : nullptr;
  }
};

TEST_P(RowStoreTest, RecordsAreReadAsTheyWereWritten) {
  const auto store = Open("db");
  const Records rows = RandomRecords(1, 3000), dense = RandomRecords(2, 10);
  ASSERT_EQ(Put(*store, Family::kRows, rows), OkStatus());
  ASSERT_EQ(Put(*store, Family::kDense, dense), OkStatus());
  EXPECT_EQ(ScanAll(*store, Family::kRows), rows);
  EXPECT_EQ(ScanAll(*store, Family::kDense), dense);
  std::string value;
  for (const auto& [key, expected] : dense) {
    ASSERT_EQ(store->Get(Family::kDense, key, &value), OkStatus());
    EXPECT_EQ(value, expected);
  }
  EXPECT_EQ(store->Get(Family::kRows, "a key that is too long", &value).code(),
            absl::StatusCode::kNotFound);
}

TEST_P(RowStoreTest, LaterRecordsReplaceEarlierOnes) {
  const auto store = Open("db");
  Records expected = RandomRecords(1, 2000);
  ASSERT_EQ(Put(*store, Family::kRows, expected), OkStatus());
  for (std::uint64_t round = 2; round < 6; ++round) {
    Records changed = RandomRecords(round, 100);
    std::size_t i = 0;
    for (auto& [key, value] : expected) {
      if (++i % 7 == 0) changed[key] = value + "x";
    }
    ASSERT_EQ(Put(*store, Family::kRows, changed), OkStatus());
    for (const auto& [key, value] : changed) expected[key] = value;
  }
  EXPECT_EQ(ScanAll(*store, Family::kRows), expected);
}

TEST_P(RowStoreTest, AScanKeepsToItsRangeAndStopsWhenTold) {
  const auto store = Open("db");
  ASSERT_EQ(Put(*store, Family::kRows, {{"a", "1"}, {"b", "2"}, {"ba", "3"}, {"c", "4"}}),
            OkStatus());
  EXPECT_EQ(ScanAll(*store, Family::kRows, "b", "c"), (Records{{"b", "2"}, {"ba", "3"}}));
  EXPECT_EQ(ScanAll(*store, Family::kRows, "bb"), (Records{{"c", "4"}}));
  EXPECT_TRUE(ScanAll(*store, Family::kRows, "d").empty());
  int seen = 0;
  ASSERT_EQ(store->Scan(Family::kRows, "", "", [&](const StoreRecord&) { return ++seen < 2; }),
            OkStatus());
  EXPECT_EQ(seen, 2);
}

TEST_P(RowStoreTest, ASnapshotStaysAsItWas) {
  const auto store = Open("db");
  const Records first = RandomRecords(1, 500);
  ASSERT_EQ(Put(*store, Family::kRows, first), OkStatus());
  ASSERT_EQ(store->Snapshot(folder_ + "/snapshot"), OkStatus());
  ASSERT_EQ(Put(*store, Family::kRows, RandomRecords(2, 500)), OkStatus());
  const auto copy = Open("snapshot", true);
  EXPECT_EQ(ScanAll(*copy, Family::kRows), first);
  EXPECT_EQ(copy->VerifyBlocks(), OkStatus());
  EXPECT_EQ(Put(*copy, Family::kRows, first).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_P(RowStoreTest, AnEmptySetAndAnEmptyStoreAreFine) {
  const auto store = Open("db");
  EXPECT_EQ(Put(*store, Family::kRows, {}), OkStatus());
  ASSERT_EQ(store->Snapshot(folder_ + "/snapshot"), OkStatus());
  const auto copy = Open("snapshot", true);
  EXPECT_TRUE(ScanAll(*copy, Family::kRows).empty());
}

TEST_P(RowStoreTest, KeysThatDoNotAscendAreRefused) {
  const auto store = Open("db");
  const std::vector<std::string> keys = {"b", "a"};
  EXPECT_EQ(
      store->PutSorted(Family::kRows, 2, 4,
                       [&](std::size_t i) {
                         return StoreRecord{keys[i], "v"};
                       })
          .code(),
      absl::StatusCode::kInvalidArgument);
}

INSTANTIATE_TEST_SUITE_P(Rocks, RowStoreTest, testing::Values(1, 1'000'000),
                         [](const auto& param_info) {
                           return param_info.param == 1 ? "Ingested" : "InBatches";
                         });

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
