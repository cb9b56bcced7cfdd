#include "tests/bench/ps/store_workload.h"

#include <time.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <thread>

#include <glog/logging.h>

#include "common/math/hash.h"
#include "common/math/rng.h"
#include "tests/bench/ps/zipf.h"

namespace cairn::ps {
namespace {

using bench::Zipf;

double CpuSeconds(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// kRequestKeys different ranks in ascending order.
std::vector<std::uint64_t> Request(std::uint64_t rows, Rng& rng) {
  std::vector<std::uint64_t> ranks;
  while (ranks.size() < kRequestKeys) {
    while (ranks.size() < kRequestKeys) ranks.push_back(rng.NextBelow(rows));
    std::sort(ranks.begin(), ranks.end());
    ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
  }
  return ranks;
}

// Different ranks in ascending order, uniform or by Zipf 1.05 with hot rows spread over all keys.
std::vector<std::uint64_t> Updates(std::uint64_t rows, std::size_t count, bool zipf, Rng& rng) {
  static const Zipf draw(1.05, rows);
  std::vector<std::uint64_t> ranks;
  while (ranks.size() < count) {
    for (std::size_t i = ranks.size(); i < count; ++i) {
      ranks.push_back(zipf ? Mixed(draw.Next(rng)) % rows : rng.NextBelow(rows));
    }
    std::sort(ranks.begin(), ranks.end());
    ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
  }
  return ranks;
}

// Bytes that this process wrote with system calls.
double WrittenBytes() {
  std::ifstream io("/proc/self/io");
  std::string name;
  double value = 0;
  while (io >> name >> value) {
    if (name == "wchar:") return value;
  }
  return 0;
}

Status PutRanks(RowStore& store, std::uint64_t rows, const std::vector<std::uint64_t>& ranks,
                const Values& values) {
  Key key;
  return store.PutSorted(Family::kRows, ranks.size(), ranks.size() * (kKeyBytes + kValueBytes),
                         [&](std::size_t i) {
                           key = NthKey(ranks[i], rows);
                           return StoreRecord{{key.data(), key.size()}, values.Of(ranks[i] + 1)};
                         });
}

}  // namespace

std::uint64_t Mixed(std::uint64_t x) { return Mix64(x + 0x9e3779b97f4a7c15ull); }

double ThreadCpu() { return CpuSeconds(CLOCK_THREAD_CPUTIME_ID); }
double ProcessCpu() { return CpuSeconds(CLOCK_PROCESS_CPUTIME_ID); }
double Wall() { return CpuSeconds(CLOCK_MONOTONIC); }

Key NthKey(std::uint64_t i, std::uint64_t n, std::uint64_t kind) {
  const std::uint64_t step = ~std::uint64_t{0} / n;
  const std::uint64_t place = i * step + Mixed(i * 4 + kind) % step;
  Key key{};
  key[0] = static_cast<char>(place >> 62);
  key[1] = static_cast<char>(place >> 54);
  const std::uint64_t rest = place << 10 | place >> 54;
  for (int b = 0; b < 8; ++b) {
    key[4 + static_cast<std::size_t>(b)] = static_cast<char>(rest >> (56 - 8 * b));
  }
  return key;
}

Values::Values() : block_(1u << 16, '\0') {
  Rng rng(7, 7);
  for (char& c : block_) c = static_cast<char>(rng.NextU32());
}

std::string_view Values::Of(std::uint64_t i) const {
  return std::string_view(block_).substr(Mixed(i) % (block_.size() - kValueBytes), kValueBytes);
}

Keys MakeKeys(std::uint64_t rows, std::uint64_t kind, std::uint64_t seed) {
  Keys keys;
  Rng rng(seed, kind);
  keys.ranks = Request(rows, rng);
  for (const std::uint64_t rank : keys.ranks) keys.bytes.push_back(NthKey(rank, rows, kind));
  return keys;
}

double ReadRate(const Reader& read, std::uint64_t rows, bool present, int passes) {
  std::vector<double> rates;
  std::uint64_t seed = 10;
  for (int pass = 0; pass < passes; ++pass) {
    double seconds = 0;
    std::size_t keys_read = 0;
    for (int i = 0; i < 10; ++i) {
      const Keys keys = MakeKeys(rows, present ? 0 : 1, ++seed);
      const double start = ThreadCpu();
      const std::size_t found = read(keys);
      seconds += ThreadCpu() - start;
      keys_read += keys.bytes.size();
      CHECK_EQ(found, present ? keys.bytes.size() : 0u);
    }
    rates.push_back(static_cast<double>(keys_read) / seconds * 1e-6);
  }
  return Median(rates);
}

double StoreReadRate(const RowStore& store, std::uint64_t rows, bool present, int passes) {
  return ReadRate(
      [&store](const Keys& keys) {
        std::vector<std::string_view> views;
        for (const Key& key : keys.bytes) views.emplace_back(key.data(), key.size());
        std::size_t found = 0;
        const Status status = store.GetMany(Family::kRows, views,
                                            [&found](std::size_t, std::string_view) { ++found; });
        CHECK(status.ok()) << status;
        return found;
      },
      rows, present, passes);
}

void FillStore(RowStore& store, std::uint64_t rows, const Values& values) {
  constexpr std::uint64_t kRound = 4'000'000;
  for (std::uint64_t first = 0; first < rows; first += kRound) {
    std::vector<std::uint64_t> ranks;
    for (std::uint64_t i = first; i < std::min(rows, first + kRound); ++i) ranks.push_back(i);
    const Status status = PutRanks(store, rows, ranks, values);
    CHECK(status.ok()) << status;
  }
}

void WaitUntilIdle() {
  for (int idle = 0; idle < 3;) {
    const double start = ProcessCpu();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    idle = ProcessCpu() - start < 0.01 ? idle + 1 : 0;
  }
}

WriteFigures MeasureWrites(RowStore& store, const std::string& snapshots, std::uint64_t rows,
                           std::size_t batch, bool zipf, int rounds, const Values& values) {
  Rng rng(5, zipf ? 1 : 2);
  WriteFigures out;
  double thread = 0, wall = 0, updates = 0;
  const double process_start = ProcessCpu(), written_start = WrittenBytes();
  double making = 0;  // CPU time for the bench's own work
  for (int round = 0; round < rounds; ++round) {
    for (std::uint64_t done = 0; done < rows / 20; done += batch) {
      const double making_start = ThreadCpu();
      const auto ranks = Updates(rows, batch, zipf, rng);
      making += ThreadCpu() - making_start;
      const double thread_start = ThreadCpu(), wall_start = Wall();
      const Status status = PutRanks(store, rows, ranks, values);
      CHECK(status.ok()) << status;
      thread += ThreadCpu() - thread_start;
      const double call = Wall() - wall_start;
      wall += call;
      out.longest_call_ms = std::max(out.longest_call_ms, call * 1e3);
      updates += static_cast<double>(batch);
    }
    const std::string folder = snapshots + "/" + std::to_string(round);
    const double start = Wall();
    const Status status = store.Snapshot(folder);
    CHECK(status.ok()) << status;
    out.longest_snapshot_ms = std::max(out.longest_snapshot_ms, (Wall() - start) * 1e3);
    std::filesystem::remove_all(folder);
  }
  WaitUntilIdle();
  out.thread_rate = updates / thread * 1e-6;
  out.wall_rate = updates / wall * 1e-6;
  out.process_us = (ProcessCpu() - process_start - making) / updates * 1e6;
  out.amplification =
      (WrittenBytes() - written_start) / (updates * static_cast<double>(kKeyBytes + kValueBytes));
  return out;
}

}  // namespace cairn::ps
