// Small disks: a tmpfs of our own, where this process may mount one.
#include <sys/mount.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "common/io/file.h"
#include "ps/store/free_space.h"
#include "ps/store/rocks_store.h"
#include "tests/ps/store/store_folder.h"

namespace cairn::ps {
namespace {

constexpr std::uint64_t kMib = 1u << 20;

class DiskSpaceTest : public StoreFolder {
 protected:
  ~DiskSpaceTest() override {
    if (is_mounted_) umount2(folder_.c_str(), MNT_DETACH);
  }
  // False where it is not allowed.
  bool Mount(const std::string& options) {
    is_mounted_ = mount("none", folder_.c_str(), "tmpfs", 0, options.c_str()) == 0;
    return is_mounted_;
  }
  // A file of other programs.
  void Occupy(std::uint64_t bytes) { std::ofstream(folder_ + "/other") << std::string(bytes, 'x'); }
  void Leave() { std::filesystem::remove(folder_ + "/other"); }
  static Records Rows(int first, int count) {
    Records records;
    for (int i = first; i < first + count; ++i) {
      records[StrCat("key ", 10'000'000 + i)] = std::string(200, static_cast<char>('a' + i % 26));
    }
    return records;
  }

  bool is_mounted_ = false;
};

TEST_F(DiskSpaceTest, TheKernelIsAskedAgainBeforeAWriteIsRefused) {
  if (!Mount("size=64m")) GTEST_SKIP() << "may not mount a tmpfs";
  std::uint64_t looks = 0;
  FreeSpace space(folder_, [&looks] { return ++looks, 8 * kMib; });
  for (int i = 0; i < 50; ++i) ASSERT_EQ(space.Take(kMib / 16), OkStatus());
  EXPECT_EQ(looks, 1u) << "an eighth of 56 MiB is taken for granted";
  Occupy(60 * kMib);
  EXPECT_EQ(space.Take(8 * kMib).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(space.Take(1).code(), absl::StatusCode::kResourceExhausted) << "nothing is left over";
  Leave();
  EXPECT_EQ(space.Take(8 * kMib), OkStatus());
  EXPECT_EQ(space.Take(60 * kMib).code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(DiskSpaceTest, WritesAreRefusedBelowTheReserveAndWorkAgainAboveIt) {
  if (!Mount("size=96m")) GTEST_SKIP() << "may not mount a tmpfs";
  for (const std::size_t ingest_records : {std::size_t{1}, std::size_t{1'000'000}}) {
    const std::string db = StrCat(folder_, "/db", ingest_records);
    const auto store = OpenRocksStore(db, {.reserve_bytes = 32 * kMib,
                                           .memtable_bytes = kMib,
                                           .ingest_records = ingest_records})
                           .value();
    Records expected = Rows(0, 1000);
    ASSERT_EQ(Put(*store, Family::kRows, expected), OkStatus());
    Occupy(64 * kMib);
    Status refused;
    int next = 1000;
    // A look at the disk is good for an eighth of what lay above the reserve.
    for (; refused.ok() && next < 100'000; next += 1000) {
      refused = Put(*store, Family::kRows, Rows(next, 1000));
      if (refused.ok()) expected.merge(Rows(next, 1000));
    }
    ASSERT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
    EXPECT_EQ(Delete(*store, Family::kRows, {"key"}).code(), absl::StatusCode::kResourceExhausted);
    // What is in memory still gets to the disk: the reserve is for that.
    EXPECT_EQ(store->Flush(), OkStatus());
    EXPECT_EQ(ScanAll(*store, Family::kRows), expected);
    Leave();
    ASSERT_EQ(Put(*store, Family::kRows, Rows(next, 1000)), OkStatus());
    expected.merge(Rows(next, 1000));
    EXPECT_EQ(store->Flush(), OkStatus());
    EXPECT_EQ(ScanAll(*store, Family::kRows), expected);
  }
}

TEST_F(DiskSpaceTest, NothingIsFlushedOrCopiedOntoADiskWithoutRoomForIt) {
  if (!Mount("size=64m")) GTEST_SKIP() << "may not mount a tmpfs";
  const auto store = OpenRocksStore(folder_ + "/db", {.reserve_bytes = 0}).value();
  const Records expected = Rows(0, 40'000);  // 8 MB in a memtable
  ASSERT_EQ(Put(*store, Family::kRows, expected), OkStatus());
  Occupy(60 * kMib);
  EXPECT_EQ(store->Flush().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(store->Snapshot(folder_ + "/snapshot").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ScanAll(*store, Family::kRows), expected);
  Leave();
  EXPECT_EQ(store->Flush(), OkStatus());
  EXPECT_EQ(store->Snapshot(folder_ + "/snapshot"), OkStatus());
}

// A file system without room for one more file makes RocksDB's background jobs fail in the way a
// full one does, but before the first byte, where the library does not end the process.
TEST_F(DiskSpaceTest, AFailedBackgroundJobIsOvercomeWhenSpaceReturns) {
  if (!Mount("size=64m,nr_inodes=64")) GTEST_SKIP() << "may not mount a tmpfs";
  auto store = OpenRocksStore(folder_ + "/db", {.reserve_bytes = 0, .memtable_bytes = kMib / 4});
  ASSERT_TRUE(store.ok()) << store.status();
  Records expected = Rows(0, 100);
  ASSERT_EQ(Put(**store, Family::kRows, expected), OkStatus());
  ASSERT_EQ((*store)->Flush(), OkStatus());
  int others = 0;
  while (std::ofstream(StrCat(folder_, "/other", others)).is_open()) ++others;
  Status refused;
  int next = 100;
  for (; refused.ok() && next < 100'000; next += 100) {
    expected.merge(Rows(next, 100));
    refused = Put(**store, Family::kRows, Rows(next, 100));
    if (refused.ok() && next % 1000 == 0) refused = (*store)->Flush();
  }
  ASSERT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
  for (int i = 0; i < others; ++i) std::filesystem::remove(StrCat(folder_, "/other", i));
  // RocksDB looks for space every five seconds, and cannot be told to look at once.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  Status again = refused;
  while (!again.ok() && std::chrono::steady_clock::now() < deadline) {
    again = Put(**store, Family::kRows, Rows(next - 100, 100));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  ASSERT_EQ(again, OkStatus());
  ASSERT_EQ((*store)->Flush(), OkStatus());
  EXPECT_EQ(ScanAll(**store, Family::kRows), expected);
  store->reset();
  store = OpenRocksStore(folder_ + "/db", {.reserve_bytes = 0});
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_EQ(ScanAll(**store, Family::kRows), expected);
}

}  // namespace
}  // namespace cairn::ps
