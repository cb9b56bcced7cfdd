// The cold tier: reads and write-back of rows that lie in the database.
//
//   bench_store [--quick] [--rows=N] [--folder=F] [--reads] [--chunks] [--writes]
//
// Records of 156 bytes: a key of 12 bytes, 2 of them slot, as row_layout.h makes them, and 144
// random bytes. The files are in the page cache if they fit. Without further flags: the
// store as the server opens it. --reads compares layouts of the files, --chunks sizes of MultiGet
// and levels, --writes ways to write back; they take half an hour with 20 M rows, and 1 GB of disk
// for every 5 M rows.
//
// Figures are rows for each second of CPU time of the calling thread, system time included:
// medians of passes. Write-back also costs CPU time in the background, which is shown for each row
// as well.
#include <time.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <glog/logging.h>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/sst_file_writer.h>
#include <rocksdb/table.h>

#include "common/math/hash.h"
#include "common/math/rng.h"
#include "ps/store/rocks_store.h"
#include "tests/bench/ps/zipf.h"

namespace cairn::ps {
namespace {

constexpr std::size_t kKeyBytes = 12;
constexpr std::size_t kValueBytes = 144;
constexpr std::size_t kRequestKeys = 20'000;
constexpr std::uint64_t kFileBytes = 128u << 20;
using Key = std::array<char, kKeyBytes>;

std::uint64_t Mixed(std::uint64_t x) { return Mix64(x + 0x9e3779b97f4a7c15ull); }

double CpuSeconds(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}
double ThreadCpu() { return CpuSeconds(CLOCK_THREAD_CPUTIME_ID); }
double ProcessCpu() { return CpuSeconds(CLOCK_PROCESS_CPUTIME_ID); }
double Wall() { return CpuSeconds(CLOCK_MONOTONIC); }

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// The i-th of n keys in ascending order: one at a random place in each n-th part of the key space.
// Another `kind` gives other keys, which are absent.
Key NthKey(std::uint64_t i, std::uint64_t n, std::uint64_t kind = 0) {
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

// Values that do not compress, cut from one random block.
class Values {
 public:
  Values() : block_(1u << 16, '\0') {
    Rng rng(7, 7);
    for (char& c : block_) c = static_cast<char>(rng.NextU32());
  }
  std::string_view Of(std::uint64_t i) const {
    return std::string_view(block_).substr(Mixed(i) % (block_.size() - kValueBytes), kValueBytes);
  }

 private:
  std::string block_;
};

// ------------------------------------------------------------------------------------ variants

enum class Filter { kNone, kBloom, kRibbon };
enum class Table { kBlocks, kPlain, kCuckoo };

struct Variant {
  std::string name;
  std::size_t block_bytes = 4096;
  bool data_hash = false;
  Filter filter = Filter::kBloom;
  bool partitioned = false;
  int cache_mib = 0;  // 0: no block cache
  bool index_in_cache = false;
  bool mmap = false;
  std::size_t chunk = 256;
  int parts = 1;  // databases by key range
  Table table = Table::kBlocks;
  int format = 5;
};

rocksdb::Options OptionsOf(const Variant& variant) {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.compression = rocksdb::kNoCompression;
  options.max_open_files = -1;
  options.write_buffer_size = 32u << 20;
  options.target_file_size_base = kFileBytes;
  options.allow_mmap_reads = variant.mmap || variant.table != Table::kBlocks;
  options.disable_auto_compactions = true;
  if (variant.table != Table::kBlocks) options.write_buffer_size = std::size_t{4} << 30;
  if (variant.table == Table::kPlain) {
    rocksdb::PlainTableOptions plain;
    plain.user_key_len = kKeyBytes;
    plain.hash_table_ratio = 0.75;
    options.table_factory.reset(rocksdb::NewPlainTableFactory(plain));
    options.prefix_extractor.reset(rocksdb::NewFixedPrefixTransform(kKeyBytes));
    return options;
  }
  if (variant.table == Table::kCuckoo) {
    options.table_factory.reset(rocksdb::NewCuckooTableFactory(rocksdb::CuckooTableOptions()));
    return options;
  }
  rocksdb::BlockBasedTableOptions table;
  table.format_version = static_cast<std::uint32_t>(variant.format);
  table.checksum = rocksdb::kXXH3;
  table.block_size = variant.block_bytes;
  if (variant.data_hash) {
    table.data_block_index_type = rocksdb::BlockBasedTableOptions::kDataBlockBinaryAndHash;
  }
  if (variant.filter == Filter::kBloom) {
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10, false));
  } else if (variant.filter == Filter::kRibbon) {
    table.filter_policy.reset(rocksdb::NewRibbonFilterPolicy(10));
  }
  if (variant.partitioned) {
    table.index_type = rocksdb::BlockBasedTableOptions::kTwoLevelIndexSearch;
    table.partition_filters = true;
  }
  if (variant.cache_mib > 0) {
    table.block_cache = rocksdb::NewLRUCache(static_cast<std::size_t>(variant.cache_mib) << 20);
    table.cache_index_and_filter_blocks = variant.index_in_cache;
    table.pin_l0_filter_and_index_blocks_in_cache = variant.index_in_cache;
  } else {
    table.no_block_cache = true;
  }
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

void Must(const rocksdb::Status& status) { CHECK(status.ok()) << status.ToString(); }

// Databases that together hold keys 0 .. rows - 1, as files that do not overlap.
class Database {
 public:
  Database(const std::string& folder, const Variant& variant, std::uint64_t rows)
      : folder_(folder), variant_(variant), rows_(rows) {
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    for (int part = 0; part < variant.parts; ++part) {
      dbs_.push_back(Open(folder, part));
      Fill(part);
    }
  }
  ~Database() {
    dbs_.clear();
    std::filesystem::remove_all(folder_);
  }

