// A table that is larger than its server's memory, over time: pulls and pushes of whole batches
// through PsCore, without transport and without a model.
//
//   bench_tier [--quick] [--rows=N] [--memory_mib=M] [--draw=zipf|uniform] [--seconds=S]
//   [--csv=FILE] [--folder=DIR]
//
// All rows (dim 16, Adagrad) are made first, the most popular ones first, so that they are the
// first to leave memory. Then each step draws 4096 x 39 ranks, by Zipf 1.05 or uniformly, pulls the
// different ones and pushes a gradient for each. With --memory_mib=0 all rows stay in memory: the
// reference. --memory_mib defaults to a tenth of what rows and index take then. --csv: one line a
// second: seconds, lookups/s of the steps, share of the keys that were in memory, memory of the
// process in MiB. Ends with RESULT lines over the second half of the time.
#include <time.h>
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
#include "common/math/hash.h"
#include "common/math/rng.h"
#include "google/protobuf/text_format.h"
#include "proto/config.pb.h"
#include "proto/ps_service.pb.h"
#include "ps/server/ps_core.h"

namespace cairn::ps {
namespace {

constexpr std::size_t kDim = 16;
constexpr std::size_t kLookups = 4096 * 39;
constexpr double kBytesPerRow = 144 + 16;

struct Options {
  std::uint64_t rows = 100'000'000;
  std::int64_t memory_mib = -1;
  bool zipf = true;
  double seconds = 600;
  std::string csv;
  std::string folder;
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

// Ranks 0 .. n-1 with probability proportional to (rank + 1)^-s: inversion of the integral that
// bounds the sum, with rejection (Hoermann, Derflinger 1996).
class Zipf {
 public:
  Zipf(double s, std::uint64_t n) : s_(s), n_(static_cast<double>(n)) {
    low_ = Integral(1.5) - 1;
    high_ = Integral(n_ + 0.5);
  }
  std::uint64_t Next(Rng& rng) const {
    for (;;) {
      const double u = high_ + rng.NextDouble() * (low_ - high_);
      const double x = std::pow(1 + u * (1 - s_), 1 / (1 - s_));
      const double k = std::clamp(std::floor(x + 0.5), 1.0, n_);
      if (u >= Integral(k + 0.5) - std::pow(k, -s_)) return static_cast<std::uint64_t>(k) - 1;
    }
  }

 private:
  double Integral(double x) const { return (std::pow(x, 1 - s_) - 1) / (1 - s_); }
  double s_, n_, low_ = 0, high_ = 0;
};

std::uint64_t KeyOf(std::uint64_t rank) { return Mix64(rank + 1); }

struct Totals {
  double seconds = 0;  // in Pull and Push
  std::uint64_t lookups = 0;
  std::uint64_t keys = 0;
  std::uint64_t fetched = 0;
};

class Bench {
 public:
  explicit Bench(const Options& options) : options_(options), gradients_(kLookups * kDim) {
    FillUniform(1, 1, -0.1f, 0.1f, gradients_);
    values_.resize(kLookups * kDim);
    proto::JobConfig job;
    CHECK(google::protobuf::TextFormat::ParseFromString(
        "table { name: 't' dim: 16 optimizer { adagrad {} } }", &job));
    job.mutable_server()->set_memory_mib(static_cast<std::uint64_t>(options_.memory_mib));
    auto core = PsCore::Make(job, {.folder = options_.folder});
    CHECK(core.ok()) << core.status();
    core_ = std::move(*core);
    proto::RestoreReply reply;
    CHECK(core_->Restore("", &reply).ok());
  }

  void Fill() {
    constexpr std::uint64_t kAtOnce = 100'000;
    const double start = Now();
    std::vector<std::uint64_t> keys;
    for (std::uint64_t rank = 0; rank < options_.rows; rank += kAtOnce) {
      keys.clear();
      for (std::uint64_t r = rank; r < std::min(rank + kAtOnce, options_.rows); ++r) {
        keys.push_back(KeyOf(r));
      }
      Push(keys);
    }
    const double rate = static_cast<double>(options_.rows) / (Now() - start);
    std::printf("RESULT fill=%.2f M rows/s\n", rate / 1e6);
    std::fflush(stdout);
  }

