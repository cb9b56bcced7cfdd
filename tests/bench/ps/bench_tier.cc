// A table that is larger than its server's memory, over time: pulls and pushes of whole batches
// through PsCore, without transport and without a model.
//
//   bench_tier [--quick] [--rows=N] [--memory_mib=M] [--draw=zipf|uniform] [--seconds=S]
//   [--batches=N] [--every=S] [--csv=FILE] [--folder=DIR] [--checkpoint=DIR]
//
// The rows (dim 16, Adagrad) come from a checkpoint, which is written first; --checkpoint keeps it,
// and takes one that is there. Then each step draws 4096 x 39 ranks, by Zipf 1.05 or uniformly,
// pulls the different ones and pushes a gradient for each. With --memory_mib=0 all rows are in
// memory from the start: the reference. --memory_mib defaults to a tenth of what rows and index
// take then. --csv: one line every --every seconds: seconds, lookups/s of the steps, share of the
// keys that were in memory, RssAnon of the process in MiB; the same goes to the standard output,
// with what the server says of its own memory. Ends, with --batches after so many batches, with
// RESULT lines over the second half of the time or of the batches.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <glog/logging.h>

#include "common/base/status.h"
#include "common/math/rng.h"
#include "google/protobuf/text_format.h"
#include "proto/config.pb.h"
#include "proto/ps_service.pb.h"
#include "ps/server/ps_core.h"
#include "tests/bench/ps/process_cpu.h"
#include "tests/bench/ps/tier_table.h"
#include "tests/bench/ps/zipf.h"

namespace cairn::ps {
namespace {

using bench::KeyOfRank;
using bench::Zipf;

constexpr std::size_t kDim = 16;
constexpr std::size_t kLookups = 4096 * 39;
constexpr std::uint64_t kRecordBytes = 144;
constexpr double kBytesPerRow = kRecordBytes + 16;

struct Options {
  std::uint64_t rows = 100'000'000;
  std::int64_t memory_mib = -1;
  bool zipf = true;
  double seconds = 600;
  double every = 1;
  std::uint64_t batches = 0;
  std::string csv;
  std::string folder;
  std::string checkpoint;
};

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Anonymous memory: what RssAnon of the process says.
double AnonymousMib() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("RssAnon:")) return std::strtod(line.c_str() + 8, nullptr) / 1024;
  }
  return 0;
}

proto::JobConfig MakeJob(const Options& options) {
  proto::JobConfig job;
  CHECK(google::protobuf::TextFormat::ParseFromString(
      "table { name: 't' dim: 16 optimizer { adagrad {} } }", &job));
  job.mutable_server()->set_memory_mib(static_cast<std::uint64_t>(options.memory_mib));
  return job;
}

double WrittenBytes() {
  std::ifstream io("/proc/self/io");
  std::string name;
  double value = 0;
  while (io >> name >> value) {
    if (name == "wchar:") return value;
  }
  return 0;
}

struct Totals {
  double seconds = 0;      // in Pull and Push
  double cpu_seconds = 0;  // of the process, all threads
  std::uint64_t lookups = 0;
  std::uint64_t keys = 0;
  std::uint64_t fetched = 0;

  double LookupsPerSecond() const { return static_cast<double>(lookups) / seconds; }
  double ShareInMemory() const {
    return 1 - static_cast<double>(fetched) / static_cast<double>(keys);
  }
};

class Bench {
 public:
  explicit Bench(const Options& options) : options_(options) {
    keys_.reserve(kLookups);
    const proto::JobConfig job = MakeJob(options);
    const double start = Now();
    if (!std::filesystem::exists(options.checkpoint + "/MANIFEST.textproto")) {
      const Status made = bench::MakeTierCheckpoint(job, options.rows, options.checkpoint);
      CHECK(made.ok()) << made;
      std::printf("RESULT fill=%.2f M rows/s\n",
                  static_cast<double>(options.rows) / (Now() - start) / 1e6);
    }
    auto core = PsCore::Make(job, {.folder = options_.folder, .owns_process = true});
    CHECK(core.ok()) << core.status();
    core_ = std::move(*core);
    const double begin = Now();
    proto::RestoreReply reply;
    const Status restored = core_->Restore(options.checkpoint, &reply);
    CHECK(restored.ok()) << restored;
    CHECK_EQ(reply.rows(), options.rows) << options.checkpoint << " has other rows";
    std::printf("RESULT restore=%.1f s\n", Now() - begin);
    std::fflush(stdout);
  }