  std::uint64_t FirstOf(int part) const {
    return rows_ * static_cast<std::uint64_t>(part) / static_cast<std::uint64_t>(variant_.parts);
  }
  rocksdb::DB& Part(int part) const { return *dbs_[static_cast<std::size_t>(part)]; }
  const Variant& variant() const { return variant_; }
  Variant& variant() { return variant_; }
  std::uint64_t rows() const { return rows_; }

  // Index and filters in memory, by each key.
  double ReaderBytes() const {
    std::uint64_t bytes = 0;
    for (const auto& db : dbs_) {
      std::uint64_t part = 0;
      db->GetAggregatedIntProperty(rocksdb::DB::Properties::kEstimateTableReadersMem, &part);
      bytes += part;
    }
    return static_cast<double>(bytes) / static_cast<double>(rows_);
  }

  // A random `share` of the rows again, as files that lie over the others.
  void AddOverlapping(double share, std::uint64_t seed) {
    Rng rng(seed, 3);
    std::vector<std::uint64_t> chosen;
    for (std::uint64_t i = 0; i < rows_; ++i) {
      if (rng.NextDouble() < share) chosen.push_back(i);
    }
    Ingest(0, chosen.size(), [&](std::uint64_t i) { return chosen[i]; });
  }
  void Compact() { Must(Part(0).CompactRange({}, nullptr, nullptr)); }

