// How long a server that was killed takes to answer again: a database of --rows rows (dim 16,
// Adagrad) and a log of --log_mib MiB behind it, on the file system of --folder. Then what --pulls
// requests of 20 000 random rows cost, while rows still come from the database.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <thread>
#include <vector>

#include <gflags/gflags.h>
#include <glog/logging.h>

#include "common/math/rng.h"
#include "google/protobuf/text_format.h"
#include "proto/config.pb.h"
#include "proto/ps_service.pb.h"
#include "ps/server/ps_core.h"
#include "ps/table/key_groups.h"
#include "tests/bench/ps/process_cpu.h"

DEFINE_string(folder, "/tmp/cairn_bench_restart", "is emptied");
DEFINE_uint64(rows, 5'000'000, "of the table");
DEFINE_uint64(log_mib, 256, "of pushes that are in the log alone");
DEFINE_uint64(memory_mib, 0, "server.memory_mib");
DEFINE_uint64(pulls, 1000, "requests after the recovery");
DEFINE_bool(wait, false, "until all rows are in memory, before the pulls; not with --memory_mib");
DEFINE_bool(keep, false, "leave the folder, and use what an earlier run left there");

namespace cairn::ps {
namespace {

constexpr std::size_t kDim = 16, kKeys = 20'000;

double SecondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

std::unique_ptr<PsCore> MakeCore() {
  proto::JobConfig job;
  CHECK(google::protobuf::TextFormat::ParseFromString(
      "table { name: 't' dim: 16 optimizer { adagrad {} } } dense { optimizer { sgd {} } } "
      "server { durability: PROCESS }",
      &job));
  job.mutable_server()->set_log_mib(4 * FLAGS_log_mib);  // cuts would come in between
  job.mutable_server()->set_memory_mib(FLAGS_memory_mib);
  auto core = PsCore::Make(job, {.folder = FLAGS_folder + "/ps"});
  CHECK(core.ok()) << core.status();
  return std::move(*core);
}

class Timer {
 public:
  double Seconds() const { return SecondsSince(begin_); }
  double CpuSeconds() const { return (bench::CpuTimeOf(getpid()) - cpu_).total; }

 private:
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  const bench::CpuTime cpu_ = bench::CpuTimeOf(getpid());
};

void Prepare() {
  std::filesystem::remove_all(FLAGS_folder);
  const auto core = MakeCore();
  proto::RestoreReply restored;
  CHECK(core->Restore("", &restored).ok());
  std::vector<std::uint64_t> keys(kKeys);
  const std::vector<float> gradients(kKeys * kDim, 0.5f);
  const auto push = [&](std::uint64_t first) {
    for (std::size_t i = 0; i < kKeys; ++i) keys[i] = MixedKey(first + i);
    const RowsUpdate update{0, keys, gradients.data()};
    const Status pushed = core->Push({&update, 1}, {}, {}, 1);
    CHECK(pushed.ok()) << pushed;
  };
  for (std::uint64_t row = 0; row < FLAGS_rows; row += kKeys) push(row);
  proto::SnapshotReply snapshot;
  CHECK(core->Snapshot(FLAGS_folder + "/snapshot", &snapshot).ok());
  proto::PsStatsReply stats;
  Rng rng(1, 2);
  for (core->Stats(&stats); stats.log_bytes() < FLAGS_log_mib << 20; core->Stats(&stats)) {
    push(rng.NextBelow(FLAGS_rows - kKeys));
  }
  std::cout << "rows " << stats.table(0).rows() << ", log " << (stats.log_bytes() >> 20)
            << " MiB\n";
}

void Run() {
  if (!FLAGS_keep || !std::filesystem::exists(FLAGS_folder)) Prepare();
  std::vector<std::uint64_t> keys(kKeys);
  std::vector<float> values(kKeys * kDim);
  Rng rng(3, 4);
  const Timer timer;
  const auto core = MakeCore();
  proto::RestoreReply reply;
  const Status recovered = core->Recover(&reply);
  CHECK(recovered.ok()) << recovered;
  const auto pull = [&] {
    for (std::uint64_t& key : keys) key = MixedKey(rng.NextBelow(FLAGS_rows));
    const RowsRead read{0, keys, values.data()};
    CHECK(core->Pull({&read, 1}, AbsentRow::kInitialValue).ok());
  };
  const double recovery = timer.Seconds(), recovery_cpu = timer.CpuSeconds();
  pull();
  const double seconds = timer.Seconds();
  const double gigabytes = static_cast<double>(FLAGS_rows) * (2 * kDim * 4 + 16) / 1e9;
  proto::PsStatsReply stats;
  core->Stats(&stats);
  std::cout << "RESULT recovery=" << recovery << " s\n"
            << "RESULT recovery_cpu=" << recovery_cpu << " s\n"
            << "RESULT resident_rows=" << stats.table(0).resident_rows() << " rows\n"
            << "RESULT first_pull=" << seconds << " s\n"
            << "RESULT first_pull_per_gb=" << seconds / gigabytes << " s\n";
  if (FLAGS_wait) {
    const Timer warming;
    do {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      core->Stats(&stats);
    } while (stats.table(0).resident_rows() < FLAGS_rows);
    std::cout << "RESULT warm_up=" << warming.Seconds() << " s\n"
              << "RESULT warm_up_cpu=" << warming.CpuSeconds() << " s\n";
  }
  // Means of 1, 2, 4, ... requests.
  for (std::uint64_t done = 0, count = 1; done < FLAGS_pulls; done += count, count *= 2) {
    count = std::min(count, FLAGS_pulls - done);
    const Timer many;
    for (std::uint64_t i = 0; i < count; ++i) pull();
    const double ms = 1e3 / static_cast<double>(count);
    std::cout << count << " pulls: " << ms * many.Seconds() << " ms each, CPU of the process "
              << ms * many.CpuSeconds() << " ms";
    core->Stats(&stats);
    std::cout << ", then " << stats.table(0).resident_rows() << " rows of " << stats.table(0).rows()
              << " in memory\n";
  }
  if (!FLAGS_keep) std::filesystem::remove_all(FLAGS_folder);
}

}  // namespace
}  // namespace cairn::ps

int main(int argc, char** argv) {
  gflags::ParseCommandLineFlags(&argc, &argv, true);
  cairn::ps::Run();
  return 0;
}
