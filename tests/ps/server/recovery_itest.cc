// Server processes that are killed, at random moments and at each of their system calls, and
// recover: no acknowledged push is lost and none is applied twice. CAIRN_CRASH_ROUNDS sets the
// number of kills for longer runs.
#include <gmock/gmock.h>
#include <sys/mman.h>
#include <sys/mount.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "tests/ps/server/child_process.h"
#include "tests/ps/server/crash_points.h"
#include "tests/ps/server/recovery.h"

namespace cairn::ps {
namespace {

using testing::HasSubstr;

std::uint64_t RoundsOr(std::uint64_t usual) {
  const char* const wanted = std::getenv("CAIRN_CRASH_ROUNDS");
  return wanted == nullptr ? usual : std::strtoull(wanted, nullptr, 10);
}

// ---- kills at random moments, while everything goes on at once

constexpr std::uint64_t kClients = 4;
constexpr std::uint64_t kUniverse = 60'000;
constexpr std::size_t kKeys = 300, kDim = 32, kDenseFloats = 32;

proto::JobConfig CountingJob(const std::string& durability) {
  return ParseJob(R"(table { name: "count" dim: 32 initializer { zero {} }
                             optimizer { sgd { learning_rate: 1 } } }
                     dense { optimizer { sgd { learning_rate: 1 } } }
                     server { memory_mib: 6 log_mib: 16 disk_reserve_mib: 1 durability: )" +
                  durability + " }");
}

std::vector<DenseTensorSpec> CountingModel() { return {{.name = "b", .dims = {kDenseFloats}}}; }

// What push `sequence` of a client is made of: integers, so that sums are exact in any order.
struct CountingPush {
  CountingPush(std::uint64_t client, std::uint64_t sequence)
      : dense(kDenseFloats, static_cast<float>(1 + client % 3)) {
    Rng rng(client, sequence);
    first = rng.NextBelow(kUniverse);
    for (std::size_t i = 0; i < kKeys; ++i) keys.push_back(MixedKey((first + i) % kUniverse));
    gradients.assign(kKeys * kDim, static_cast<float>(1 + sequence % 2));
  }
  Status SendTo(PsCore& core, PushId id) const {
    const RowsUpdate update{0, keys, gradients.data()};
    const DenseChunkUpdate chunk{0, 0, dense};
    return core.Push({&update, 1}, {&chunk, 1}, id, 1);
  }
  std::uint64_t first;
  std::vector<std::uint64_t> keys;
  std::vector<float> gradients, dense;
};

struct Message {
  enum Kind : std::uint64_t { kAcknowledged, kCuts, kSpilled, kSnapshots };
  Kind kind;
  std::uint64_t client, number;
};

class KillTest : public testing::TestWithParam<const char*> {
 protected:
  static bool CutsItsLog(std::uint64_t round) { return round % 4 == 3; }