 private:
  std::unique_ptr<rocksdb::DB> Open(const std::string& folder, int part) const {
    rocksdb::DB* raw = nullptr;
    Must(rocksdb::DB::Open(OptionsOf(variant_), folder + "/" + std::to_string(part), &raw));
    return std::unique_ptr<rocksdb::DB>(raw);
  }
  void Fill(int part) {
    const std::uint64_t first = FirstOf(part);
    if (variant_.table != Table::kBlocks) return PutAll();
    Ingest(part, FirstOf(part + 1) - first, [first](std::uint64_t i) { return first + i; });
  }
  void PutAll() {
    rocksdb::WriteOptions write;
    write.disableWAL = true;
    for (std::uint64_t i = 0; i < rows_; ++i) {
      const Key key = NthKey(i, rows_);
      const std::string_view value = values_.Of(i);
      Must(Part(0).Put(write, {key.data(), key.size()}, {value.data(), value.size()}));
    }
    Must(Part(0).Flush(rocksdb::FlushOptions()));
  }
  void Ingest(int part, std::uint64_t count,
              const std::function<std::uint64_t(std::uint64_t)>& at) {
    const std::uint64_t per_file = kFileBytes / (kKeyBytes + kValueBytes);
    std::vector<std::string> files;
    rocksdb::IngestExternalFileOptions ingest;
    ingest.move_files = true;
    ingest.write_global_seqno = false;
    for (std::uint64_t i = 0; i < count;) {
      rocksdb::SstFileWriter writer(rocksdb::EnvOptions(), OptionsOf(variant_), nullptr, false);
      files.push_back(folder_ + "/" + std::to_string(files.size()) + ".ingest");
      Must(writer.Open(files.back()));
      for (const std::uint64_t end = std::min(count, i + per_file); i < end; ++i) {
        const Key key = NthKey(at(i), rows_);
        const std::string_view value = values_.Of(at(i));
        Must(writer.Put({key.data(), key.size()}, {value.data(), value.size()}));
      }
      Must(writer.Finish());
    }
    Must(Part(part).IngestExternalFile(files, ingest));
  }

