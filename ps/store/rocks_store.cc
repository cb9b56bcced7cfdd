#include "ps/store/rocks_store.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <limits>
#include <utility>
#include <vector>

#include <rocksdb/db.h>
#include <rocksdb/sst_file_writer.h>
#include <rocksdb/table_properties.h>
#include <rocksdb/utilities/checkpoint.h>

#include "common/base/mutex.h"
#include "common/io/file.h"
#include "ps/store/free_space.h"
#include "ps/store/rocks_options.h"

namespace cairn::ps {
namespace {

constexpr std::size_t kBatchBytes = 1u << 20;
constexpr std::size_t kGetChunk = 256;
constexpr int kMaxLevel0Files = 20;
constexpr std::uint64_t kReaderBytes = 8192;  // of an open file, beside index and filter

rocksdb::Slice ToSlice(std::string_view text) { return {text.data(), text.size()}; }
std::string_view ToView(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

constexpr std::string_view kIngestPrefix = "ingest.tmp.";

// Unlinks files that an ingestion left. They may be links to live files, so that to write to them
// again would destroy rows.
Status RemoveLeftovers(const std::string& folder) {
  ASSIGN_OR_RETURN(const auto names, ListFolder(folder, ListMode::kEntries));
  for (const std::string& name : names) {
    if (name.starts_with(kIngestPrefix)) RETURN_IF_ERROR(RemoveTree(JoinPath(folder, name)));
  }
  return OkStatus();
}

class RocksStore : public RowStore {
 public:
  RocksStore(std::string folder, const RocksStoreOptions& wanted, rocksdb::Options options,
             std::unique_ptr<rocksdb::DB> db, std::vector<rocksdb::ColumnFamilyHandle*> handles)
      : folder_(std::move(folder)),
        wanted_(wanted),
        options_(std::move(options)),
        db_(std::move(db)),
        handles_(std::move(handles)),
        space_(folder_, [this] { return wanted_.reserve_bytes + UnwrittenBytes(); }) {}
  ~RocksStore() override {
    for (rocksdb::ColumnFamilyHandle* handle : handles_) db_->DestroyColumnFamilyHandle(handle);
  }

  Status PutSorted(Family family, std::size_t count, std::uint64_t bytes,
                   const std::function<StoreRecord(std::size_t)>& at) override {
    RETURN_IF_ERROR(CheckWritable());
    if (count == 0) return OkStatus();
    const MutexLock lock(write_mu_);
    // Keys, blocks, filters and index beside the records: an eighth and a constant for each.
    RETURN_IF_ERROR(space_.Take(bytes + bytes / 8 + 32 * count));
    if (count >= wanted_.ingest_records || bytes >= wanted_.ingest_bytes) {
      // Ingestion is never held up. Where compactions lag, memtables make larger files of it.
      if (bytes >= wanted_.file_bytes || Level0Files(family) < kMaxLevel0Files) {
        return Ingest(Handle(family), count, at);
      }
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
    RETURN_IF_ERROR(space_.Take(32 * count));
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
    return FlushMemtables(folder_);
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
    RETURN_IF_ERROR(FlushMemtables(FolderOf(folder)));
    rocksdb::Checkpoint* raw = nullptr;
    RETURN_IF_ERROR(Convert(rocksdb::Checkpoint::Create(db_.get(), &raw)));
    const std::unique_ptr<rocksdb::Checkpoint> checkpoint(raw);
    // A flush of its own would wait for compactions when there are many files in level 0.
    constexpr std::uint64_t kNoFlush = std::numeric_limits<std::uint64_t>::max();
    RETURN_IF_ERROR(
        Convert(WithResume([&] { return checkpoint->CreateCheckpoint(folder, kNoFlush); })),
        "snapshot to ", folder);
    ASSIGN_OR_RETURN(const auto names, ListFolder(folder, ListMode::kEntries));
    for (const std::string& name : names) RETURN_IF_ERROR(SyncFile(JoinPath(folder, name)));
    RETURN_IF_ERROR(SyncFolder(folder));
    return SyncFolder(FolderOf(folder));
  }

  Status VerifyBlocks() const override {
    return Convert(db_->VerifyChecksum(rocksdb::ReadOptions()));
  }

  std::uint64_t MemoryBytes() const override {
    // RocksDB's own estimate asks the allocator, which rounds large blocks up by as much as half.
    std::uint64_t bytes = Sum(rocksdb::DB::Properties::kSizeAllMemTables);
    for (rocksdb::ColumnFamilyHandle* const handle : handles_) {
      rocksdb::TablePropertiesCollection tables;
      if (!db_->GetPropertiesOfAllTables(handle, &tables).ok()) continue;
      for (const auto& [path, table] : tables) {
        bytes += table->index_size + table->filter_size + kReaderBytes;
      }
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

  std::uint64_t Sum(const std::string& property) const {
    std::uint64_t sum = 0;
    return db_->GetAggregatedIntProperty(property, &sum) ? sum : 0;
  }
  int Level0Files(Family family) const {
    std::string files;
    constexpr auto kName = "rocksdb.num-files-at-level0";
    return db_->GetProperty(Handle(family), kName, &files) ? std::atoi(files.c_str()) : 0;
  }
  std::uint64_t MemtableFileBytes() const {
    return Sum(rocksdb::DB::Properties::kCurSizeAllMemTables) / 8 * 9;
  }
  // What RocksDB may yet write without further calls: memtables, and compactions that are due.
  // These keep their inputs until they are done, and snapshots keep them for longer. Universal
  // compaction may rewrite everything at once.
  std::uint64_t UnwrittenBytes() const {
    return MemtableFileBytes() +
           Sum(wanted_.compaction == CompactionStyle::kUniversal
                   ? rocksdb::DB::Properties::kLiveSstFilesSize
                   : rocksdb::DB::Properties::kEstimatePendingCompactionBytes);
  }
  // In order to make files on the file system of `folder`.
  Status FlushMemtables(const std::string& folder) REQUIRES(write_mu_) {
    RETURN_IF_ERROR(CheckMemtablesFit(folder));
    rocksdb::FlushOptions flush;
    flush.allow_write_stall = true;  // else it waits for compactions
    return Convert(WithResume([&] {
      rocksdb::Status status = db_->Flush(flush, handles_);
      return status.ok() ? CheckFlushed() : status;
    }));
  }
  // While RocksDB recovers from an error of the file system, its Flush may say OK and have written
  // nothing (facebook/rocksdb, issue 8046). There is one writer, so nothing may be left.
  rocksdb::Status CheckFlushed() const REQUIRES(write_mu_) {
    if (Sum(rocksdb::DB::Properties::kNumImmutableMemTable) == 0 &&
        Sum(rocksdb::DB::Properties::kNumEntriesActiveMemTable) == 0) {
      return rocksdb::Status::OK();
    }
    return rocksdb::Status::IOError("not written yet, after an earlier error");
  }
  // The reserve is there to be used by this.
  Status CheckMemtablesFit(const std::string& folder) const {
    return CheckFreeSpace(folder, MemtableFileBytes(), 0);
  }

  // Once more if it failed because of an error of a background job that can be overcome now, such
  // as a disk that was full. RocksDB also tries by itself every few seconds; until it has ended
  // Resume says that it is busy.
  rocksdb::Status WithResume(const std::function<rocksdb::Status()>& run) const {
    rocksdb::Status status = run();
    if (!status.IsIOError() || !CheckMemtablesFit(folder_).ok()) return status;
    return db_->Resume().ok() ? run() : status;
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
        RETURN_IF_ERROR(Convert(WithResume([&] { return db_->Write(write, &batch); })));
        batch.Clear();
      }
    }
    return OkStatus();
  }

  Status Ingest(rocksdb::ColumnFamilyHandle* handle, std::size_t count,
                const std::function<StoreRecord(std::size_t)>& at) REQUIRES(write_mu_) {
    RETURN_IF_ERROR(RemoveLeftovers(folder_));
    const Status ingested = IngestFiles(handle, count, at);
    const Status removed = RemoveLeftovers(folder_);
    return ingested.ok() ? removed : ingested;
  }

  Status IngestFiles(rocksdb::ColumnFamilyHandle* handle, std::size_t count,
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
      RETURN_IF_ERROR(Convert(
          writer.Open(JoinPath(folder_, StrCat(kIngestPrefix, ingest.external_files.size())))));
      for (std::uint64_t written = 0; i < count && written < wanted_.file_bytes; ++i) {
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
    return Convert(WithResume([&] { return db_->IngestExternalFiles({ingest}); }));
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
  FreeSpace space_;
};

}  // namespace

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
    RETURN_IF_ERROR(RemoveLeftovers(folder));
    status = rocksdb::DB::Open(options, folder, families, &handles, &raw);
  }
  std::unique_ptr<rocksdb::DB> db(raw);
  RETURN_IF_ERROR(FromRocks(status, folder, wanted.read_only));
  return std::make_unique<RocksStore>(folder, wanted, std::move(options), std::move(db),
                                      std::move(handles));
}

}  // namespace cairn::ps
