// Ways to write back, in the store's own options.
#include <cstdio>
#include <filesystem>

#include <glog/logging.h>

#include "ps/store/rocks_store.h"
#include "tests/bench/ps/store_workload.h"

namespace cairn::ps {
namespace {

struct WriteBack {
  RocksStoreOptions options;
  std::size_t batch = 50'000;
  bool zipf = false;
};

}  // namespace

void CompareWrites(const std::string& folder, std::uint64_t rows) {
  RocksStoreOptions batches, files;
  batches.ingest_records = ~std::size_t{0};
  batches.ingest_bytes = ~std::uint64_t{0};
  files.ingest_records = 1;
  std::vector<WriteBack> ways;
  for (const CompactionStyle style : {CompactionStyle::kLevel, CompactionStyle::kUniversal}) {
    for (const std::size_t batch : {10'000, 100'000}) {
      for (const bool zipf : {false, true}) {
        for (RocksStoreOptions options : {batches, files}) {
          options.compaction = style;
          ways.push_back({options, batch, zipf});
        }
      }
    }
  }
  for (RocksStoreOptions options : {batches, files}) {
    options.background_jobs = 1;
    ways.push_back({options, 100'000, false});
  }
  const Values values;
  for (const WriteBack& way : ways) {
    std::filesystem::remove_all(folder + "/writes");
    auto store = OpenRocksStore(folder + "/writes/db", way.options);
    CHECK(store.ok()) << store.status();
    FillStore(**store, rows, values);
    WaitUntilIdle();
    const WriteFigures figures =
        MeasureWrites(**store, folder + "/writes", rows, way.batch, way.zipf, 6, values);
    std::printf(
        "%s %6zu %s %s %d: %5.2f M rows/s of the thread, %5.2f by the clock, %5.2f us CPU a row "
        "in all, written %4.1f times, longest call %5.0f ms, snapshot %4.0f ms, then present "
        "%5.3f M rows/s\n",
        way.zipf ? "zipf   " : "uniform", way.batch,
        way.options.ingest_records == 1 ? "files   " : "memtable",
        way.options.compaction == CompactionStyle::kLevel ? "levels   " : "universal",
        way.options.background_jobs, figures.thread_rate, figures.wall_rate, figures.process_us,
        figures.amplification, figures.longest_call_ms, figures.longest_snapshot_ms,
        StoreReadRate(**store, rows, true, 1));
    std::fflush(stdout);
  }
  std::filesystem::remove_all(folder + "/writes");
}

}  // namespace cairn::ps
