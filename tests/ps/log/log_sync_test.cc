// What a log with sync keeps through a power cut: this program has an fdatasync and an fsync of
// its own, which note how much of each file the disk was told to keep, and fail when told to.
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <fstream>
#include <mutex>
#include <thread>

#include "ps/log/log_segment.h"
#include "tests/ps/log/log_folder.h"

namespace {

std::mutex sync_mu;
std::map<ino_t, std::uint64_t> durable_sizes;
int sync_calls = 0;
bool syncs_fail = false;
std::atomic<bool> hold_syncs = false;

int SyncAndNote(long call, int fd) {
  struct stat before;
  if (fstat(fd, &before) != 0) return -1;
  hold_syncs.wait(true);
  const std::scoped_lock lock(sync_mu);
  ++sync_calls;
  if (syncs_fail) {
    errno = EIO;
    return -1;
  }
  if (syscall(call, fd) != 0) return -1;
  auto& size = durable_sizes[before.st_ino];
  size = std::max<std::uint64_t>(size, static_cast<std::uint64_t>(before.st_size));
  return 0;
}

}  // namespace

extern "C" int fdatasync(int fd) { return SyncAndNote(SYS_fdatasync, fd); }
extern "C" int fsync(int fd) { return SyncAndNote(SYS_fsync, fd); }