  const std::string folder_;
  Variant variant_;
  const std::uint64_t rows_;
  const Values values_;
  std::vector<std::unique_ptr<rocksdb::DB>> dbs_;
};

// --------------------------------------------------------------------------------------- reads

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

// Keys of one request, and where those of each part end.
struct Keys {
  std::vector<Key> bytes;
  std::vector<std::uint64_t> ranks;
};
Keys MakeKeys(std::uint64_t rows, std::uint64_t kind, Rng& rng) {
  Keys keys;
  keys.ranks = Request(rows, rng);
  for (const std::uint64_t rank : keys.ranks) keys.bytes.push_back(NthKey(rank, rows, kind));
  return keys;
}

std::size_t ReadChunks(const Database& database, const Keys& keys) {
  const std::size_t chunk = database.variant().chunk;
  std::vector<rocksdb::Slice> slices(chunk);
  std::vector<rocksdb::PinnableSlice> values(chunk);
  std::vector<rocksdb::Status> statuses(chunk);
  std::size_t found = 0, begin = 0;
  for (int part = 0; part < database.variant().parts; ++part) {
    rocksdb::DB& db = database.Part(part);
    const std::uint64_t end_rank = database.FirstOf(part + 1);
    while (begin < keys.ranks.size() && keys.ranks[begin] < end_rank) {
      std::size_t n = 0;
      while (n < chunk && begin + n < keys.ranks.size() && keys.ranks[begin + n] < end_rank) {
        const Key& key = keys.bytes[begin + n];
        slices[n++] = {key.data(), key.size()};
      }
      db.MultiGet(rocksdb::ReadOptions(), db.DefaultColumnFamily(), n, slices.data(), values.data(),
                  statuses.data(), true);
      for (std::size_t i = 0; i < n; ++i) {
        found += statuses[i].ok() ? 1 : 0;
        CHECK(statuses[i].ok() || statuses[i].IsNotFound()) << statuses[i].ToString();
        values[i].Reset();
      }
      begin += n;
    }
  }
  return found;
}

// Tables that serve no MultiGet.
std::size_t ReadSingly(const Database& database, const Keys& keys) {
  std::size_t found = 0;
  rocksdb::PinnableSlice value;
  rocksdb::DB& db = database.Part(0);
  for (const Key& key : keys.bytes) {
    const auto status =
        db.Get(rocksdb::ReadOptions(), db.DefaultColumnFamily(), {key.data(), key.size()}, &value);
    CHECK(status.ok() || status.IsNotFound()) << status.ToString();
    found += status.ok() ? 1 : 0;
    value.Reset();
  }
  return found;
}

using Reader = std::function<std::size_t(const Keys&)>;

// M rows for each second of the thread's CPU time: the median of passes of ten requests.
double ReadRate(const Reader& read, std::uint64_t rows, bool present, int passes) {
  std::vector<double> rates;
  Rng rng(11, present ? 1 : 2);
  for (int pass = 0; pass < passes; ++pass) {
    double seconds = 0;
    std::size_t keys_read = 0;
    for (int i = 0; i < 10; ++i) {
      const Keys keys = MakeKeys(rows, present ? 0 : 1, rng);
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

void ShowReads(const std::string& name, const Database& database, int passes) {
  const Reader read = [&](const Keys& keys) {
    return database.variant().table == Table::kBlocks ? ReadChunks(database, keys)
                                                      : ReadSingly(database, keys);
  };
  read([&] {
    Rng rng(1, 1);
    return MakeKeys(database.rows(), 0, rng);
  }());
  std::printf("%-44s present %6.3f  absent %6.3f M rows/s  in memory %5.2f B a key\n", name.c_str(),
              ReadRate(read, database.rows(), true, passes),
              ReadRate(read, database.rows(), false, passes), database.ReaderBytes());
  std::fflush(stdout);
}

void CompareReads(const std::string& folder, std::uint64_t rows) {
  const std::vector<Variant> variants = {
      {.name = "4 KiB blocks"},
      {.name = "1 KiB blocks", .block_bytes = 1024},
      {.name = "2 KiB blocks", .block_bytes = 2048},
      {.name = "8 KiB blocks", .block_bytes = 8192},
      {.name = "16 KiB blocks", .block_bytes = 16384},
      {.name = "4 KiB, hash in the block", .data_hash = true},
      {.name = "1 KiB, hash in the block", .block_bytes = 1024, .data_hash = true},
      {.name = "4 KiB, no filter", .filter = Filter::kNone},
      {.name = "4 KiB, ribbon filter", .filter = Filter::kRibbon},
      {.name = "4 KiB, block cache 64 MiB", .cache_mib = 64},
      {.name = "4 KiB, block cache 1 GiB", .cache_mib = 1024},
      {.name = "4 KiB, block cache 6 GiB", .cache_mib = 6144},
      {.name = "1 KiB, index and filters in 64 MiB cache",
       .block_bytes = 1024,
       .cache_mib = 64,
       .index_in_cache = true},
      {.name = "1 KiB, partitioned, in 64 MiB cache",
       .block_bytes = 1024,
       .partitioned = true,
       .cache_mib = 64,
       .index_in_cache = true},
      {.name = "1 KiB, partitioned, in 1 GiB cache",
       .block_bytes = 1024,
       .partitioned = true,
       .cache_mib = 1024,
       .index_in_cache = true},
      {.name = "4 KiB, mapped", .mmap = true},
      {.name = "1 KiB, mapped", .block_bytes = 1024, .mmap = true},
      {.name = "1 KiB, 2 databases", .block_bytes = 1024, .parts = 2},
      {.name = "1 KiB, 4 databases", .block_bytes = 1024, .parts = 4},
      {.name = "plain table, mapped", .table = Table::kPlain},
      {.name = "cuckoo table, mapped", .table = Table::kCuckoo},
  };
  for (const Variant& variant : variants) {
    // Files of these formats may have no more than 2 GiB, and are made from one memtable.
    const std::uint64_t held = variant.table == Table::kBlocks ? rows : rows / 4;
    const Database database(folder + "/reads", variant, held);
    ShowReads(variant.name, database, 5);
  }
}

void CompareChunks(const std::string& folder, std::uint64_t rows) {
  for (const std::size_t block_bytes : {std::size_t{2048}, std::size_t{4096}}) {
    Database database(folder + "/reads", {.name = "", .block_bytes = block_bytes}, rows);
    const std::string blocks = std::to_string(block_bytes) + " B blocks, ";
    for (const std::size_t chunk : {16, 32, 64, 128, 256, 512, 1024}) {
      database.variant().chunk = chunk;
      ShowReads(blocks + "chunks of " + std::to_string(chunk), database, 5);
    }
    database.variant().chunk = 256;
    for (std::uint64_t i = 1; i <= 4; ++i) {
      database.AddOverlapping(0.05, i);
      ShowReads(blocks + std::to_string(i) + " files of 5 % in level 0", database, 3);
    }
    database.Compact();
    ShowReads(blocks + "compacted", database, 3);
  }
}

// ---------------------------------------------------------------------------------- write-back

// Different ranks in ascending order, uniform or by Zipf 1.05 with hot rows spread over all keys.
std::vector<std::uint64_t> Updates(std::uint64_t rows, std::size_t count, bool zipf, Rng& rng) {
  static const bench::Zipf draw(1.05, rows);
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

struct WriteBack {
  std::string name;
  RocksStoreOptions options;
  std::size_t batch = 50'000;
  bool zipf = false;
};

Status PutRanks(RowStore& store, std::uint64_t rows, const std::vector<std::uint64_t>& ranks,
                const Values& values) {
  Key key;
  return store.PutSorted(Family::kRows, ranks.size(), ranks.size() * (kKeyBytes + kValueBytes),
                         [&](std::size_t i) {
                           key = NthKey(ranks[i], rows);
                           return StoreRecord{{key.data(), key.size()}, values.Of(ranks[i] + 1)};
                         });
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

struct WriteFigures {
  double thread_rate = 0;    // M rows/s of the writer's CPU time
  double wall_rate = 0;      // M rows/s
  double process_us = 0;     // CPU time of all threads by row, until compactions are done
  double amplification = 0;  // bytes written / bytes of the records
  double longest_call_ms = 0;
  double longest_snapshot_ms = 0;
};

// `rounds` times 5 % of the rows in sorted batches, with a snapshot after each.
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
  out.thread_rate = updates / thread * 1e-6;
  out.wall_rate = updates / wall * 1e-6;
  out.process_us = (ProcessCpu() - process_start - making) / updates * 1e6;
  out.amplification =
      (WrittenBytes() - written_start) / (updates * static_cast<double>(kKeyBytes + kValueBytes));
  return out;
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

void CompareWrites(const std::string& folder, std::uint64_t rows) {
  RocksStoreOptions batches, files;
  batches.ingest_records = ~std::size_t{0};
  batches.ingest_bytes = ~std::uint64_t{0};
  files.ingest_records = 1;
  std::vector<WriteBack> ways;
  for (const bool zipf : {false, true}) {
    for (const std::size_t batch : {std::size_t{10'000}, std::size_t{100'000}}) {
      const std::string kind =
          StrCat(zipf ? "zipf" : "uniform", ", batches of ", batch, zipf ? "   " : "");
      ways.push_back({kind + ", memtable", batches, batch, zipf});
      ways.push_back({kind + ", files", files, batch, zipf});
    }
  }
  const Values values;
  for (const int jobs : {2, 1}) {
    for (const CompactionStyle style : {CompactionStyle::kLevel, CompactionStyle::kUniversal}) {
      for (WriteBack way : ways) {
        if (jobs == 1 && (way.batch == 10'000 || way.zipf)) continue;
        way.options.background_jobs = jobs;
        way.options.compaction = style;
        std::filesystem::remove_all(folder + "/writes");
        auto store = OpenRocksStore(folder + "/writes/db", way.options);
        CHECK(store.ok()) << store.status();
        FillStore(**store, rows, values);
        const WriteFigures figures =
            MeasureWrites(**store, folder + "/writes", rows, way.batch, way.zipf, 4, values);
        std::printf(
            "%-40s %s, %d jobs: %5.2f M rows/s of the thread, %5.2f by the clock, %5.2f us CPU a "
            "row in all, written %4.1f times, longest call %5.0f ms, snapshot %4.0f ms, then "
            "present %5.3f M rows/s\n",
            way.name.c_str(), style == CompactionStyle::kLevel ? "levels   " : "universal", jobs,
            figures.thread_rate, figures.wall_rate, figures.process_us, figures.amplification,
            figures.longest_call_ms, figures.longest_snapshot_ms,
            StoreReadRate(**store, rows, true, 1));
        std::fflush(stdout);
      }
    }
  }
  std::filesystem::remove_all(folder + "/writes");
}

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
  std::string folder = std::filesystem::temp_directory_path() / "cairn_bench_store";
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
    } else if (flag == "--reads") {
      reads = true;
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
  std::filesystem::create_directories(folder);
  if (reads) CompareReads(folder, rows);
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
