#include "ps/store/rocks_store.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>
#include <vector>

#include <glog/logging.h>
#include <rocksdb/db.h>
#include <rocksdb/file_checksum.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/sst_file_writer.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/checkpoint.h>

#include "common/base/mutex.h"
#include "common/io/file.h"

namespace cairn::ps {
namespace {

constexpr std::uint64_t kIngestFileBytes = 128u << 20;
constexpr std::size_t kBatchBytes = 1u << 20;
constexpr std::size_t kGetChunk = 256;

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

rocksdb::Slice ToSlice(std::string_view text) { return {text.data(), text.size()}; }
std::string_view ToView(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

Status FromRocks(const rocksdb::Status& status, std::string_view folder, bool read_only) {
  if (status.ok()) return OkStatus();
  const std::string text = status.ToString();
  const std::string message = StrCat("database ", folder, ": ", text);
  if (status.IsNoSpace()) return absl::ResourceExhaustedError(message);
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
  options.file_checksum_gen_factory = rocksdb::GetFileChecksumGenCrc32cFactory();
  options.compression = rocksdb::kNoCompression;
  options.write_buffer_size = 32u << 20;
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

class RocksStore : public RowStore {
 public:
  RocksStore(std::string folder, const RocksStoreOptions& wanted, rocksdb::Options options,
             std::unique_ptr<rocksdb::DB> db, std::vector<rocksdb::ColumnFamilyHandle*> handles)
      : folder_(std::move(folder)),
        wanted_(wanted),
        options_(std::move(options)),
        db_(std::move(db)),
        handles_(std::move(handles)) {}
  ~RocksStore() override {
    for (rocksdb::ColumnFamilyHandle* handle : handles_) db_->DestroyColumnFamilyHandle(handle);
  }

  Status PutSorted(Family family, std::size_t count, std::uint64_t bytes,
                   const std::function<StoreRecord(std::size_t)>& at) override {
    RETURN_IF_ERROR(CheckWritable());
    if (count == 0) return OkStatus();
    const MutexLock lock(write_mu_);
    // Keys, blocks, filters and index beside the records: an eighth and a constant for each.
    RETURN_IF_ERROR(CheckFreeSpace(folder_, bytes + bytes / 8 + 32 * count, wanted_.reserve_bytes));
    if (count >= wanted_.ingest_records || bytes >= wanted_.ingest_bytes) {
      return Ingest(Handle(family), count, at);
    }
    std::string last;
    return WriteBatches(count, [&](std::size_t i, rocksdb::WriteBatch& batch) {
      const StoreRecord record = at(i);
      if (i > 0 && record.key <= last) return NotAscending();
      last = record.key;
      return Convert(batch.Put(Handle(family), ToSlice(record.key), ToSlice(record.value)));
    });
  }

  Status DeleteSorted(Family family, std::size_t count,
                      const std::function<std::string_view(std::size_t)>& at) override {
    RETURN_IF_ERROR(CheckWritable());
    const MutexLock lock(write_mu_);
    RETURN_IF_ERROR(CheckFreeSpace(folder_, 32 * count, wanted_.reserve_bytes));
    std::string last;
    return WriteBatches(count, [&](std::size_t i, rocksdb::WriteBatch& batch) {
      const std::string_view key = at(i);
      if (i > 0 && key <= last) return NotAscending();
      last = key;
      return Convert(batch.Delete(Handle(family), ToSlice(key)));
    });
  }

  Status Flush() override {
    RETURN_IF_ERROR(CheckWritable());
    const MutexLock lock(write_mu_);
    return Convert(db_->Flush(rocksdb::FlushOptions(), handles_));
  }

  Status Get(Family family, std::string_view key, std::string* value) const override {
    const rocksdb::Status status =
        db_->Get(rocksdb::ReadOptions(), Handle(family), ToSlice(key), value);
    if (status.IsNotFound()) return absl::NotFoundError("no such record");
    return Convert(status);
  }

  Status GetMany(Family family, std::span<const std::string_view> keys,
                 const std::function<void(std::size_t, std::string_view)>& found) const override {
    std::array<rocksdb::Slice, kGetChunk> slices;
    std::array<rocksdb::PinnableSlice, kGetChunk> values;
    std::array<rocksdb::Status, kGetChunk> statuses;
    for (std::size_t begin = 0; begin < keys.size(); begin += kGetChunk) {
      const std::size_t n = std::min(kGetChunk, keys.size() - begin);
      for (std::size_t i = 0; i < n; ++i) {
        if (begin + i > 0 && keys[begin + i] <= keys[begin + i - 1]) return NotAscending();
        slices[i] = ToSlice(keys[begin + i]);
      }
      db_->MultiGet(rocksdb::ReadOptions(), Handle(family), n, slices.data(), values.data(),
                    statuses.data(), /*sorted_input=*/true);
      for (std::size_t i = 0; i < n; ++i) {
        if (statuses[i].ok()) {
          found(begin + i, ToView(values[i]));
        } else if (!statuses[i].IsNotFound()) {
          return Convert(statuses[i]);
        }
        values[i].Reset();
      }
    }
    return OkStatus();
  }

  Status Scan(Family family, std::string_view begin, std::string_view end,
              const std::function<bool(const StoreRecord&)>& visit) const override {
    rocksdb::ReadOptions read;
    read.readahead_size = 2u << 20;
    read.fill_cache = false;
    const rocksdb::Slice bound = ToSlice(end);
    if (!end.empty()) read.iterate_upper_bound = &bound;
    const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(read, Handle(family)));
    for (it->Seek(ToSlice(begin)); it->Valid(); it->Next()) {
      if (!visit({ToView(it->key()), ToView(it->value())})) return OkStatus();
    }
    return Convert(it->status());
  }

  Status Snapshot(const std::string& folder) override {
    const MutexLock lock(write_mu_);
    RETURN_IF_ERROR(CheckFreeSpace(FolderOf(folder), 0, wanted_.reserve_bytes));
    rocksdb::Checkpoint* raw = nullptr;
    RETURN_IF_ERROR(Convert(rocksdb::Checkpoint::Create(db_.get(), &raw)));
    const std::unique_ptr<rocksdb::Checkpoint> checkpoint(raw);
    RETURN_IF_ERROR(Convert(checkpoint->CreateCheckpoint(folder)), "snapshot to ", folder);
    ASSIGN_OR_RETURN(const auto names, ListFolder(folder, ListMode::kEntries));
    for (const std::string& name : names) RETURN_IF_ERROR(SyncFile(JoinPath(folder, name)));
    RETURN_IF_ERROR(SyncFolder(folder));
    return SyncFolder(FolderOf(folder));
  }

  Status VerifyBlocks() const override {
    return Convert(db_->VerifyChecksum(rocksdb::ReadOptions()));
  }

  std::uint64_t MemoryBytes() const override {
    std::uint64_t bytes = 0;
    for (const std::string* const property : {&rocksdb::DB::Properties::kCurSizeAllMemTables,
                                              &rocksdb::DB::Properties::kEstimateTableReadersMem}) {
      std::uint64_t part = 0;
      if (db_->GetAggregatedIntProperty(*property, &part)) bytes += part;
    }
    return bytes;
  }

 private:
  rocksdb::ColumnFamilyHandle* Handle(Family family) const {
    switch (family) {
      case Family::kRows:
        return handles_[1];
      case Family::kDense:
        return handles_[2];
      case Family::kMeta:
        break;
    }
    return handles_[0];
  }
  Status CheckWritable() const {
    if (!wanted_.read_only) return OkStatus();
    return absl::FailedPreconditionError(StrCat("database ", folder_, " is open read-only"));
  }
  Status Convert(const rocksdb::Status& status) const {
    return FromRocks(status, folder_, wanted_.read_only);
  }

  // Calls add(i, batch) for each i < count and writes the batches.
  Status WriteBatches(std::size_t count,
                      const std::function<Status(std::size_t, rocksdb::WriteBatch&)>& add)
      REQUIRES(write_mu_) {
    rocksdb::WriteOptions write;
    write.disableWAL = true;
    rocksdb::WriteBatch batch(0, 0, 8, 0);
    for (std::size_t i = 0; i < count; ++i) {
      RETURN_IF_ERROR(add(i, batch));
      if (batch.GetDataSize() >= kBatchBytes || i + 1 == count) {
        RETURN_IF_ERROR(Convert(db_->Write(write, &batch)));
        batch.Clear();
      }
    }
    return OkStatus();
  }

  Status Ingest(rocksdb::ColumnFamilyHandle* handle, std::size_t count,
                const std::function<StoreRecord(std::size_t)>& at) REQUIRES(write_mu_) {
    rocksdb::IngestExternalFileArg ingest;
    ingest.column_family = handle;
    ingest.options.move_files = true;
    ingest.options.write_global_seqno = false;    // leaves the bytes, and so their checksum, alone
    ingest.options.verify_file_checksum = false;  // the writer's checksum is taken as it is
    std::string last;
    for (std::size_t i = 0; i < count;) {
      // The page cache is kept: the files are read again for the manifest's checksums.
      rocksdb::SstFileWriter writer(rocksdb::EnvOptions(), options_, handle,
                                    /*invalidate_page_cache=*/false);
      RETURN_IF_ERROR(Convert(writer.Open(
          JoinPath(folder_, StrCat("ingest-", ingest.external_files.size(), ".tmp.sst")))));
      for (std::uint64_t written = 0; i < count && written < kIngestFileBytes; ++i) {
        const StoreRecord record = at(i);
        if (i > 0 && record.key <= last) return NotAscending();
        last = record.key;
        RETURN_IF_ERROR(Convert(writer.Put(ToSlice(record.key), ToSlice(record.value))));
        written += record.key.size() + record.value.size();
      }
      rocksdb::ExternalSstFileInfo info;
      RETURN_IF_ERROR(Convert(writer.Finish(&info)));
      ingest.external_files.push_back(info.file_path);
      ingest.files_checksums.push_back(info.file_checksum);
      ingest.files_checksum_func_names.push_back(info.file_checksum_func_name);
    }
    return Convert(db_->IngestExternalFiles({ingest}));
  }

  Status NotAscending() const {
    return absl::InvalidArgumentError(
        StrCat("database ", folder_, ": keys are not in ascending order"));
  }

  const std::string folder_;
  const RocksStoreOptions wanted_;
  const rocksdb::Options options_;
  const std::unique_ptr<rocksdb::DB> db_;
  const std::vector<rocksdb::ColumnFamilyHandle*> handles_;  // default, rows, dense
  Mutex write_mu_;
};

}  // namespace

Status CheckFreeSpace(const std::string& folder, std::uint64_t bytes, std::uint64_t reserve_bytes) {
  struct statvfs info;
  if (statvfs(folder.c_str(), &info) != 0) return ErrnoStatus("look at", folder, errno);
  const std::uint64_t free_bytes = std::uint64_t{info.f_bavail} * info.f_frsize;
  if (free_bytes >= bytes && free_bytes - bytes >= reserve_bytes) return OkStatus();
  return absl::ResourceExhaustedError(StrCat("not enough disk space in ", folder, ": ", bytes,
                                             " bytes to write and a reserve of ", reserve_bytes,
                                             " bytes, but ", free_bytes, " bytes free"));
}

Result<std::unique_ptr<RowStore>> OpenRocksStore(const std::string& folder,
                                                 const RocksStoreOptions& wanted) {
  rocksdb::Options options = MakeOptions(wanted);
  const std::vector<rocksdb::ColumnFamilyDescriptor> families = {
      {rocksdb::kDefaultColumnFamilyName, options}, {"rows", options}, {"dense", options}};
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* raw = nullptr;
  rocksdb::Status status;
  if (wanted.read_only) {
    // RocksDB would make the folder.
    if (!PathExists(JoinPath(folder, "CURRENT"))) {
      return absl::DataLossError(StrCat("database ", folder, " has no file CURRENT"));
    }
    status = rocksdb::DB::OpenForReadOnly(options, folder, families, &handles, &raw);
  } else {
    RETURN_IF_ERROR(MakeFolders(folder));
    RETURN_IF_ERROR(CheckFreeSpace(folder, 0, wanted.reserve_bytes));
    status = rocksdb::DB::Open(options, folder, families, &handles, &raw);
  }
  std::unique_ptr<rocksdb::DB> db(raw);
  RETURN_IF_ERROR(FromRocks(status, folder, wanted.read_only));
  return std::make_unique<RocksStore>(folder, wanted, std::move(options), std::move(db),
                                      std::move(handles));
}

}  // namespace cairn::ps
