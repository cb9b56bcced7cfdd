// Pull and push of resident rows through PsCore, without transport, against what the machine's
// memory allows: a bare loop with prefetch over an array of records at known places, without keys,
// index, checks or locks, doing the same arithmetic.
//
//   bench_ps [--quick] [--rows=N]
//
// Rows of dim 16 with Adagrad; requests of 20 000 different keys, drawn uniformly or by Zipf 1.05.
// Figures are rows for each second of CPU time of the calling thread: medians of interleaved
// passes. A ratio is the table's rate over the loop's; <name>_vs_limit is the smaller one of both
// draws.
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <unordered_set>
#include <vector>

#include <glog/logging.h>

#include "common/io/checksum.h"
#include "common/io/file.h"
#include "common/math/rng.h"
#include "google/protobuf/text_format.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"
#include "proto/ps_service.pb.h"
#include "ps/optim/isa.h"
#include "ps/server/ps_core.h"
#include "ps/table/pages.h"
#include "tests/bench/ps/zipf.h"

namespace cairn::ps {
namespace {

constexpr std::size_t kDim = 16;
constexpr std::size_t kRequestKeys = 20'000;
constexpr std::size_t kLimitPrefetch = 32;

double CpuSeconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

double CpuSecondsOf(const std::function<void()>& run) {
  const double start = CpuSeconds();
  run();
  return CpuSeconds() - start;
}

// One request: the keys for the table, and the same rows' places in the bare array.
struct Request {
  std::vector<std::uint64_t> keys;
  std::vector<std::uint32_t> places;
};

struct Population {
  std::vector<std::uint64_t> key_of_rank;
  std::vector<std::uint32_t> place_of_rank;  // in order of insertion
};

Population MakePopulation(std::size_t rows) {
  Population population;
  Rng rng(1, 1);
  for (std::uint32_t i = 0; i < rows; ++i) {
    population.key_of_rank.push_back(rng.NextU64());
    population.place_of_rank.push_back(i);
  }
  for (std::size_t i = rows - 1; i > 0; --i) {
    std::swap(population.place_of_rank[i], population.place_of_rank[rng.NextBelow(i + 1)]);
  }
  return population;
}

std::vector<Request> MakeRequests(const Population& population, std::size_t count,
                                  const std::function<std::uint64_t(Rng&)>& draw) {
  std::vector<Request> requests(count);
  Rng rng(2, 2);
  for (Request& request : requests) {
    std::unordered_set<std::uint64_t> seen;
    while (request.keys.size() < kRequestKeys) {
      const std::uint64_t rank = draw(rng);
      if (!seen.insert(rank).second) continue;
      request.keys.push_back(population.key_of_rank[rank]);
      request.places.push_back(population.place_of_rank[rank]);
    }
  }
  return requests;
}

// The bare loops.
CAIRN_KERNEL_BODY void GatherBody(const float* table, std::size_t stride,
                                  const std::uint32_t* places, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; ++i) {
    if (i + kLimitPrefetch < n) __builtin_prefetch(table + places[i + kLimitPrefetch] * stride);
    std::memcpy(out + i * kDim, table + places[i] * stride, kDim * sizeof(float));
  }
}
CAIRN_DEFINE_KERNEL(Gather, GatherBody,
                    (const float* table, std::size_t stride, const std::uint32_t* places,
                     std::size_t n, float* out),
                    (table, stride, places, n, out))

CAIRN_KERNEL_BODY void ScatterBody(float* table, std::size_t stride, const std::uint32_t* places,
                                   std::size_t n, const float* gradients) {
  for (std::size_t i = 0; i < n; ++i) {
    if (i + kLimitPrefetch < n) {
      const float* const ahead = table + places[i + kLimitPrefetch] * stride;
      __builtin_prefetch(ahead, 1);
      __builtin_prefetch(ahead + kDim, 1);
    }
    float* __restrict const value = table + places[i] * stride;
    float* __restrict const sum = value + kDim;
    const float* __restrict const grad = gradients + i * kDim;
    for (std::size_t j = 0; j < kDim; ++j) {
      const float s = sum[j] + grad[j] * grad[j];
      sum[j] = s;
      value[j] -= 0.05f * grad[j] / (std::sqrt(s) + 1e-7f);
    }
  }
}
CAIRN_DEFINE_KERNEL(Scatter, ScatterBody,
                    (float* table, std::size_t stride, const std::uint32_t* places, std::size_t n,
                     const float* gradients),
                    (table, stride, places, n, gradients))

std::unique_ptr<PsCore> MakeCore(const std::string& folder) {
  proto::JobConfig job;
  CHECK(google::protobuf::TextFormat::ParseFromString(
      "table { name: 't' dim: 16 optimizer { adagrad {} } }", &job));
  auto core = PsCore::Make(job, {.folder = folder});
  CHECK(core.ok()) << core.status();
  proto::RestoreReply reply;
  CHECK((*core)->Restore("", &reply).ok());
  return std::move(*core);
}

class Bench {
 public:
  Bench(std::size_t rows, int passes, const std::string& folder)
      : passes_(passes),
        core_(MakeCore(folder)),
        population_(MakePopulation(rows)),
        array_(rows * kArrayStride * sizeof(float), Pages::Huge::kAdvise),
        values_(kRequestKeys * kDim),
        gradients_(kRequestKeys * kDim) {
    FillUniform(1, 1, -0.1f, 0.1f, gradients_);
    Fill();
  }

