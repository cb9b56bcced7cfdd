// How long a server that was killed takes to answer again: a database of --rows rows (dim 16,
// Adagrad) and a log of --log_mib MiB behind it, on the file system of --folder.
#include <chrono>
#include <filesystem>
#include <iostream>
#include <vector>

#include <gflags/gflags.h>
#include <glog/logging.h>

#include "common/math/rng.h"
#include "google/protobuf/text_format.h"
#include "proto/config.pb.h"
#include "proto/ps_service.pb.h"
#include "ps/server/ps_core.h"
#include "ps/table/key_groups.h"

DEFINE_string(folder, "/tmp/cairn_bench_restart", "is emptied");
DEFINE_uint64(rows, 5'000'000, "of the table");
DEFINE_uint64(log_mib, 256, "of pushes that are in the log alone");
DEFINE_uint64(memory_mib, 0, "server.memory_mib");

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

void Run() {
  std::filesystem::remove_all(FLAGS_folder);
  std::vector<std::uint64_t> keys(kKeys);
  const std::vector<float> gradients(kKeys * kDim, 0.5f);
  {
    const auto core = MakeCore();
    proto::RestoreReply restored;
    CHECK(core->Restore("", &restored).ok());
    const auto push = [&] {
      const RowsUpdate update{0, keys, gradients.data()};
      const Status pushed = core->Push({&update, 1}, {}, {}, 1);
      CHECK(pushed.ok()) << pushed;
    };
    proto::SnapshotReply snapshot;
    for (std::uint64_t row = 0; row < FLAGS_rows; row += kKeys) {
      for (std::size_t i = 0; i < kKeys; ++i) keys[i] = MixedKey(row + i);
      push();
    }
    CHECK(core->Snapshot(FLAGS_folder + "/snapshot", &snapshot).ok());
    proto::PsStatsReply stats;
    Rng rng(1, 2);
    for (core->Stats(&stats); stats.log_bytes() < FLAGS_log_mib << 20; core->Stats(&stats)) {
      const std::uint64_t first = rng.NextBelow(FLAGS_rows - kKeys);
      for (std::size_t i = 0; i < kKeys; ++i) keys[i] = MixedKey(first + i);
      push();
    }
    std::cout << "rows " << stats.table(0).rows() << ", log " << (stats.log_bytes() >> 20)
              << " MiB\n";
  }
  const auto begin = std::chrono::steady_clock::now();
  const auto core = MakeCore();
  proto::RestoreReply reply;
  const Status recovered = core->Recover(&reply);
  CHECK(recovered.ok()) << recovered;
  std::vector<float> values(kKeys * kDim);
  const RowsRead read{0, keys, values.data()};
  CHECK(core->Pull({&read, 1}, AbsentRow::kInitialValue).ok());
  const double seconds = SecondsSince(begin);
  const double gigabytes = static_cast<double>(FLAGS_rows) * (2 * kDim * 4 + 16) / 1e9;
  std::cout << "RESULT first_pull=" << seconds << " s\n"
            << "RESULT first_pull_per_gb=" << seconds / gigabytes << " s\n";
  std::filesystem::remove_all(FLAGS_folder);
}

}  // namespace
}  // namespace cairn::ps

int main(int argc, char** argv) {
  gflags::ParseCommandLineFlags(&argc, &argv, true);
  cairn::ps::Run();
  return 0;
}
