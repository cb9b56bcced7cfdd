#include "ps/store/rocks_options.h"

#include <cstdarg>
#include <cstdio>
#include <memory>
#include <string>

#include <glog/logging.h>
#include <rocksdb/file_checksum.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/table.h>

namespace cairn::ps {
namespace {

// RocksDB's errors, in our log. Its warnings tell of every snapshot that deletions are disabled.
class GlogLogger : public rocksdb::Logger {
 public:
  GlogLogger() : rocksdb::Logger(rocksdb::InfoLogLevel::ERROR_LEVEL) {}
  using rocksdb::Logger::Logv;
  void Logv(const rocksdb::InfoLogLevel level, const char* format, va_list arguments) override {
    if (level < GetInfoLogLevel() || level == rocksdb::InfoLogLevel::HEADER_LEVEL) return;
    char line[1024];
    std::vsnprintf(line, sizeof line, format, arguments);
    LOG(ERROR) << "rocksdb: " << line;
  }
  void Logv(const char*, va_list) override {}
};

}  // namespace

Status FromRocks(const rocksdb::Status& status, std::string_view folder, bool read_only) {
  if (status.ok()) return OkStatus();
  const std::string text = status.ToString();
  const std::string message = StrCat("database ", folder, ": ", text);
  if (status.IsNoSpace() || status.subcode() == rocksdb::Status::kSpaceLimit)
    return absl::ResourceExhaustedError(message);
  if (status.IsIOError() && text.find("lock ") != std::string::npos) {
    return absl::FailedPreconditionError(message);
  }
  // Read-only, a file that is missing or too short is damage as much as a wrong checksum.
  const bool unreadable = status.IsIOError() && read_only;
  if (status.IsCorruption() || unreadable || status.IsInvalidArgument() || status.IsNotFound()) {
    return absl::DataLossError(message);
  }
  return absl::UnavailableError(message);
}

rocksdb::Options MakeOptions(const RocksStoreOptions& wanted) {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;

  // Messages go to our log, never to a file: a folder that is opened read-only is not written to.
  options.info_log = std::make_shared<GlogLogger>();
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;

  // All files stay open, with index and filters in memory outside any cache: 2 bytes a key. In a
  // block cache that does not hold all of them they are read for each key, at a sixth of the speed.
  options.max_open_files = -1;
  rocksdb::BlockBasedTableOptions table;
  table.format_version = 5;
  table.checksum = rocksdb::kXXH3;
  // 2 KiB would read 7 % faster for 0.75 bytes a key more, 8 KiB 13 % slower for 0.38 less.
  table.block_size = 4096;
  // Training asks for many keys that have no row yet: they cost a tenth with a filter. Ribbon
  // filters would take 0.36 bytes a key less and a quarter more time.
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10, false));
  // What is read becomes resident in the layer above; the kernel has the files' pages.
  table.no_block_cache = true;
  options.compression = rocksdb::kNoCompression;  // float rows do not compress
  options.file_checksum_gen_factory = rocksdb::GetFileChecksumGenCrc32cFactory();
  // paranoid_file_checks, which reads each file again, would add a quarter to the CPU time of
  // write-back. Every read compares the block's checksum anyway.
  options.memtable_protection_bytes_per_key = 8;

  // Small sets. Batches are sorted: with a hint for each slot (two bytes of the key) the memtable
  // takes them 1.4 times as fast. There is one writer.
  options.write_buffer_size = wanted.memtable_bytes;
  options.memtable_insert_with_hint_prefix_extractor.reset(rocksdb::NewFixedPrefixTransform(2));
  options.allow_concurrent_memtable_write = false;

  options.max_background_jobs = wanted.background_jobs;
  options.target_file_size_base = wanted.file_bytes;
  if (wanted.compaction == CompactionStyle::kUniversal) {
    options.compaction_style = rocksdb::kCompactionStyleUniversal;
  } else {
    // Levels are sized from the last one up: else rows that were written again fill levels in
    // between, whose index and filters take memory, before the last one loses its old records.
    options.level_compaction_dynamic_level_bytes = true;
    // Sets of rows are small against the levels: with 4 files and 10 times, a row is written 10
    // times instead of 7.
    options.level0_file_num_compaction_trigger = 8;
    options.max_bytes_for_level_multiplier = 6;
  }
  // Writers are held up late: a store that is behind reads slower, one that stalls stops pushes.
  options.level0_slowdown_writes_trigger = 40;
  options.level0_stop_writes_trigger = 64;
  // In small steps, so that the syncs of a snapshot need not wait for what a compaction wrote.
  options.bytes_per_sync = 1u << 20;
  // Closing is as quick, and leaves as much, as the death of the process; it needs no disk space.
  options.avoid_flush_during_shutdown = true;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

}  // namespace cairn::ps
