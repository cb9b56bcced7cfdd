// Processes that are killed while they append: every record that was acknowledged is replayed with
// its bytes.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "tests/ps/log/log_folder.h"

namespace cairn::ps {
namespace {

struct Acknowledgement {
  std::uint64_t lsn;
  std::uint64_t writer;
  std::uint64_t count;
};

struct Shape {
  const char* name;
  bool sync;
  std::uint64_t threads;
  std::size_t max_record_bytes;
  std::uint64_t segment_bytes;
  std::uint64_t most_acknowledgements;  // in a round
};

class LogCrashTest : public LogFolder, public testing::WithParamInterface<Shape> {
 protected:
  static constexpr std::uint64_t kPayloads = 5;

  PushLogOptions options() const {
    return {.sync = GetParam().sync, .segment_bytes = GetParam().segment_bytes, .reserve_bytes = 0};
  }
  Bytes Payload(std::uint64_t writer, std::uint64_t count) const {
    return MakePayload(writer, count, GetParam().max_record_bytes);
  }
  // Appends until it is killed; each record is acknowledged through the pipe after its commit.
  [[noreturn]] void RunChild(int pipe_fd, std::uint64_t round) const {
    auto log = PushLog::Open(folder_, options());
    if (!log.ok()) _exit(3);
    std::vector<std::thread> threads;
    for (std::uint64_t thread = 0; thread < GetParam().threads; ++thread) {
      threads.emplace_back([&, thread] {
        const std::uint64_t writer = round * 100 + thread;
        // Made before, so that the kill meets a thread in the log.
        std::vector<Bytes> payloads;
        for (std::uint64_t i = 0; i < kPayloads; ++i) payloads.push_back(Payload(writer, i));
        for (std::uint64_t count = 0;; count = (count + 1) % kPayloads) {
          const auto lsn = AppendInPieces(**log, payloads[count]);
          if (!lsn.ok() || !(*log)->Commit(*lsn).ok()) _exit(4);
          const Acknowledgement acknowledgement{*lsn, writer, count};
          // Less than PIPE_BUF: arrives whole or not at all.
          if (write(pipe_fd, &acknowledgement, sizeof acknowledgement) < 0) _exit(5);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    _exit(6);
  }
  // Starts a child, kills it after it acknowledged `count` records, and returns all that it did.
  std::vector<Acknowledgement> RunAndKill(std::uint64_t round, std::uint64_t count) {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
      close(ends[0]);
      RunChild(ends[1], round);
    }
    close(ends[1]);
    std::vector<Acknowledgement> acknowledged;
    Acknowledgement one;
    bool is_killed = false;
    // After the kill what is still in the pipe counts as well.
    while (read(ends[0], &one, sizeof one) == ssize_t{sizeof one}) {
      acknowledged.push_back(one);
      if (!is_killed && acknowledged.size() >= count) {
        kill(child, SIGKILL);
        is_killed = true;
      }
    }
    close(ends[0]);
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
    return acknowledged;
  }
};

TEST_P(LogCrashTest, AcknowledgedRecordsSurviveTheKill) {
  constexpr std::uint64_t kRounds = 12;
  Rng rng(GetParam().threads, GetParam().sync ? 1 : 0);
  std::map<std::uint64_t, Acknowledgement> acknowledged;
  std::uint64_t from = 1;
  for (std::uint64_t round = 0; round < kRounds; ++round) {
    SCOPED_TRACE(StrCat("round ", round));
    for (const Acknowledgement& one :
         RunAndKill(round, 1 + rng.NextBelow(GetParam().most_acknowledgements))) {
      ASSERT_TRUE(acknowledged.emplace(one.lsn, one).second) << "acknowledged twice: " << one.lsn;
    }
    auto log = PushLog::Open(folder_, options());
    ASSERT_TRUE(log.ok()) << log.status();
    ASSERT_GE((*log)->last_lsn(), acknowledged.rbegin()->first);
    const auto records = ReadAll(**log, from);
    ASSERT_EQ(records.size(), (*log)->last_lsn() + 1 - from) << "a gap";
    for (const auto& [lsn, bytes] : records) {
      // Also what was not acknowledged is one of the records that were appended.
      const auto [writer, count] = SourceOf(bytes);
      ASSERT_EQ(bytes, Payload(writer, count)) << lsn;
      const auto found = acknowledged.find(lsn);
      if (found == acknowledged.end()) continue;
      ASSERT_EQ(writer, found->second.writer) << lsn;
      ASSERT_EQ(count, found->second.count) << lsn;
    }
    if (round % 3 == 2) {
      from = (*log)->last_lsn() - (*log)->last_lsn() / 4;
      ASSERT_EQ((*log)->DropThrough(from - 1), OkStatus());
    }
  }
  RecordProperty("acknowledged", static_cast<int>(acknowledged.size()));
}

INSTANTIATE_TEST_SUITE_P(Shapes, LogCrashTest,
                         testing::Values(Shape{"ProcessOneThread", false, 1, 200'000, 1u << 20, 60},
                                         Shape{"ProcessThreads", false, 4, 20'000, 100'000, 60},
                                         Shape{"ProcessLarge", false, 2, 3'000'000, 8u << 20, 10},
                                         Shape{"DiskThreads", true, 4, 20'000, 100'000, 60}),
                         [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace cairn::ps