  // Clients go on behind `acknowledged`.
  [[noreturn]] void Serve(int pipe_fd, std::uint64_t round) {
    const auto core = MakeServer(CountingJob(GetParam()), folder_ / "ps");
    const auto send = [&](const Message& message) {  // less than PIPE_BUF: whole or not at all
      if (write(pipe_fd, &message, sizeof message) < 0) _exit(3);
    };
    const auto check = [](const Status& status) {
      if (status.ok()) return;
      ADD_FAILURE() << status;
      _exit(4);
    };
    check(round == 0 ? Restore(*core) : Recover(*core));
    check(core->RegisterDense(CountingModel()));
    const std::vector<float> zeros(kDenseFloats);
    const DenseChunkUpdate chunk{0, 0, zeros};
    check(core->InitDense({&chunk, 1}));
    std::vector<std::thread> threads;
    for (std::uint64_t client = 1; client <= kClients; ++client) {
      threads.emplace_back([&, client, first = acknowledged_[client] + 1] {
        for (std::uint64_t sequence = first;; ++sequence) {
          check(CountingPush(client, sequence).SendTo(*core, {client, sequence}));
          send({Message::kAcknowledged, client, sequence});
        }
      });
    }
    for (std::uint64_t snapshot = 1;; ++snapshot) {
      for (int i = 0; i < (CutsItsLog(round) ? 20 : 2); ++i) {
        const auto stats = StatsOf(*core);
        send({Message::kCuts, 0, stats.log_cuts()});
        send({Message::kSpilled, 0, stats.table(0).spilled_rows()});
        usleep(10'000);
      }
      // A snapshot drops the log: on a slow machine before it is long enough to be cut.
      if (CutsItsLog(round)) continue;
      proto::SnapshotReply reply;
      const std::string name = folder_ / StrCat("snapshot-", round, "-", snapshot);
      check(core->Snapshot(name, &reply));
      std::filesystem::remove_all(name);
      send({Message::kSnapshots, 0, snapshot});
    }
  }

  void RunAndKill(std::uint64_t round, std::uint64_t count) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
      close(ends[0]);
      Serve(ends[1], round);
    }
    close(ends[1]);
    std::map<Message::Kind, std::uint64_t> most;
    Message message;
    std::uint64_t seen = 0;
    // After the kill what is still in the pipe counts as well.
    while (read(ends[0], &message, sizeof message) == ssize_t{sizeof message}) {
      most[message.kind] = std::max(most[message.kind], message.number);
      if (message.kind != Message::kAcknowledged) continue;
      EXPECT_EQ(message.number, acknowledged_[message.client] + 1);
      acknowledged_[message.client] = message.number;
      if (++seen == count) kill(child, SIGKILL);
    }
    close(ends[0]);
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "wait status " << status;
    for (const auto& [kind, number] : most) total_[kind] += number;
  }

  // Every client repeats the push that was under way and starts no other.
  void CheckSums() {
    const auto core = MakeServer(CountingJob(GetParam()), folder_ / "ps");
    ASSERT_EQ(Recover(*core), OkStatus());
    std::vector<double> sums(kUniverse);
    double dense = 0;
    for (std::uint64_t client = 1; client <= kClients; ++client) {
      const std::uint64_t last = acknowledged_[client] + 1;
      ASSERT_EQ(CountingPush(client, last).SendTo(*core, {client, last}), OkStatus());
      for (std::uint64_t sequence = 1; sequence <= last; ++sequence) {
        const CountingPush push(client, sequence);
        for (std::size_t i = 0; i < kKeys; ++i) {
          sums[(push.first + i) % kUniverse] -= push.gradients[0];
        }
        dense -= push.dense[0];
      }
    }
    std::vector<std::uint64_t> keys;
    for (std::uint64_t i = 0; i < kUniverse; ++i) keys.push_back(MixedKey(i));
    std::vector<float> values(keys.size() * kDim), chunk(kDenseFloats);
    const RowsRead rows{0, keys, values.data()};
    ASSERT_EQ(core->Pull({&rows, 1}, AbsentRow::kZero), OkStatus());
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(values[i], sums[i / kDim]) << "row " << i / kDim;
    }
    const DenseChunkRead read{0, 0, chunk};
    ASSERT_EQ(core->PullDense({&read, 1}), OkStatus());
    for (const float value : chunk) ASSERT_EQ(value, dense);
  }

  TempFolder folder_;
  std::map<std::uint64_t, std::uint64_t> acknowledged_;
  std::map<Message::Kind, std::uint64_t> total_;
};