  // Pull and push, table against bare loop; returns the two ratios.
  std::pair<double, double> Run(const char* name, const std::function<std::uint64_t(Rng&)>& draw) {
    // Enough of them that a pass touches more than any cache holds.
    const auto requests = MakeRequests(population_, 100, draw);
    const auto gather = CAIRN_PICK_KERNEL(BestIsa(), Gather);
    const auto scatter = CAIRN_PICK_KERNEL(BestIsa(), Scatter);
    auto* const array = reinterpret_cast<float*>(array_.data());
    std::vector<double> pull, pull_limit, push, push_limit;
    for (int pass = 0; pass < passes_; ++pass) {
      pull_limit.push_back(Rate(requests, [&](const Request& r) {
        gather(array, kArrayStride, r.places.data(), kRequestKeys, values_.data());
      }));
      pull.push_back(Rate(requests, [&](const Request& r) {
        const RowsRead read{0, r.keys, values_.data()};
        CHECK(core_->Pull({&read, 1}, AbsentRow::kInitialValue).ok());
      }));
      push_limit.push_back(Rate(requests, [&](const Request& r) {
        scatter(array, kArrayStride, r.places.data(), kRequestKeys, gradients_.data());
      }));
      push.push_back(Rate(requests, [&](const Request& r) { Push(r.keys, gradients_.data()); }));
    }
    Report(StrCat("pull_", name), pull, pull_limit);
    Report(StrCat("push_", name), push, push_limit);
    return {Median(pull) / Median(pull_limit), Median(push) / Median(push_limit)};
  }

  // First pulls of keys without rows: initial values are made on the way.
  void RunAbsent() {
    std::vector<double> rates;
    Rng rng(9, 9);
    for (int pass = 0; pass < passes_; ++pass) {
      std::vector<Request> requests(8);
      for (Request& r : requests) {
        r.keys.resize(kRequestKeys);
        for (auto& key : r.keys) key = rng.NextU64();
      }
      rates.push_back(Rate(requests, [&](const Request& r) {
        const RowsRead read{0, r.keys, values_.data()};
        CHECK(core_->Pull({&read, 1}, AbsentRow::kInitialValue).ok());
      }));
    }
    std::printf("RESULT pull_absent=%.1f M rows/s\n", Median(rates) / 1e6);
  }

  // A snapshot of all rows, one after a request's worth of pushes, and the way back.
  void RunSnapshots(const std::string& folder) {
    const double rows = static_cast<double>(population_.key_of_rank.size());
    const std::string checkpoint = folder + "/checkpoint";
    CHECK(MakeFolders(checkpoint).ok());
    proto::CheckpointManifest manifest;
    const double full = CpuSecondsOf([&] { Snapshot(checkpoint, "ps-0000", &manifest); });
    std::printf("RESULT snapshot_full=%.2f M rows/s\n", rows / full / 1e6);
    Push({population_.key_of_rank.data(), kRequestKeys}, gradients_.data());
    proto::CheckpointManifest second;
    const double small = CpuSecondsOf([&] { Snapshot(folder, "second", &second); });
    std::printf("RESULT snapshot_after_20k_rows=%.0f ms of CPU\n", small * 1e3);
    std::string text;
    CHECK(google::protobuf::TextFormat::PrintToString(manifest, &text));
    CHECK(WriteFileAtomically(checkpoint + "/MANIFEST.textproto", SealText(text)).ok());
    proto::RestoreReply reply;
    const double back = CpuSecondsOf([&] {
      const Status restored = core_->Restore(checkpoint, &reply);
      CHECK(restored.ok()) << restored;
    });
    CHECK_EQ(reply.rows(), population_.key_of_rank.size());
    std::printf("RESULT restore=%.2f M rows/s\n", rows / back / 1e6);
  }

