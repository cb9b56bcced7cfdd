// What the parts of bench_store share: keys, records, requests, clocks, and the store's own
// figures.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "ps/store/row_store.h"

namespace cairn::ps {

inline constexpr std::size_t kKeyBytes = 12;
inline constexpr std::size_t kValueBytes = 144;
inline constexpr std::size_t kRequestKeys = 20'000;
using Key = std::array<char, kKeyBytes>;

std::uint64_t Mixed(std::uint64_t x);

// CPU time of the calling thread, of all threads; a clock.
double ThreadCpu();
double ProcessCpu();
double Wall();

// The i-th of n keys in ascending order: one at a random place in each n-th part of the key space.
// Another `kind` gives other keys, which are absent.
Key NthKey(std::uint64_t i, std::uint64_t n, std::uint64_t kind = 0);

// Values that do not compress, cut from one random block.
class Values {
 public:
  Values();
  std::string_view Of(std::uint64_t i) const;

 private:
  std::string block_;
};

// The keys of one request, ascending, and their ranks.
struct Keys {
  std::vector<Key> bytes;
  std::vector<std::uint64_t> ranks;
};
Keys MakeKeys(std::uint64_t rows, std::uint64_t kind, std::uint64_t seed);

// Returns how many of the keys it found.
using Reader = std::function<std::size_t(const Keys&)>;

// M rows for each second of the thread's CPU time: the median of passes of ten requests.
double ReadRate(const Reader& read, std::uint64_t rows, bool present, int passes);
double StoreReadRate(const RowStore& store, std::uint64_t rows, bool present, int passes);

// Puts rows 0 .. rows - 1 into an empty store.
void FillStore(RowStore& store, std::uint64_t rows, const Values& values);

// Waits until the background has done what there was to do.
void WaitUntilIdle();

struct WriteFigures {
  double thread_rate = 0;    // M rows/s of the writer's CPU time
  double wall_rate = 0;      // M rows/s
  double process_us = 0;     // CPU time of all threads by row, until compactions are done
  double amplification = 0;  // bytes written / bytes of the records
  double longest_call_ms = 0;
  double longest_snapshot_ms = 0;
};

// `rounds` times 5 % of the rows in sorted batches, with a snapshot below `snapshots` after each;
// then waits until compactions are done.
WriteFigures MeasureWrites(RowStore& store, const std::string& snapshots, std::uint64_t rows,
                           std::size_t batch, bool zipf, int rounds, const Values& values);

// The comparisons; they print lines of text.
void CompareReads(const std::string& folder, std::uint64_t rows, std::string_view name_part);
void CompareChunks(const std::string& folder, std::uint64_t rows);
void CompareWrites(const std::string& folder, std::uint64_t rows);

}  // namespace cairn::ps
