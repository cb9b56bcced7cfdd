// What a log does while nothing goes wrong, and on a full disk.
#include "ps/log/push_log.h"

#include <sys/mount.h>

#include <cerrno>
#include <fstream>
#include <mutex>
#include <thread>

#include "tests/ps/log/log_folder.h"

namespace cairn::ps {
namespace {

using Records = std::map<std::uint64_t, Bytes>;

// Parameter: with or without sync.
class PushLogTest : public LogFolder, public testing::WithParamInterface<bool> {
 protected:
  std::unique_ptr<PushLog> OpenSegments(std::uint64_t segment_bytes) const {
    return Open({.sync = GetParam(), .segment_bytes = segment_bytes});
  }
  // Appends `count` records and commits the last one.
  void Fill(PushLog& log, std::uint64_t writer, std::uint64_t count, Records* expected) const {
    for (std::uint64_t i = 0; i < count; ++i) {
      Bytes payload = MakePayload(writer, i, 3000);
      const auto lsn = AppendInPieces(log, payload);
      ASSERT_TRUE(lsn.ok()) << lsn.status();
      ASSERT_EQ(*lsn, log.last_lsn());
      (*expected)[*lsn] = std::move(payload);
    }
    ASSERT_EQ(log.Commit(log.last_lsn()), OkStatus());
  }
};

TEST_P(PushLogTest, RecordsAreReplayedAsTheyWereAppended) {
  // From a file for each record to one for all.
  for (const std::uint64_t segment_bytes : {1u, 5000u, 64u << 20}) {
    SCOPED_TRACE(segment_bytes);
    std::filesystem::remove_all(folder_);
    Records expected;
    auto log = OpenSegments(segment_bytes);
    EXPECT_EQ(log->last_lsn(), 0u);
    EXPECT_EQ(log->first_lsn(), 1u);
    EXPECT_TRUE(ReadAll(*log).empty());
    for (std::uint64_t round = 0; round < 4; ++round) {
      Fill(*log, round, 60, &expected);
      EXPECT_EQ(expected.rbegin()->first, (round + 1) * 60);
      EXPECT_EQ(ReadAll(*log), expected);
      log.reset();
      log = OpenSegments(segment_bytes);
      EXPECT_EQ(log->last_lsn(), (round + 1) * 60);
      EXPECT_EQ(log->first_lsn(), 1u);
      EXPECT_EQ(log->Bytes(), BytesOfFiles());
      EXPECT_EQ(ReadAll(*log), expected);
    }
    for (const std::uint64_t from : {2u, 59u, 60u, 61u, 200u, 240u, 241u}) {
      EXPECT_EQ(ReadAll(*log, from), Records(expected.lower_bound(from), expected.end()));
    }
  }
}

TEST_P(PushLogTest, EmptyAndLargeRecordsAndManyPieces) {
  auto log = OpenSegments(1u << 20);
  ASSERT_EQ(*log->Append({}), 1u);
  const Bytes large = MakePayload(1, 1, 1);
  Bytes big(5u << 20);
  std::memcpy(big.data(), large.data(), 16);
  // More pieces than one call of the kernel takes.
  std::vector<std::span<const std::byte>> parts;
  for (std::size_t at = 0; at < big.size(); at += 1001) {
    parts.push_back(std::span(big).subspan(at, std::min<std::size_t>(1001, big.size() - at)));
  }
  ASSERT_GT(parts.size(), 4096u);
  ASSERT_EQ(*log->Append(parts), 2u);
  ASSERT_EQ(*log->Append({}), 3u);
  log.reset();
  log = OpenSegments(1u << 20);
  const Records records = ReadAll(*log);
  ASSERT_EQ(records.size(), 3u);
  EXPECT_TRUE(records.at(1).empty());
  EXPECT_EQ(records.at(2), big);
  EXPECT_TRUE(records.at(3).empty());
}

TEST_P(PushLogTest, DroppedRecordsAreGoneAndTheOthersStay) {
  Records expected;
  auto log = OpenSegments(5000);
  Fill(*log, 1, 100, &expected);
  for (const std::uint64_t lsn : {0u, 1u, 7u, 50u, 50u, 49u, 99u}) {
    ASSERT_EQ(log->DropThrough(lsn), OkStatus());
    EXPECT_LE(log->first_lsn(), lsn + 1);
    EXPECT_EQ(log->last_lsn(), 100u);
    EXPECT_EQ(log->Bytes(), BytesOfFiles());
    // 50 was dropped before 49 was asked for.
    const std::uint64_t from = lsn == 99 ? 100 : std::max<std::uint64_t>(lsn + 1, 51);
    EXPECT_EQ(ReadAll(*log, from), Records(expected.lower_bound(from), expected.end()));
  }
  EXPECT_GT(log->first_lsn(), 80u);
  EXPECT_EQ(Read(*log, 1).second.code(), absl::StatusCode::kDataLoss) << "dropped records wanted";

  ASSERT_EQ(log->DropThrough(100), OkStatus());
  EXPECT_EQ(Files().size(), 1u);
  EXPECT_LT(log->Bytes(), 100u);
  EXPECT_EQ(log->first_lsn(), 101u);
  EXPECT_TRUE(ReadAll(*log, 101).empty());
  // The numbering goes on, also in another process.
  log.reset();
  log = OpenSegments(5000);
  EXPECT_EQ(log->last_lsn(), 100u);
  EXPECT_EQ(*log->Append({}), 101u);
}

TEST_P(PushLogTest, DroppingKeepsTheDiskUseBounded) {
  constexpr std::uint64_t kSegment = 16'000, kCut = 4 * kSegment, kRecord = 2000;
  auto log = OpenSegments(kSegment);
  const Bytes payload(kRecord);
  const std::vector<std::span<const std::byte>> parts = {payload};
  std::uint64_t cut_lsn = 0, most = 0;
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(log->Append(parts).ok());
    most = std::max(most, log->Bytes());
    if (log->Bytes() < kCut) continue;
    // The rows of the first half were written meanwhile.
    cut_lsn += (log->last_lsn() - cut_lsn) / 2;
    ASSERT_EQ(log->DropThrough(cut_lsn), OkStatus());
    ASSERT_LE(log->Bytes(),
              (log->last_lsn() - cut_lsn) * (kRecord + 48) + kSegment + kRecord + 256);
    ASSERT_EQ(log->Bytes(), BytesOfFiles());
  }
  EXPECT_LE(most, 2 * kCut);
  EXPECT_GT(cut_lsn, 900u);
}

TEST_P(PushLogTest, NumbersCanBeSkipped) {
  Records expected;
  auto log = OpenSegments(5000);
  ASSERT_EQ(log->AdvanceTo(40), OkStatus());
  ASSERT_EQ(log->AdvanceTo(50), OkStatus());
  ASSERT_EQ(log->AdvanceTo(3), OkStatus());
  EXPECT_EQ(log->first_lsn(), 50u);
  EXPECT_EQ(log->last_lsn(), 49u);
  Fill(*log, 1, 20, &expected);
  EXPECT_EQ(expected.begin()->first, 50u);
  ASSERT_EQ(log->AdvanceTo(1000), OkStatus());
  log.reset();
  log = OpenSegments(5000);
  EXPECT_EQ(log->last_lsn(), 999u);
  Fill(*log, 2, 20, &expected);
  EXPECT_EQ(expected.rbegin()->first, 1019u);
  EXPECT_EQ(ReadAll(*log), expected);
  ASSERT_EQ(log->DropThrough(500), OkStatus());
  EXPECT_EQ(log->first_lsn(), 1000u);
  EXPECT_EQ(ReadAll(*log, 501).size(), 20u);
}

TEST_P(PushLogTest, AnErrorOfTheVisitorEndsTheReplay) {
  Records expected;
  auto log = OpenSegments(5000);
  Fill(*log, 1, 30, &expected);
  std::uint64_t seen = 0;
  const Status status = log->Replay(5, [&seen](std::uint64_t lsn, std::span<const std::byte>) {
    seen = lsn;
    return lsn == 17 ? absl::CancelledError("enough") : OkStatus();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(seen, 17u);
}

TEST_P(PushLogTest, ManyThreadsAppendCommitAndDrop) {
  constexpr std::uint64_t kThreads = 6, kEach = 150;
  auto log = OpenSegments(20'000);
  std::mutex mu;
  std::map<std::uint64_t, std::pair<std::uint64_t, std::uint64_t>> acknowledged;
  std::vector<std::thread> threads;
  for (std::uint64_t writer = 0; writer < kThreads; ++writer) {
    threads.emplace_back([&, writer] {
      std::uint64_t last = 0;
      for (std::uint64_t i = 0; i < kEach; ++i) {
        const auto lsn = AppendInPieces(*log, MakePayload(writer, i, 3000));
        ASSERT_TRUE(lsn.ok()) << lsn.status();
        ASSERT_GT(*lsn, last);
        last = *lsn;
        ASSERT_EQ(log->Commit(*lsn), OkStatus());
        const std::scoped_lock lock(mu);
        ASSERT_TRUE(acknowledged.emplace(*lsn, std::pair(writer, i)).second);
      }
    });
  }
  threads.emplace_back([&] {
    for (std::uint64_t lsn = 0; lsn <= 300; lsn += 20) {
      ASSERT_EQ(log->DropThrough(std::min(lsn, log->last_lsn())), OkStatus());
    }
  });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(acknowledged.size(), kThreads * kEach);
  EXPECT_EQ(acknowledged.rbegin()->first, kThreads * kEach);
  log.reset();
  log = OpenSegments(20'000);
  const Records records = ReadAll(*log, 301);
  ASSERT_EQ(records.size(), kThreads * kEach - 300);
  for (const auto& [lsn, bytes] : records) {
    const auto [writer, i] = acknowledged.at(lsn);
    ASSERT_EQ(bytes, MakePayload(writer, i, 3000)) << lsn;
  }
}

TEST_P(PushLogTest, TheWayOfSyncingMayChangeBetweenRuns) {
  Records expected;
  Fill(*OpenSegments(5000), 1, 20, &expected);
  {
    auto other = Open({.sync = !GetParam(), .segment_bytes = 5000});
    EXPECT_EQ(ReadAll(*other), expected);
    Fill(*other, 2, 20, &expected);
  }
  EXPECT_EQ(ReadAll(*OpenSegments(5000)), expected);
}

INSTANTIATE_TEST_SUITE_P(Sync, PushLogTest, testing::Bool(),
                         [](const auto& param) { return param.param ? "Disk" : "Process"; });

// A file system of 24 MiB for the log alone.
class FullDiskTest : public LogFolder {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(folder_);
    if (mount("tmpfs", folder_.c_str(), "tmpfs", 0, "size=24m") != 0) {
      GTEST_SKIP() << "cannot mount a tmpfs: " << strerror(errno);
    }
    is_mounted_ = true;
  }
  void TearDown() override {
    if (is_mounted_) {
      EXPECT_EQ(umount(folder_.c_str()), 0) << strerror(errno);
    }
  }
  bool is_mounted_ = false;
};

TEST_F(FullDiskTest, AppendsAreRefusedBeforeTheReserveAndGoOnWhenThereIsRoom) {
  constexpr std::uint64_t kReserve = 6u << 20;
  const PushLogOptions options{.segment_bytes = 2u << 20, .reserve_bytes = kReserve};
  auto log = PushLog::Open(folder_, options);
  ASSERT_TRUE(log.ok()) << log.status();
  const Bytes payload(300'000, std::byte{7});
  const std::vector<std::span<const std::byte>> parts = {payload};
  Status refusal;
  while (refusal.ok()) {
    refusal = (*log)->Append(parts).status();
    ASSERT_GE(std::filesystem::space(folder_).available, kReserve);
  }
  EXPECT_EQ(refusal.code(), absl::StatusCode::kResourceExhausted) << refusal;
  const std::uint64_t last = (*log)->last_lsn();
  EXPECT_GT(last, 30u);
  EXPECT_EQ((*log)->Append(parts).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ((*log)->last_lsn(), last);

  // Another program takes the disk, down to nothing, and gives it back.
  const std::string other = folder_ + "/other";
  {
    std::ofstream file(other, std::ios::binary);
    while (file.write(reinterpret_cast<const char*>(payload.data()), 4096)) file.flush();
  }
  EXPECT_EQ((*log)->Append(parts).status().code(), absl::StatusCode::kResourceExhausted);
  std::filesystem::remove(other);
  ASSERT_EQ((*log)->DropThrough(last / 2), OkStatus());
  const auto lsn = (*log)->Append(parts);
  ASSERT_TRUE(lsn.ok()) << lsn.status();
  EXPECT_EQ(*lsn, last + 1);
  EXPECT_EQ(ReadAll(**log, last / 2 + 1).size(), last + 1 - last / 2);
}

TEST_F(FullDiskTest, AWriteThatMeetsTheFullDiskLeavesNoTrace) {
  // Without a reserve the kernel is the one that refuses, in the middle of a record.
  auto log = PushLog::Open(folder_, {.segment_bytes = 64u << 20, .reserve_bytes = 0});
  ASSERT_TRUE(log.ok()) << log.status();
  const Bytes payload = MakePayload(1, 1, 500'000);
  const std::vector<std::span<const std::byte>> parts = {payload};
  ASSERT_TRUE((*log)->Append(parts).ok());
  const std::string other = folder_ + "/other";
  {
    std::ofstream file(other, std::ios::binary);
    while (std::filesystem::space(folder_).available > (2u << 20)) {
      file.write(reinterpret_cast<const char*>(Bytes(65536).data()), 65536).flush();
    }
  }
  // The log believes in the 4 MiB that were free when it asked.
  const Bytes large(3u << 20, std::byte{9});
  const std::vector<std::span<const std::byte>> large_parts = {large};
  const std::uint64_t before = (*log)->Bytes();
  EXPECT_EQ((*log)->Append(large_parts).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ((*log)->Bytes(), before);
  EXPECT_EQ(std::filesystem::file_size(folder_ + "/push-000000000001.log"), before);
  std::filesystem::remove(other);
  EXPECT_EQ(*(*log)->Append(large_parts), 2u);
  const auto records = ReadAll(**log);
  EXPECT_EQ(records.at(1), payload);
  EXPECT_EQ(records.at(2), large);
}

}  // namespace
}  // namespace cairn::ps
