// Servers that die without a word and recover: destroying one flushes nothing, as a kill would.
// This program has an fdatasync of its own, which fails for files that it is told of.
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <fstream>

#include <gmock/gmock.h>

#include "tests/ps/server/recovery.h"

namespace {

// Part of the names of files that cannot be synced; null: none.
std::atomic<const char*> unsyncable = nullptr;
std::atomic<int> sync_error = EIO;

int SyncUnlessFaulty(long call, int fd) {
  if (const char* const part = unsyncable; part != nullptr) {
    char path[4096];
    const std::string link = "/proc/self/fd/" + std::to_string(fd);
    const ssize_t n = readlink(link.c_str(), path, sizeof path);
    if (n > 0 &&
        std::string_view(path, static_cast<std::size_t>(n)).find(part) != std::string_view::npos) {
      errno = sync_error;
      return -1;
    }
  }
  return static_cast<int>(syscall(call, fd));
}

}  // namespace

extern "C" int fdatasync(int fd) { return SyncUnlessFaulty(SYS_fdatasync, fd); }
extern "C" int fsync(int fd) { return SyncUnlessFaulty(SYS_fsync, fd); }

namespace cairn::ps {
namespace {

using testing::HasSubstr;

struct Shape {
  const char* name;
  const char* optimizer;
  const char* server;
  const char* table;
  PushScript script;
};

class RecoveryTest : public testing::Test {
 protected:
  ~RecoveryTest() override {
    unsyncable = nullptr;
    sync_error = EIO;
  }
  // A server that never died, with the same pushes.
  ServerContent Straight(const Shape& shape, std::uint64_t pushes) {
    const auto job = RecoveryJob("durability: NONE", shape.optimizer, shape.table);
    const auto core = MakeServer(job, folder_ / "straight");
    EXPECT_EQ(Restore(*core), OkStatus());
    EXPECT_EQ(InitSmallModel(*core), OkStatus());
    for (std::uint64_t n = 1; n <= pushes; ++n) {
      EXPECT_EQ(PushNumber(*core, shape.script, n, n), OkStatus());
    }
    return ReadServer(*core, job, folder_ / "read");
  }
  TempFolder folder_;
};

class EveryShape : public RecoveryTest, public testing::WithParamInterface<Shape> {};

// Deaths after each few pushes, some of them right after a snapshot: rows, optimizer state,
// metadata and dense chunks come out as if nothing had been.
TEST_P(EveryShape, ComesBackBitForBit) {
  constexpr std::uint64_t kLives = 5, kPushesOfALife = 9;
  const Shape& shape = GetParam();
  const auto job = RecoveryJob(shape.server, shape.optimizer, shape.table);
  for (std::uint64_t life = 0, number = 1; life < kLives; ++life) {
    SCOPED_TRACE(StrCat("life ", life));
    const auto core = MakeServer(job, folder_ / "ps");
    ASSERT_EQ(life == 0 ? Restore(*core) : Recover(*core), OkStatus());
    ASSERT_EQ(InitSmallModel(*core), OkStatus());
    // The last push comes again, as from a client that saw no acknowledgement.
    if (life > 0) {
      ASSERT_EQ(PushNumber(*core, shape.script, number - 1, number - 1), OkStatus());
    }
    EXPECT_EQ(StatsOf(*core).duplicates(), life > 0 ? 1 : 0);
    for (std::uint64_t i = 0; i < kPushesOfALife; ++i, ++number) {
      ASSERT_EQ(PushNumber(*core, shape.script, number, number), OkStatus());
      if (life % 2 == 1 && i == 4) (void)ReadServer(*core, job, folder_ / "read");
    }
    EXPECT_EQ(PushNumber(*core, shape.script, number, number + 1).code(),
              absl::StatusCode::kFailedPrecondition)
        << "a gap";
  }
  const auto core = MakeServer(job, folder_ / "ps");
  ASSERT_EQ(Recover(*core), OkStatus());
  EXPECT_EQ(ReadServer(*core, job, folder_ / "read"), Straight(shape, kLives * kPushesOfALife));
}

constexpr char kProcess[] = "durability: PROCESS log_mib: 16";
constexpr char kDisk[] = "durability: DISK log_mib: 16";
constexpr char kTiers[] = "durability: PROCESS log_mib: 16 memory_mib: 6";
constexpr PushScript kWide{.keys = 1500, .universe = 30'000};

INSTANTIATE_TEST_SUITE_P(
    Shapes, EveryShape,
    testing::Values(
        Shape{"sgd", "sgd {}", kProcess, "", {}}, Shape{"adagrad", "adagrad {}", kProcess, "", {}},
        Shape{"adam", "adam {}", kProcess, "", {}}, Shape{"adamw", "adamw {}", kProcess, "", {}},
        Shape{"momentum", "momentum {}", kProcess, "", {}},
        Shape{"rowwise_adagrad", "rowwise_adagrad {}", kProcess, "", {}},
        Shape{"ftrl", "ftrl {}", kProcess, "", {}},
        Shape{"all_rows", "adam {}", kProcess, "l2: 0.1 l2_rows: ALL", {}},
        Shape{"disk", "adagrad {}", kDisk, "", {}}, Shape{"tiers", "adagrad {}", kTiers, "", kWide},
        Shape{"tiers_adam", "adam {}", kTiers, "", kWide}),
    [](const auto& tested) { return tested.param.name; });

// Enough pushes for several cuts; each life is longer than the log.
TEST_F(RecoveryTest, ComesBackAfterLogCuts) {
  const Shape shape{"cuts", "adagrad {}", kTiers, "", kWide};
  const auto job = RecoveryJob(shape.server, shape.optimizer);
  std::uint64_t number = 1;
  for (int life = 0; life < 2; ++life) {
    const auto core = MakeServer(job, folder_ / "ps");
    ASSERT_EQ(life == 0 ? Restore(*core) : Recover(*core), OkStatus());
    ASSERT_EQ(InitSmallModel(*core), OkStatus());
    const std::uint64_t last = number + 2000;
    while (StatsOf(*core).log_cuts() < 2 && number < last) {
      ASSERT_EQ(PushNumber(*core, shape.script, number, number), OkStatus());
      ++number;
    }
    EXPECT_GE(StatsOf(*core).log_cuts(), 2u);
    EXPECT_GT(StatsOf(*core).table(0).spilled_rows() + StatsOf(*core).table(1).spilled_rows(), 0u);
  }
  const auto core = MakeServer(job, folder_ / "ps");
  ASSERT_EQ(Recover(*core), OkStatus());
  EXPECT_EQ(ReadServer(*core, job, folder_ / "read"), Straight(shape, number - 1));
}

// What a checkpoint brought is recovered as well, whether its database was taken over or read.
TEST_F(RecoveryTest, ComesBackAfterARestoredCheckpoint) {
  for (const char* const server : {kProcess, kTiers}) {
    SCOPED_TRACE(server);
    const Shape shape{"", "adagrad {}", server, "", {}};
    const auto job = RecoveryJob(server);
    ShardCluster writer(job, 1, folder_, StrCat("writer", std::string(server).size()));
    ASSERT_EQ(writer.Restore(""), OkStatus());
    ASSERT_EQ(InitSmallModel(writer.core(0)), OkStatus());
    for (std::uint64_t n = 1; n <= 5; ++n) {
      ASSERT_EQ(PushNumber(writer.core(0), shape.script, n, n), OkStatus());
    }
    const std::string checkpoint = folder_ / StrCat("ckpt", std::string(server).size());
    writer.Checkpoint(checkpoint);
    const std::string folder = folder_ / StrCat("ps", std::string(server).size());
    {
      const auto core = MakeServer(job, folder);
      ASSERT_EQ(Restore(*core, checkpoint), OkStatus());
      ASSERT_EQ(InitSmallModel(*core), OkStatus());
      for (std::uint64_t n = 6; n <= 9; ++n) {
        ASSERT_EQ(PushNumber(*core, shape.script, n, n - 5), OkStatus());
      }
    }
    const auto core = MakeServer(job, folder);
    ASSERT_EQ(Recover(*core), OkStatus());
    EXPECT_EQ(ReadServer(*core, job, folder_ / "read"), Straight(shape, 9));
  }
}

TEST_F(RecoveryTest, RefusesWhatIsNoStateOfThisServer) {
  const auto refused = [&](const proto::JobConfig& job, const PsOptions& options) {
    auto core = PsCore::Make(job, options);
    EXPECT_TRUE(core.ok()) << core.status();
    const Status status = Recover(**core);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_EQ((*core)->Pull({}, AbsentRow::kZero).code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(Restore(**core), OkStatus()) << "but a new state can be made";
    return std::string(status.message());
  };
  EXPECT_THAT(refused(RecoveryJob(kProcess), {.folder = folder_ / "empty"}),
              HasSubstr("empty holds no whole state of a server"));
  EXPECT_THAT(refused(RecoveryJob("durability: NONE"), {.folder = folder_ / "none"}),
              HasSubstr("with durability NONE nothing outlives the process"));
  // The folder now has a database, but no log.
  EXPECT_THAT(refused(RecoveryJob(kProcess), {.folder = folder_ / "none"}),
              HasSubstr("holds no whole state"));
  const auto make = [&] {
    std::filesystem::remove_all(folder_ / "ps");
    EXPECT_EQ(Restore(*MakeServer(RecoveryJob(kProcess), folder_ / "ps")), OkStatus());
  };
  make();
  EXPECT_THAT(refused(RecoveryJob(kProcess, "adam {}"), {.folder = folder_ / "ps"}),
              HasSubstr("holds the state of a server of another job: other tables"));
  make();
  EXPECT_THAT(refused(RecoveryJob(kProcess), {.ps = 1, .ps_count = 2, .folder = folder_ / "ps"}),
              HasSubstr("of another job: other slots"));
}

// The server lives on after a recovery that failed, also with a log that is due to be cut.
TEST_F(RecoveryTest, DamageIsReportedWithTheFileAndTheServerCanBeRestored) {
  const auto job = RecoveryJob(kProcess);
  const PushScript script{.keys = 400};
  {
    const auto core = MakeServer(job, folder_ / "ps");
    ASSERT_EQ(Restore(*core), OkStatus());
    ASSERT_EQ(InitSmallModel(*core), OkStatus());
    for (std::uint64_t n = 1; n <= 120; ++n) {
      ASSERT_EQ(PushNumber(*core, script, n, n), OkStatus());
    }
  }
  const auto logs = ListFolder(folder_ / "ps/log", ListMode::kEntries);
  ASSERT_TRUE(logs.ok() && !logs->empty());
  const std::string damaged = folder_ / ("ps/log/" + logs->back());
  {
    std::fstream file(damaged, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(3000);
    file.write("damage", 6);
  }
  const auto core = MakeServer(job, folder_ / "ps");
  const Status status = Recover(*core);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(damaged));
  EXPECT_EQ(PushNumber(*core, {}, 1, 1).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_EQ(Restore(*core), OkStatus());
  ASSERT_EQ(InitSmallModel(*core), OkStatus());
  EXPECT_EQ(PushNumber(*core, script, 1, 1), OkStatus());
}

// After a commit that failed nobody knows whether the push will be there after a restart.
TEST_F(RecoveryTest, AFailedCommitEndsTheServiceUntilRecovery) {
  const Shape shape{"", "adagrad {}", kDisk, "", {}};
  const auto job = RecoveryJob(shape.server);
  const auto core = MakeServer(job, folder_ / "ps");
  ASSERT_EQ(Restore(*core), OkStatus());
  ASSERT_EQ(InitSmallModel(*core), OkStatus());
  ASSERT_EQ(PushNumber(*core, shape.script, 1, 1), OkStatus());
  unsyncable = "push-";
  EXPECT_EQ(PushNumber(*core, shape.script, 2, 2).code(), absl::StatusCode::kUnavailable);
  unsyncable = nullptr;
  const Status repeat = PushNumber(*core, shape.script, 2, 2);
  EXPECT_EQ(repeat.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(repeat.message()), HasSubstr("serves no more until it is restarted"));
  EXPECT_EQ(core->Pull({}, AbsentRow::kZero).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(core->Health().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(core->RegisterDense(SmallModel()).code(), absl::StatusCode::kUnavailable);
  proto::SnapshotReply reply;
  EXPECT_EQ(core->Snapshot(folder_ / "snapshot", &reply).code(), absl::StatusCode::kUnavailable);
  ASSERT_EQ(Recover(*core), OkStatus());
  EXPECT_EQ(core->Health(), OkStatus());
  // Whatever of the push was left: repeated, it is there once.
  ASSERT_EQ(PushNumber(*core, shape.script, 2, 2), OkStatus());
  EXPECT_EQ(ReadServer(*core, job, folder_ / "read"), Straight(shape, 2));
}

// A folder may hold what another run of the job left on this host.
TEST_F(RecoveryTest, StateOfAnotherRunOfTheJobIsRefused) {
  const auto job = RecoveryJob(kProcess);
  const auto make = [&](std::uint64_t epoch) {
    auto core = PsCore::Make(job, {.folder = folder_ / "ps", .job_epoch = epoch});
    EXPECT_TRUE(core.ok()) << core.status();
    return std::move(*core);
  };
  {
    const auto core = make(4);
    core->SetJobEpoch(5);
    ASSERT_EQ(Restore(*core), OkStatus());
    ASSERT_EQ(InitSmallModel(*core), OkStatus());
    ASSERT_EQ(PushNumber(*core, {}, 1, 1), OkStatus());
  }
  const Status other = Recover(*make(4));
  EXPECT_EQ(other.code(), absl::StatusCode::kFailedPrecondition) << other;
  EXPECT_THAT(std::string(other.message()), HasSubstr("holds the state of another run of the job"));
  EXPECT_EQ(Recover(*make(5)), OkStatus());
}

// Chunks that could not be saved must not be named in the log: a recovered server would not know
// them.
TEST_F(RecoveryTest, PushesOfDenseChunksWaitUntilTheirFirstValuesAreSaved) {
  const Shape shape{"", "adagrad {}", kProcess, "", {}};
  const auto job = RecoveryJob(shape.server);
  {
    const auto core = MakeServer(job, folder_ / "ps");
    ASSERT_EQ(Restore(*core), OkStatus());
    sync_error = ENOSPC;
    unsyncable = ".sst";
    EXPECT_FALSE(core->RegisterDense(SmallModel()).ok());
    EXPECT_FALSE(InitSmallModel(*core).ok());
    for (const auto& [tensor, chunk] : core->OwnedDenseChunks()) {
      const auto values =
          Gradients(tensor + 5, ShardCluster::FloatsOfChunk(SmallModel()[tensor], chunk));
      const DenseChunkUpdate update{tensor, chunk, values};
      EXPECT_FALSE(core->InitDense({&update, 1}).ok());
    }
    EXPECT_FALSE(PushNumber(*core, shape.script, 1, 1).ok());
    unsyncable = nullptr;
    // Nobody asks again: the server saves them by itself.
    Status status;
    for (int i = 0; i < 3000 && !(status = PushNumber(*core, shape.script, 1, 1)).ok(); ++i) {
      usleep(10'000);
    }
    ASSERT_EQ(status, OkStatus());
  }
  const auto core = MakeServer(job, folder_ / "ps");
  ASSERT_EQ(Recover(*core), OkStatus());
  EXPECT_EQ(ReadServer(*core, job, folder_ / "read"), Straight(shape, 1));
}

}  // namespace
}  // namespace cairn::ps
