// The cold tier: reads and write-back of rows that lie in the database.
//
//   bench_store [--quick] [--rows=N] [--folder=F] [--reads[=NAME]] [--chunks] [--writes]
//
// Records of 156 bytes: a key of 12 bytes, 2 of them slot, as row_layout.h makes them, and 144
// random bytes. The files are in the page cache if they fit. Without further flags: the store as
// the server opens it. --reads compares layouts of the files (those with NAME in their name),
// --chunks sizes of MultiGet and numbers of files in level 0, --writes ways to write back. These
// take minutes, and 1 GB of disk for every 5 M rows, in F/cairn_bench_store (/tmp if F is not
// given), which is removed.
//
// Figures are rows for each second of CPU time of the calling thread, system time included:
// medians of passes. Write-back also costs CPU time in the background, which is shown for each row
// as well.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include <glog/logging.h>

#include "ps/store/rocks_store.h"
#include "tests/bench/ps/store_workload.h"

namespace cairn::ps {
namespace {

// The store with its own options.
void MeasureStore(const std::string& folder, std::uint64_t rows, int passes) {
  const Values values;
  std::filesystem::remove_all(folder + "/store");
  auto store = OpenRocksStore(folder + "/store/db", {});
  CHECK(store.ok()) << store.status();
  const double load_start = ThreadCpu();
  FillStore(**store, rows, values);
  const double load = ThreadCpu() - load_start;
  const double bytes_a_key =
      static_cast<double>((*store)->MemoryBytes()) / static_cast<double>(rows);
  const double present = StoreReadRate(**store, rows, true, passes);
  const double absent = StoreReadRate(**store, rows, false, passes);
  const WriteFigures uniform =
      MeasureWrites(**store, folder + "/store", rows, 50'000, false, 2, values);
  const WriteFigures zipf =
      MeasureWrites(**store, folder + "/store", rows, 50'000, true, 2, values);
  const double after = StoreReadRate(**store, rows, true, passes);
  std::printf("RESULT cold_present=%.3f M rows/s\n", present);
  std::printf("RESULT cold_absent=%.3f M rows/s\n", absent);
  std::printf("RESULT cold_present_after_updates=%.3f M rows/s\n", after);
  std::printf("RESULT cold_memory=%.2f bytes/key\n", bytes_a_key);
  std::printf("RESULT cold_load=%.3f M rows/s\n", static_cast<double>(rows) / load * 1e-6);
  std::printf("RESULT write_back_uniform=%.3f M rows/s\n", uniform.thread_rate);
  std::printf("RESULT write_back_zipf=%.3f M rows/s\n", zipf.thread_rate);
  std::printf("RESULT write_back_cpu=%.2f us/row\n", uniform.process_us);
  std::printf("RESULT write_amplification=%.2f x\n", uniform.amplification);
  std::printf("RESULT longest_write=%.0f ms\n",
              std::max(uniform.longest_call_ms, zipf.longest_call_ms));
  std::printf("RESULT longest_snapshot=%.0f ms\n",
              std::max(uniform.longest_snapshot_ms, zipf.longest_snapshot_ms));
  store->reset();
  std::filesystem::remove_all(folder + "/store");
}

int Main(int argc, char** argv) {
  std::uint64_t rows = 20'000'000;
  std::string folder = std::filesystem::temp_directory_path();
  std::string_view name_part;
  bool quick = false, reads = false, chunks = false, writes = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--quick") {
      quick = true;
      rows = 2'000'000;
    } else if (flag.starts_with("--rows=")) {
      rows = std::strtoull(argv[i] + 7, nullptr, 10);
    } else if (flag.starts_with("--folder=")) {
      folder = flag.substr(9);
    } else if (flag == "--reads" || flag.starts_with("--reads=")) {
      reads = true;
      name_part = flag == "--reads" ? "" : flag.substr(8);
    } else if (flag == "--chunks") {
      chunks = true;
    } else if (flag == "--writes") {
      writes = true;
    } else {
      std::fprintf(stderr, "unknown flag %s\n", argv[i]);
      return 2;
    }
  }
  if (rows < 1'000'000) {
    std::fprintf(stderr, "--rows must be at least 1000000\n");
    return 2;
  }
  folder += "/cairn_bench_store";
  std::filesystem::create_directories(folder);
  if (reads) CompareReads(folder, rows, name_part);
  if (chunks) CompareChunks(folder, rows);
  if (writes) CompareWrites(folder, rows);
  if (!reads && !chunks && !writes) MeasureStore(folder, rows, quick ? 3 : 5);
  std::filesystem::remove_all(folder);
  return 0;
}

}  // namespace
}  // namespace cairn::ps

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  FLAGS_logtostderr = true;
  return cairn::ps::Main(argc, argv);
}
