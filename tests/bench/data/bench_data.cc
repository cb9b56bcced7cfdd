// How fast rows are made, read and parsed, on one core, in CPU time of the thread (so that other
// work on the machine matters little). `--quick` takes fewer rows.
//
//   synth_rows          rows made and written as CSV by `cairn data synth`
//   window_plain, _gzip bytes of CSV made resident by Dataset::OpenWindow
//                       _vs_read: against read(2) of the file; _vs_zlib: against inflating alone
//   parse_file_order, parse_shuffled
//                       rows of 13 numbers and 26 categories turned into batches of 4096
//                       _vs_split: against cutting the resident rows into fields and no more
//   dedup_keys          keys of one field mapped to unique ones; _vs_std: against unordered_map
#include <fcntl.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/config/config.h"
#include "common/math/rng.h"
#include "proto/config.pb.h"
#include "proto/control.pb.h"
#include "worker/data/csv_splitter.h"
#include "worker/data/dataset.h"
#include "worker/data/synth.h"
#include "worker/features/key_dedup.h"

namespace cairn::worker {
namespace {

constexpr std::uint64_t kBatchRows = 4096;
constexpr std::size_t kColumns = 1 + kSynthNumbers + kSynthCategories;

// CPU seconds of the fastest of five runs.
double Seconds(const std::function<void()>& run) {
  const auto now = [] {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  double best = 1e30;
  for (int attempt = 0; attempt < 5; ++attempt) {
    const double start = now();
    run();
    best = std::min(best, now() - start);
  }
  return best;
}

void Print(const std::string& name, double value, const char* unit) {
  std::printf("RESULT %s=%.4g %s\n", name.c_str(), value, unit);
}

template <typename T>
T OrDie(Result<T> result) {
  if (!result.ok()) {
    std::fprintf(stderr, "%s\n", result.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(result);
}
void OrDie(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

proto::JobConfig JobOver(const std::string& file, bool shuffle) {
  return OrDie(LoadJobText(
      StrCat("data { train: '", file, "' window_rows: 10000000 shuffle: ", shuffle,
             "}\nfeature { name: 'I{1..13}' type: NUMERIC numeric { transform: LOG1P } }\n"
             "feature { name: 'C{1..26}' }\nmodel { dlf {} }\n"),
      "bench", {}));
}

class Bench {
 public:
  Bench(std::string folder, std::uint64_t rows) : folder_(std::move(folder)), rows_(rows) {}

  void Run() {
    MakeData();
    OpenWindows();
    Parse();
    Dedup();
  }

 private:
  void MakeData() {
    int round = 0;
    SynthConfig config;
    config.rows = rows_;
    config.valid_rows = 0;
    config.test_rows = 0;
    const double seconds = Seconds([&] {
      config.out = StrCat(folder_, "/plain", round++);
      OrDie(WriteSynth(config).status());
    });
    Print("synth_rows", static_cast<double>(rows_) / seconds, "1/s");
    config.gzip = true;
    config.out = folder_ + "/gzip";
    OrDie(WriteSynth(config).status());
    plain_ = folder_ + "/plain0/train.csv";
    gzip_ = folder_ + "/gzip/train.csv.gz";
    bytes_ = static_cast<double>(std::filesystem::file_size(plain_));
  }

  void OpenWindows() {
    const auto open = [](const std::string& file) {
      auto dataset = OrDie(Dataset::Make(JobOver(file, false), proto::TRAIN));
      OrDie(dataset->OpenWindow(0, 0).status());
    };
    const double plain = Seconds([&] { open(plain_); });
    const double gzip = Seconds([&] { open(gzip_); });
    std::vector<char> buffer(256 << 10);
    const double read_only = Seconds([&] {
      const int fd = ::open(plain_.c_str(), O_RDONLY);
      while (read(fd, buffer.data(), buffer.size()) > 0) continue;
      close(fd);
    });
    const double inflate_only = Seconds([&] {
      gzFile file = gzopen(gzip_.c_str(), "rb");
      gzbuffer(file, 256 << 10);
      while (gzread(file, buffer.data(), static_cast<unsigned>(buffer.size())) > 0) continue;
      gzclose(file);
    });
    Print("window_plain", bytes_ / plain * 1e-9, "GB/s");
    Print("window_plain_vs_read", read_only / plain, "ratio");
    Print("window_gzip", bytes_ / gzip * 1e-9, "GB/s");
    Print("window_gzip_vs_zlib", inflate_only / gzip, "ratio");
  }

  // Seconds for one pass over the data in batches.
  double ParseSeconds(bool shuffle) {
    auto dataset = OrDie(Dataset::Make(JobOver(plain_, shuffle), proto::TRAIN));
    const WindowInfo window = OrDie(dataset->OpenWindow(0, 0));
    Batch batch;
    return Seconds([&] {
      for (std::uint64_t begin = 0; begin < window.rows; begin += kBatchRows) {
        std::uint64_t bad = 0;
        OrDie(dataset->ReadBatch(begin, begin + kBatchRows, &batch, &bad));
      }
    });
  }

  double SplitSeconds() {
    std::stringstream text;
    text << std::ifstream(plain_).rdbuf();
    const std::string all = text.str();
    CsvSplitter splitter({});
    std::vector<std::string_view> fields(kColumns);
    std::size_t rows = 0;
    const double seconds = Seconds([&] {
      rows = 0;
      for (std::size_t at = 0; at < all.size();) {
        const std::size_t end = all.find('\n', at);
        rows += splitter.Split(std::string_view(all).substr(at, end - at), fields);
        at = end + 1;
      }
    });
    if (rows != rows_ + 1) std::exit(1);
    return seconds;
  }

  void Parse() {
    const double split = SplitSeconds();
    for (const bool shuffle : {false, true}) {
      const std::string name = shuffle ? "parse_shuffled" : "parse_file_order";
      const double seconds = ParseSeconds(shuffle);
      Print(name, static_cast<double>(rows_) / seconds, "rows/s");
      Print(name + "_vs_split", split / seconds, "ratio");
    }
  }

  void Dedup() {
    constexpr std::size_t kKeys = 8192;
    constexpr int kRounds = 200;
    Rng rng(1, 2);
    std::vector<std::uint64_t> keys(kKeys);
    std::vector<std::uint64_t> values(kKeys / 2);
    for (std::uint64_t& value : values) value = rng.NextU64();
    for (std::uint64_t& key : keys) key = values[rng.NextBelow(values.size())];
    std::vector<std::uint32_t> index(kKeys);
    std::vector<std::uint64_t> unique;
    KeyDedup dedup;
    const double ours = Seconds([&] {
      for (int round = 0; round < kRounds; ++round) {
        dedup.Begin(&unique);
        dedup.Map(keys, index.data());
      }
    });
    const std::size_t expected = unique.size();
    const double standard = Seconds([&] {
      std::unordered_map<std::uint64_t, std::uint32_t> place;
      for (int round = 0; round < kRounds; ++round) {
        place.clear();
        unique.clear();
        for (std::size_t i = 0; i < kKeys; ++i) {
          const auto [at, is_new] =
              place.try_emplace(keys[i], static_cast<std::uint32_t>(unique.size()));
          if (is_new) unique.push_back(keys[i]);
          index[i] = at->second;
        }
      }
    });
    if (unique.size() != expected) std::exit(1);
    Print("dedup_keys", kKeys * kRounds / ours * 1e-6, "M/s");
    Print("dedup_keys_vs_std", standard / ours, "ratio");
  }

  const std::string folder_;
  const std::uint64_t rows_;
  std::string plain_;
  std::string gzip_;
  double bytes_ = 0;
};

}  // namespace
}  // namespace cairn::worker

int main(int argc, char** argv) {
  const bool quick = argc > 1 && std::strcmp(argv[1], "--quick") == 0;
  std::string folder = (std::filesystem::temp_directory_path() / "cairn_bench_XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) return 1;
  cairn::worker::Bench(folder, quick ? 100000 : 500000).Run();
  std::filesystem::remove_all(folder);
  return 0;
}