  void Run() {
    std::ofstream csv;
    if (!options_.csv.empty()) csv.open(options_.csv);
    const Zipf zipf(1.05, options_.rows);
    Rng rng(7, 7);
    Totals second, half;
    double peak_mib = 0;
    const double start = Now();
    double next_line = start + 1;
    std::uint64_t fetched = Fetched();
    while (Now() - start < options_.seconds) {
      Draw(zipf, rng);
      const double begin = Now();
      Pull();
      Push(keys_);
      second.seconds += Now() - begin;
      second.lookups += kLookups;
      second.keys += keys_.size();
      if (Now() < next_line) continue;
      const std::uint64_t fetched_now = Fetched();
      second.fetched = fetched_now - fetched;
      fetched = fetched_now;
      const double mib = AnonymousMib();
      peak_mib = std::max(peak_mib, mib);
      if (csv.is_open()) {
        csv << Now() - start << ',' << static_cast<double>(second.lookups) / second.seconds << ','
            << 1 - static_cast<double>(second.fetched) / static_cast<double>(second.keys) << ','
            << mib << '\n'
            << std::flush;
      }
      if (Now() - start > options_.seconds / 2) Add(second, &half);
      second = {};
      next_line = std::max(next_line + 1, Now());
    }
    const auto share = 1 - static_cast<double>(half.fetched) / static_cast<double>(half.keys);
    std::printf("RESULT lookups_per_s=%.0f 1/s\n",
                static_cast<double>(half.lookups) / half.seconds);
    std::printf("RESULT rows_per_s=%.0f rows/s\n", static_cast<double>(half.keys) / half.seconds);
    std::printf("RESULT ms_per_batch=%.1f ms\n",
                1e3 * half.seconds * kLookups / static_cast<double>(half.lookups));
    std::printf("RESULT keys_in_memory=%.4f share\n", share);
    std::printf("RESULT peak_memory=%.0f MiB\n", peak_mib);
    if (options_.memory_mib > 0) {
      std::printf("RESULT memory_vs_limit=%.3f ratio\n",
                  peak_mib / static_cast<double>(options_.memory_mib));
    }
    proto::PsStatsReply stats;
    core_->Stats(&stats);
    std::printf("RESULT store_memory=%.0f MiB\n",
                static_cast<double>(stats.store_bytes()) / (1 << 20));
    std::printf("RESULT waits_for_room=%llu requests\n",
                static_cast<unsigned long long>(stats.waits_for_room()));
  }

 private:
  static void Add(const Totals& from, Totals* to) {
    to->seconds += from.seconds;
    to->lookups += from.lookups;
    to->keys += from.keys;
    to->fetched += from.fetched;
  }

  void Draw(const Zipf& zipf, Rng& rng) {
    keys_.clear();
    for (std::size_t i = 0; i < kLookups; ++i) {
      keys_.push_back(KeyOf(options_.zipf ? zipf.Next(rng) : rng.NextBelow(options_.rows)));
    }
    std::ranges::sort(keys_);
    keys_.erase(std::unique(keys_.begin(), keys_.end()), keys_.end());
  }
  void Pull() {
    const RowsRead read{0, keys_, values_.data()};
    const Status pulled = core_->Pull({&read, 1}, AbsentRow::kInitialValue);
    CHECK(pulled.ok()) << pulled;
  }
  void Push(std::span<const std::uint64_t> keys) {
    const RowsUpdate update{0, keys, gradients_.data()};
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
  std::vector<float> values_, gradients_;
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
  {
    Bench bench(options);
    bench.Fill();
    bench.Run();
  }
  if (own_folder) std::filesystem::remove_all(options.folder);
  return 0;
}

}  // namespace
}  // namespace cairn::ps

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  return cairn::ps::Main(argc, argv);
}