TEST_P(KillTest, EveryAcknowledgedPushIsThereOnce) {
  const std::uint64_t rounds = RoundsOr(8);
  Rng rng(rounds, 5);
  for (std::uint64_t round = 0; round < rounds; ++round) {
    SCOPED_TRACE(StrCat("round ", round));
    // Some die at once, some live for several cuts of the log.
    const std::uint64_t pushes = CutsItsLog(round) ? 900 : 1 + rng.NextBelow(200);
    ASSERT_NO_FATAL_FAILURE(RunAndKill(round, pushes));
    if (round % 8 == 7 || round + 1 == rounds) {
      ASSERT_TRUE(RunChild([&] { CheckSums(); }));
      for (std::uint64_t client = 1; client <= kClients; ++client) ++acknowledged_[client];
    }
  }
  EXPECT_GT(total_[Message::kCuts], 0u);
  EXPECT_GT(total_[Message::kSpilled], 0u);
  EXPECT_GT(total_[Message::kSnapshots], 0u);
  std::uint64_t pushes = 0;
  for (const auto& [client, number] : acknowledged_) pushes += number;
  std::printf("%llu kills, %llu pushes, %llu cuts of the log, %llu rows spilled, %llu snapshots\n",
              static_cast<unsigned long long>(rounds), static_cast<unsigned long long>(pushes),
              static_cast<unsigned long long>(total_[Message::kCuts]),
              static_cast<unsigned long long>(total_[Message::kSpilled]),
              static_cast<unsigned long long>(total_[Message::kSnapshots]));
}

INSTANTIATE_TEST_SUITE_P(Durability, KillTest, testing::Values("PROCESS", "DISK"),
                         [](const auto& tested) { return std::string(tested.param); });

// ---- deaths at each system call that changes files

struct Shared {                             // by a test and its children
  std::atomic<std::uint64_t> acknowledged;  // pushes 1 to this one
  std::atomic<std::uint64_t> calls;
  std::atomic<std::uint64_t> digest;
};

std::uint64_t DigestOf(const ServerContent& content) {
  std::string bytes;
  const auto add = [&](const RowContent& row) {
    for (const auto* const floats : {&row.value, &row.state}) {
      bytes.append(reinterpret_cast<const char*>(floats->data()), floats->size() * sizeof(float));
    }
    StrAppend(bytes, row.metadata.version, " ", row.metadata.count, " ", row.metadata.last_step);
  };
  for (const TableContent& table : content.tables) {
    for (const auto& [key, row] : table) {
      StrAppend(bytes, key, ":");
      add(row);
    }
  }
  for (const auto& [place, row] : content.dense) {
    StrAppend(bytes, place.first, place.second, ":");
    add(row);
  }
  return std::hash<std::string>{}(bytes);
}

struct Scenario {
  const char* name;
  const char* server;
  std::uint64_t before, after;  // pushes before the fatal life, and in it
  bool snapshots, restores;
  std::uint64_t deaths;  // spread over the calls
  PushScript script = {};
};

class CallTest : public testing::TestWithParam<Scenario> {
 protected:
  CallTest() {
    void* const memory =
        mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    shared_ = new (memory) Shared{};
  }
  ~CallTest() override { munmap(shared_, sizeof(Shared)); }

  proto::JobConfig job() const { return RecoveryJob(GetParam().server); }
  std::uint64_t LastPush() const { return GetParam().before + GetParam().after; }