namespace cairn::ps {
namespace {

class LogSyncTest : public LogFolder {
 protected:
  LogSyncTest() {
    const std::scoped_lock lock(sync_mu);
    durable_sizes.clear();
    sync_calls = 0;
    syncs_fail = false;
  }
  static int SyncCalls() {
    const std::scoped_lock lock(sync_mu);
    return sync_calls;
  }
  static void LetSyncsFail(bool fail) {
    const std::scoped_lock lock(sync_mu);
    syncs_fail = fail;
  }
  static void HoldSyncs(bool hold) {
    hold_syncs = hold;
    hold_syncs.notify_all();
  }
  // The folder as it is after a power cut. Of what was not synced some pages are zeros, and the
  // end is missing.
  void CutPower(std::uint64_t seed) const {
    Rng rng(seed, 2);
    for (const std::string& name : Files()) {
      const std::string path = JoinPath(folder_, name);
      struct stat info;
      ASSERT_EQ(stat(path.c_str(), &info), 0);
      std::string content = *ReadFile(path);
      const std::uint64_t kept = durable_sizes[info.st_ino];
      ASSERT_GE(kept, sizeof(SegmentHeader));
      content.resize(kept + rng.NextBelow(content.size() - kept + 1));
      constexpr std::size_t kPage = 512;
      for (std::size_t at = kept; at < content.size(); at += kPage) {
        if (rng.NextBelow(3) != 0) continue;
        const std::size_t size = std::min(kPage, content.size() - at);
        content.replace(at, size, size, '\0');
      }
      std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
    }
  }
};

TEST_F(LogSyncTest, CommittedRecordsSurviveAPowerCut) {
  constexpr std::uint64_t kThreads = 3;
  for (std::uint64_t round = 0; round < 25; ++round) {
    SCOPED_TRACE(round);
    std::filesystem::remove_all(folder_);
    durable_sizes.clear();
    auto log = Open({.sync = true, .segment_bytes = 15'000});
    std::mutex mu;
    std::map<std::uint64_t, Bytes> appended;
    std::uint64_t committed = 0;
    std::vector<std::thread> threads;
    for (std::uint64_t thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&, thread] {
        for (std::uint64_t i = 0; i < 12; ++i) {
          Bytes payload = MakePayload(round * 10 + thread, i, 3000);
          const auto lsn = AppendInPieces(*log, payload);
          ASSERT_TRUE(lsn.ok()) << lsn.status();
          // The last ones of each thread wait for no disk.
          if (i < 8) {
            ASSERT_EQ(log->Commit(*lsn), OkStatus());
          }
          const std::scoped_lock lock(mu);
          appended[*lsn] = std::move(payload);
          if (i < 8) committed = std::max(committed, *lsn);
        }
      });
    }
    for (auto& thread : threads) thread.join();
    ASSERT_EQ(appended.size(), kThreads * 12);
    CutPower(round);
    log.reset();
    log = Open({.sync = true, .segment_bytes = 15'000});
    ASSERT_NE(log, nullptr);
    const auto records = ReadAll(*log);
    ASSERT_GE(records.size(), committed);
    for (const auto& [lsn, bytes] : records) ASSERT_EQ(bytes, appended.at(lsn)) << lsn;
  }
}

TEST_F(LogSyncTest, ThreadsThatCommitAtOnceShareASync) {
  constexpr std::uint64_t kThreads = 8;
  auto log = Open({.sync = true});
  const int before = SyncCalls();
  HoldSyncs(true);
  std::vector<std::thread> threads;
  for (std::uint64_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&] {
      const auto lsn = log->Append({});
      ASSERT_TRUE(lsn.ok());
      ASSERT_EQ(log->Commit(*lsn), OkStatus());
    });
  }
  // Appends go on while one thread is in the disk's hands.
  while (log->last_lsn() < kThreads) std::this_thread::yield();
  HoldSyncs(false);
  for (auto& thread : threads) thread.join();
  EXPECT_GE(SyncCalls() - before, 1);
  EXPECT_LE(SyncCalls() - before, 2) << "one that had begun, and one for all the others";
  const int after = SyncCalls();
  ASSERT_EQ(log->Commit(kThreads), OkStatus());
  EXPECT_EQ(SyncCalls(), after) << "nothing to sync";
}

TEST_F(LogSyncTest, WithoutSyncTheDiskIsNotAsked) {
  auto log = Open({.sync = false, .segment_bytes = 100});
  const int before = SyncCalls();  // of the folder that was made
  for (int i = 0; i < 20; ++i) ASSERT_EQ(log->Commit(*log->Append({})), OkStatus());
  ASSERT_EQ(log->DropThrough(20), OkStatus());
  EXPECT_EQ(SyncCalls(), before);
}

TEST_F(LogSyncTest, AfterAFailedSyncNothingIsAcknowledgedUntilTheLogIsOpenedAgain) {
  auto log = Open({.sync = true});
  const Bytes payload = MakePayload(1, 1, 100);
  ASSERT_EQ(log->Commit(*AppendInPieces(*log, payload)), OkStatus());
  ASSERT_EQ(*AppendInPieces(*log, payload), 2u);
  LetSyncsFail(true);
  EXPECT_EQ(log->Commit(2).code(), absl::StatusCode::kUnavailable);
  // The kernel says it once only: a later sync would succeed and mean nothing.
  LetSyncsFail(false);
  EXPECT_EQ(log->Commit(2).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(log->Append({}).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(log->Commit(1), OkStatus());
  log.reset();
  log = Open({.sync = true});
  EXPECT_EQ(ReadAll(*log).at(1), payload);
  EXPECT_TRUE(log->Append({}).ok());
}

TEST_F(LogSyncTest, WhatIsReplayedIsOnTheDisk) {
  {
    // Another process wrote this and was killed before it could sync.
    auto log = Open({.sync = false, .segment_bytes = 500});
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(AppendInPieces(*log, MakePayload(1, 1, 300)).ok());
  }
  auto log = Open({.sync = true, .segment_bytes = 500});
  EXPECT_EQ(ReadAll(*log).size(), 10u);
  for (const std::string& name : Files()) {
    struct stat info;
    ASSERT_EQ(stat(JoinPath(folder_, name).c_str(), &info), 0);
    EXPECT_EQ(durable_sizes[info.st_ino], static_cast<std::uint64_t>(info.st_size)) << name;
  }
}

}  // namespace
}  // namespace cairn::ps
