#include "ps/store/rocks_options.h"

#include <cstdarg>
#include <cstdio>
#include <memory>
#include <string>

#include <glog/logging.h>
#include <rocksdb/file_checksum.h>
#include <rocksdb/filter_policy.h>
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
  options.info_log = std::make_shared<GlogLogger>();
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.max_background_jobs = wanted.background_jobs;
  options.max_open_files = -1;
  if (wanted.compaction == CompactionStyle::kUniversal) {
    options.compaction_style = rocksdb::kCompactionStyleUniversal;
  }
  options.file_checksum_gen_factory = rocksdb::GetFileChecksumGenCrc32cFactory();
  options.compression = rocksdb::kNoCompression;
  options.avoid_flush_during_shutdown = true;
  options.write_buffer_size = wanted.memtable_bytes;
  options.target_file_size_base = kIngestFileBytes;
  options.paranoid_file_checks = true;
  options.memtable_protection_bytes_per_key = 8;
  rocksdb::BlockBasedTableOptions table;
  table.format_version = 5;
  table.checksum = rocksdb::kXXH3;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10, false));
  table.no_block_cache = true;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

}  // namespace cairn::ps