  static void PushThrough(PsCore& core, std::uint64_t from, std::uint64_t to, Shared* shared) {
    for (std::uint64_t n = from; n <= to; ++n) {
      ASSERT_EQ(PushNumber(core, GetParam().script, n, n), OkStatus());
      if (shared != nullptr) shared->acknowledged = n;
    }
  }
  // The life that comes before the one that is cut short, and a server that never dies.
  void Prepare() {
    {
      const auto core = MakeServer(job(), folder_ / "base");
      ASSERT_EQ(Restore(*core), OkStatus());
      ASSERT_EQ(InitSmallModel(*core), OkStatus());
      PushThrough(*core, 1, GetParam().before, shared_);
    }
    ShardCluster straight(RecoveryJob("durability: NONE"), 1, folder_, "straight");
    ASSERT_EQ(straight.Restore(""), OkStatus());
    ASSERT_EQ(InitSmallModel(straight.core(0)), OkStatus());
    PushThrough(straight.core(0), 1, GetParam().before, nullptr);
    straight.Checkpoint(folder_ / "checkpoint");
    PushThrough(straight.core(0), GetParam().before + 1, LastPush(), nullptr);
    shared_->digest = DigestOf(ReadServer(straight.core(0), job(), folder_ / "read"));
  }
  void Live() {
    const auto core = MakeServer(job(), folder_ / "ps");
    if (GetParam().restores) {
      ASSERT_EQ(Restore(*core, folder_ / "checkpoint"), OkStatus());
      return;
    }
    ASSERT_EQ(Recover(*core), OkStatus());
    const std::uint64_t half = (GetParam().before + LastPush()) / 2;
    PushThrough(*core, GetParam().before + 1, half, shared_);
    if (GetParam().snapshots) {
      proto::SnapshotReply reply;
      ASSERT_EQ(core->Snapshot(folder_ / "snapshot", &reply), OkStatus());
    }
    PushThrough(*core, half + 1, LastPush(), shared_);
  }
  void ComeBack() {
    const auto core = MakeServer(job(), folder_ / "ps");
    const Status recovered = Recover(*core);
    std::uint64_t sequence = shared_->acknowledged + 1;
    if (GetParam().restores) {
      // The old state, none, or the new one, each whole.
      if (!recovered.ok()) {
        ASSERT_EQ(recovered.code(), absl::StatusCode::kFailedPrecondition) << recovered;
        ASSERT_EQ(Restore(*core, folder_ / "checkpoint"), OkStatus());
      }
      ASSERT_EQ(InitSmallModel(*core), OkStatus());
      for (std::uint64_t n = sequence; n <= LastPush(); ++n) {
        // By a client that either state knows nothing of.
        Status status = PushNumber(*core, GetParam().script, n, n);
        if (!status.ok()) status = PushNumber(*core, GetParam().script, n, n - sequence + 1);
        ASSERT_EQ(status, OkStatus());
      }
    } else {
      ASSERT_EQ(recovered, OkStatus());
      PushThrough(*core, sequence, LastPush(), nullptr);
    }
    EXPECT_EQ(DigestOf(ReadServer(*core, job(), folder_ / "read")), shared_->digest);
  }
  void CopyBase() {
    for (const char* const name : {"ps", "snapshot"}) std::filesystem::remove_all(folder_ / name);
    std::filesystem::copy(folder_ / "base", folder_ / "ps",
                          std::filesystem::copy_options::recursive);
    shared_->acknowledged = GetParam().before;
  }

  TempFolder folder_;
  Shared* shared_;
};