  void Run() {
    std::ofstream csv;
    if (!options_.csv.empty()) csv.open(options_.csv);
    const Zipf zipf(1.05, options_.rows);
    Rng rng(7, 7);
    Totals line, half;
    double peak_mib = 0;
    const double written = WrittenBytes();
    const double start = Now();
    double next_line = start + options_.every;
    std::uint64_t fetched = Fetched();
    auto progress = [&, batch = std::uint64_t{0}]() mutable {
      return options_.batches > 0
                 ? static_cast<double>(batch++) / static_cast<double>(options_.batches)
                 : (Now() - start) / options_.seconds;
    };
    for (double done = progress(); done < 1; done = progress()) {
      Draw(zipf, rng);
      const double begin = Now();
      const double begin_cpu = bench::SecondsOf(CLOCK_PROCESS_CPUTIME_ID);
      Pull();
      Push();
      line.seconds += Now() - begin;
      line.cpu_seconds += bench::SecondsOf(CLOCK_PROCESS_CPUTIME_ID) - begin_cpu;
      line.lookups += kLookups;
      line.keys += keys_.size();
      if (Now() < next_line) continue;
      const std::uint64_t fetched_now = Fetched();
      line.fetched = fetched_now - fetched;
      fetched = fetched_now;
      const double mib = AnonymousMib();
      peak_mib = std::max(peak_mib, mib);
      Print(Now() - start, line, mib, csv);
      if (done > 0.5) Add(line, &half);
      line = {};
      next_line = std::max(next_line + options_.every, Now());
    }
    const auto batches = static_cast<double>(half.lookups) / kLookups;
    std::printf("RESULT lookups_per_s=%.0f 1/s\n", half.LookupsPerSecond());
    std::printf("RESULT rows_per_s=%.0f rows/s\n", static_cast<double>(half.keys) / half.seconds);
    std::printf("RESULT ms_per_batch=%.1f ms\n", 1e3 * half.seconds / batches);
    std::printf("RESULT cpu_ms_per_batch=%.1f ms\n", 1e3 * half.cpu_seconds / batches);
    std::printf("RESULT keys_in_memory=%.4f share\n", half.ShareInMemory());
    std::printf("RESULT peak_memory=%.0f MiB\n", peak_mib);
    if (options_.memory_mib > 0) {
      std::printf("RESULT memory_vs_limit=%.3f ratio\n",
                  peak_mib / static_cast<double>(options_.memory_mib));
    }
    proto::PsStatsReply stats;
    core_->Stats(&stats);
    if (stats.table(0).spilled_rows() > 0) {
      std::printf("RESULT written_per_row=%.2f records\n",
                  (WrittenBytes() - written) / kRecordBytes /
                      static_cast<double>(stats.table(0).spilled_rows()));
    }
    std::printf("RESULT store_memory=%.0f MiB\n",
                static_cast<double>(stats.store_bytes()) / (1 << 20));
    std::printf("RESULT waits_for_room=%llu requests\n",
                static_cast<unsigned long long>(stats.waits_for_room()));
  }

 private:
  static void Add(const Totals& from, Totals* to) {
    to->seconds += from.seconds;
    to->cpu_seconds += from.cpu_seconds;
    to->lookups += from.lookups;
    to->keys += from.keys;
    to->fetched += from.fetched;
  }