 private:
  static constexpr std::size_t kArrayStride = 2 * kDim;  // floats: value and Adagrad's sums

  void Push(std::span<const std::uint64_t> keys, const float* gradients) {
    const RowsUpdate update{0, keys, gradients};
    CHECK(core_->Push({&update, 1}, {}, {}, 1).ok());
  }

  void Snapshot(const std::string& parent, const std::string& name,
                proto::CheckpointManifest* manifest) {
    proto::SnapshotReply reply;
    const Status written = core_->Snapshot(parent + "/" + name, &reply);
    CHECK(written.ok()) << written;
    *manifest->add_shard() = reply.shard();
    manifest->mutable_shard(0)->set_folder(name);
    for (proto::FileEntry file : reply.file()) {
      file.set_path(name + "/" + file.path());
      *manifest->add_file() = file;
    }
    proto::TableEntry* const table = manifest->add_table();
    table->set_name("t");
    table->set_dim(kDim);
    table->set_optimizer("adagrad");
    table->set_state_floats(kDim);
  }

  // All rows once, in the order of their places.
  void Fill() {
    std::vector<std::uint64_t> keys(population_.key_of_rank.size());
    for (std::size_t rank = 0; rank < keys.size(); ++rank) {
      keys[population_.place_of_rank[rank]] = population_.key_of_rank[rank];
    }
    const double start = CpuSeconds();
    for (std::size_t i = 0; i < keys.size(); i += kRequestKeys) {
      const std::size_t n = std::min(kRequestKeys, keys.size() - i);
      Push({keys.data() + i, n}, gradients_.data());
    }
    std::printf("RESULT push_new=%.1f M rows/s\n",
                static_cast<double>(keys.size()) / (CpuSeconds() - start) / 1e6);
    for (std::size_t i = 0; i < array_.bytes() / sizeof(float); ++i) {
      reinterpret_cast<float*>(array_.data())[i] = 0.5f;
    }
    proto::PsStatsReply stats;
    core_->Stats(&stats);
    std::printf("RESULT bytes_per_row=%.1f B\n", static_cast<double>(stats.table(0).bytes()) /
                                                     static_cast<double>(stats.table(0).rows()));
  }

  static double Rate(const std::vector<Request>& requests,
                     const std::function<void(const Request&)>& run) {
    const double start = CpuSeconds();
    for (const Request& request : requests) run(request);
    return static_cast<double>(requests.size() * kRequestKeys) / (CpuSeconds() - start);
  }
  static double Median(std::vector<double> values) {
    std::ranges::sort(values);
    return values[values.size() / 2];
  }
  static void Report(const std::string& name, const std::vector<double>& ours,
                     const std::vector<double>& limit) {
    std::printf("RESULT %s=%.1f M rows/s\n", name.c_str(), Median(ours) / 1e6);
    std::printf("RESULT %s_limit=%.1f M rows/s\n", name.c_str(), Median(limit) / 1e6);
    std::printf("RESULT %s_vs_limit=%.3f\n", name.c_str(), Median(ours) / Median(limit));
  }

  const int passes_;
  const std::unique_ptr<PsCore> core_;
  const Population population_;
  const Pages array_;
  std::vector<float> values_, gradients_;
};

int Main(int argc, char** argv) {
  std::size_t rows = 10'000'000;
  int passes = 9;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--quick") {
      rows = 4'000'000;
      passes = 5;
    } else if (flag.starts_with("--rows=")) {
      rows = std::strtoull(flag.c_str() + 7, nullptr, 10);
    } else {
      std::fprintf(stderr, "usage: bench_ps [--quick] [--rows=N]\n");
      return 2;
    }
  }
  std::string folder = std::filesystem::temp_directory_path() / "bench_ps_XXXXXX";
  PCHECK(mkdtemp(folder.data()) != nullptr);
  {
    Bench bench(rows, passes, folder);
    const auto uniform = bench.Run("uniform", [&](Rng& rng) { return rng.NextBelow(rows); });
    const bench::Zipf zipf(1.05, rows);
    const auto skewed = bench.Run("zipf", [&](Rng& rng) { return zipf.Next(rng); });
    bench.RunAbsent();
    bench.RunSnapshots(folder);
    std::printf("RESULT pull_vs_limit=%.3f\n", std::min(uniform.first, skewed.first));
    std::printf("RESULT push_vs_limit=%.3f\n", std::min(uniform.second, skewed.second));
  }
  std::filesystem::remove_all(folder);
  return 0;
}

}  // namespace
}  // namespace cairn::ps

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  return cairn::ps::Main(argc, argv);
}