TEST_P(CallTest, ADeathAtAnyCallLosesNothing) {
  ASSERT_TRUE(RunChild([&] { Prepare(); }));
  CopyBase();
  ASSERT_TRUE(RunChild([&] {
    DieAtCall(0);
    Live();
    shared_->calls = CallsMade();
  }));
  const std::uint64_t calls = shared_->calls;
  ASSERT_GT(calls, 0u);
  const std::uint64_t deaths = std::min(calls, RoundsOr(GetParam().deaths));
  std::uint64_t died = 0;
  for (std::uint64_t i = 0; i < deaths; ++i) {
    const std::uint64_t call = 1 + i * calls / deaths;
    SCOPED_TRACE(StrCat("call ", call, " of ", calls));
    CopyBase();
    died += RunChild([&] {
      DieAtCall(call);
      Live();
    })
                ? 0
                : 1;
    ASSERT_TRUE(RunChild([&] { ComeBack(); }));
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_GE(died, deaths / 2);  // background threads do not make the same calls each time
}

INSTANTIATE_TEST_SUITE_P(
    Scenarios, CallTest,
    testing::Values(Scenario{"recover", "durability: PROCESS", 5, 2, false, false, 4},
                    // The log names more rows than memory holds: dying while it is replayed.
                    Scenario{"replay",
                             "durability: PROCESS memory_mib: 6",
                             30,
                             1,
                             false,
                             false,
                             8,
                             {.keys = 1500, .universe = 30'000}},
                    Scenario{"snapshot", "durability: DISK", 4, 4, true, false, 8},
                    Scenario{"cut", "durability: PROCESS log_mib: 16", 5, 130, false, false, 5},
                    Scenario{"restore", "durability: PROCESS", 5, 2, false, true, 6},
                    Scenario{"adopt", "durability: PROCESS memory_mib: 6", 5, 2, false, true, 6}),
    [](const auto& tested) { return tested.param.name; });

// ---- a disk without room

TEST(DiskReserve, PushesAreRefusedWhilePullsGoOnUntilThereIsSpaceAgain) {
  TempFolder folder;
  const std::string disk = folder / "disk";
  ASSERT_EQ(MakeFolders(disk), OkStatus());
  if (mount("cairn", disk.c_str(), "tmpfs", 0, "size=96m") != 0) {
    GTEST_SKIP() << "file systems cannot be mounted here";
  }
  EXPECT_TRUE(RunChild([&] {
    auto job = RecoveryJob("durability: PROCESS log_mib: 16");
    job.mutable_server()->set_disk_reserve_mib(16);
    const PushScript script{.keys = 200, .universe = 4000};
    std::uint64_t number = 1;
    {
      const auto core = MakeServer(job, disk + "/ps");
      ASSERT_EQ(Restore(*core), OkStatus());
      ASSERT_EQ(InitSmallModel(*core), OkStatus());
      for (; number <= 20; ++number) {
        ASSERT_EQ(PushNumber(*core, script, number, number), OkStatus());
      }
      const auto space = std::filesystem::space(disk);
      {
        std::ofstream filler(disk + "/filler", std::ios::binary);
        const std::string block(1 << 20, 'x');
        for (std::uint64_t left = space.available >> 20; left > 12; --left) filler << block;
      }
      Status status;
      // What was granted before may still be used up.
      for (int i = 0; i < 100 && status.ok(); ++i) {
        status = PushNumber(*core, script, number, number);
        number += status.ok() ? 1 : 0;
      }
      ASSERT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
      EXPECT_THAT(std::string(status.message()),
                  HasSubstr("remove files, or lower server.disk_reserve_mib"));
      EXPECT_THAT(std::string(status.message()), HasSubstr(disk));
      const std::vector<std::uint64_t> keys = {MixedKey(1), MixedKey(2)};
      std::vector<float> values(64);
      const RowsRead read{0, keys, values.data()};
      EXPECT_EQ(core->Pull({&read, 1}, AbsentRow::kInitialValue), OkStatus());
      ASSERT_EQ(RemoveTree(disk + "/filler"), OkStatus());
      for (const std::uint64_t end = number + 5; number < end; ++number) {
        ASSERT_EQ(PushNumber(*core, script, number, number), OkStatus());
      }
    }
    const auto core = MakeServer(job, disk + "/ps");
    ASSERT_EQ(Recover(*core), OkStatus());
    const auto recovered = ReadServer(*core, job, disk + "/read");
    const auto never_died = RecoveryJob("durability: NONE");
    const auto straight = MakeServer(never_died, folder / "straight");
    ASSERT_EQ(Restore(*straight), OkStatus());
    ASSERT_EQ(InitSmallModel(*straight), OkStatus());
    for (std::uint64_t n = 1; n < number; ++n) {
      ASSERT_EQ(PushNumber(*straight, script, n, n), OkStatus());
    }
    EXPECT_EQ(recovered, ReadServer(*straight, never_died, folder / "read"));
  }));
  EXPECT_EQ(umount(disk.c_str()), 0);
}

}  // namespace
}  // namespace cairn::ps