  void Print(double at, const Totals& line, double mib, std::ofstream& csv) {
    csv << at << ',' << line.LookupsPerSecond() << ',' << line.ShareInMemory() << ',' << mib << '\n'
        << std::flush;
    proto::PsStatsReply stats;
    core_->Stats(&stats);
    const auto in_mib = [](std::uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
    const double rows = in_mib(stats.table(0).resident_rows() * kRecordBytes);
    const double index = in_mib(stats.table(0).bytes()) - rows;
    const double store = in_mib(stats.store_bytes());
    std::printf(
        "%6.1f s %8.0f lookups/s, %.1f ms CPU/batch, %.3f in memory, %.1f MiB: rows %.1f, index "
        "%.1f, store %.1f, rest %.1f\n",
        at, line.LookupsPerSecond(),
        1e3 * line.cpu_seconds * kLookups / static_cast<double>(line.lookups), line.ShareInMemory(),
        mib, rows, index, store, mib - rows - index - store);
    std::fflush(stdout);
  }

  void Draw(const Zipf& zipf, Rng& rng) {
    keys_.clear();
    for (std::size_t i = 0; i < kLookups; ++i) {
      keys_.push_back(KeyOfRank(options_.zipf ? zipf.Next(rng) : rng.NextBelow(options_.rows)));
    }
    std::ranges::sort(keys_);
    keys_.erase(std::unique(keys_.begin(), keys_.end()), keys_.end());
  }
  void Pull() {
    values_.resize(keys_.size() * kDim);
    const RowsRead read{0, keys_, values_.data()};
    const Status pulled = core_->Pull({&read, 1}, AbsentRow::kInitialValue);
    CHECK(pulled.ok()) << pulled;
  }
  // What was pulled serves as the gradients.
  void Push() {
    const RowsUpdate update{0, keys_, values_.data()};
    const Status pushed = core_->Push({&update, 1}, {}, {}, 1);
    CHECK(pushed.ok()) << pushed;
  }
  std::uint64_t Fetched() const {
    proto::PsStatsReply stats;
    core_->Stats(&stats);
    return stats.table(0).fetched_rows();
  }

  const Options options_;
  std::unique_ptr<PsCore> core_;
  std::vector<std::uint64_t> keys_;
  std::vector<float> values_;
};

int Main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    const std::string value = flag.substr(std::min(flag.find('=') + 1, flag.size()));
    if (flag == "--quick") {
      options.rows = 20'000'000;
      options.seconds = 15;
    } else if (flag.starts_with("--rows=")) {
      options.rows = std::strtoull(value.c_str(), nullptr, 10);
    } else if (flag.starts_with("--memory_mib=")) {
      options.memory_mib = std::strtoll(value.c_str(), nullptr, 10);
    } else if (flag == "--draw=zipf" || flag == "--draw=uniform") {
      options.zipf = value == "zipf";
    } else if (flag.starts_with("--seconds=")) {
      options.seconds = std::strtod(value.c_str(), nullptr);
    } else if (flag.starts_with("--batches=")) {
      options.batches = std::strtoull(value.c_str(), nullptr, 10);
    } else if (flag.starts_with("--every=")) {
      options.every = std::strtod(value.c_str(), nullptr);
    } else if (flag.starts_with("--checkpoint=")) {
      options.checkpoint = value;
    } else if (flag.starts_with("--csv=")) {
      options.csv = value;
    } else if (flag.starts_with("--folder=")) {
      options.folder = value;
    } else {
      std::fprintf(stderr, "bench_tier: unknown argument '%s'; the file's first lines tell\n",
                   argv[i]);
      return 2;
    }
  }
  if (options.memory_mib < 0) {
    options.memory_mib = static_cast<std::int64_t>(static_cast<double>(options.rows) *
                                                   kBytesPerRow / 10 / (1 << 20));
  }
  const bool own_folder = options.folder.empty();
  if (own_folder) {
    options.folder = std::filesystem::temp_directory_path() / "bench_tier_XXXXXX";
    PCHECK(mkdtemp(options.folder.data()) != nullptr);
  }
  if (options.checkpoint.empty()) options.checkpoint = options.folder + "/checkpoint";
  options.folder += "/ps";
  Bench(options).Run();
  if (own_folder) std::filesystem::remove_all(options.folder);
  return 0;
}

}  // namespace
}  // namespace cairn::ps

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  return cairn::ps::Main(argc, argv);
}
