// Layouts of the files and ways to read them, on RocksDB itself.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>

#include <glog/logging.h>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/sst_file_writer.h>
#include <rocksdb/table.h>

#include "common/math/rng.h"
#include "tests/bench/ps/store_workload.h"

namespace cairn::ps {
namespace {

constexpr std::uint64_t kFileBytes = 128u << 20;

enum class Filter { kNone, kBloom, kRibbon };
enum class Table { kBlocks, kPlain, kCuckoo };

struct Variant {
  std::string name;
  std::size_t block_bytes = 4096;
  bool data_hash = false;
  int restart = 16;  // rows between the keys of a block that are stored whole
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
  table.block_restart_interval = variant.restart;
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

void ShowReads(const std::string& name, const Database& database, int passes) {
  const Reader read = [&](const Keys& keys) {
    return database.variant().table == Table::kBlocks ? ReadChunks(database, keys)
                                                      : ReadSingly(database, keys);
  };
  read(MakeKeys(database.rows(), 0, 1));
  std::printf("%-44s present %6.3f  absent %6.3f M rows/s  in memory %5.2f B a key\n", name.c_str(),
              ReadRate(read, database.rows(), true, passes),
              ReadRate(read, database.rows(), false, passes), database.ReaderBytes());
  std::fflush(stdout);
}

}  // namespace

void CompareReads(const std::string& folder, std::uint64_t rows, std::string_view name_part) {
  const std::vector<Variant> variants = {
      {.name = "4 KiB blocks"},
      {.name = "1 KiB blocks", .block_bytes = 1024},
      {.name = "2 KiB blocks", .block_bytes = 2048},
      {.name = "8 KiB blocks", .block_bytes = 8192},
      {.name = "16 KiB blocks", .block_bytes = 16384},
      {.name = "4 KiB, hash in the block", .data_hash = true},
      {.name = "1 KiB, hash in the block", .block_bytes = 1024, .data_hash = true},
      {.name = "4 KiB, restart after 4 rows", .restart = 4},
      {.name = "4 KiB, restart after 1 row", .restart = 1},
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
    if (variant.name.find(name_part) == std::string::npos) continue;
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

}  // namespace cairn::ps
