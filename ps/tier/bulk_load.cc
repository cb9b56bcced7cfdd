#include "ps/tier/bulk_load.h"

#include <algorithm>
#include <atomic>
#include <span>
#include <string_view>
#include <thread>
#include <vector>

#include <glog/logging.h>

#include "common/base/mutex.h"
#include "common/base/thread_pool.h"

namespace cairn::ps {
namespace {

constexpr std::size_t kRowsOfPart = 32 * 1024;  // looked for by one thread at a time, at least
constexpr std::size_t kRowsAtOnce = 4096;       // put into a table
// A scan that passes more records for a row that is wanted is given up for look-ups, though not
// before it has seen kTrial of them.
constexpr std::size_t kRecordsOfLook = 16, kTrial = 4096;

// Rows of several tables on their way to memory.
class RowSink {
 public:
  RowSink(TableSpan tables, const SlotRange& slots)
      : tables_(tables), slots_(slots), waiting_(tables.size()) {}

  Status Add(const RowKey& row, std::string_view record) {
    if (row.table >= tables_.size() || !slots_.HasMixed(MixedKey(row.key))) return OkStatus();
    const EmbeddingTable& table = *tables_[row.table];
    if (record.size() != table.layout().RecordBytes()) {
      return absl::DataLossError(StrCat("table ", table.name(), ": the record of key ", row.key,
                                        " has ", record.size(), " bytes, not ",
                                        table.layout().RecordBytes()));
    }
    Waiting& waiting = waiting_[row.table];
    waiting.keys.push_back(row.key);
    const auto bytes = std::as_bytes(std::span(record));
    waiting.records.insert(waiting.records.end(), bytes.begin(), bytes.end());
    if (waiting.keys.size() == kRowsAtOnce) Put(row.table);
    return OkStatus();
  }
  void PutAll() {
    for (std::size_t t = 0; t < waiting_.size(); ++t) Put(t);
  }

 private:
  struct Waiting {
    std::vector<std::uint64_t> keys;
    std::vector<std::byte> records;
  };
  void Put(std::size_t t) {
    Waiting& waiting = waiting_[t];
    if (waiting.keys.empty()) return;
    CHECK(!groups_.Build(waiting.keys, slots_).has_value());
    tables_[t]->AddFetched(groups_, waiting.records.data());
    waiting.keys.clear();
    waiting.records.clear();
  }

  const TableSpan tables_;
  const SlotRange slots_;
  std::vector<Waiting> waiting_;  // by table
  KeyGroups groups_;
};

std::string Encoded(const RowKey& row) {
  const EncodedRowKey key = EncodeRowKey(row);
  return {key.data(), key.size()};
}

// Reads from the first to the last of the wanted rows, which are in order. Returns how many it has
// dealt with: all, or fewer where they lie too far apart.
Result<std::size_t> ScanRows(const RowStore& store, std::span<const RowKey> wanted, RowSink* sink) {
  std::size_t next = 0, seen = 0;
  bool gave_up = false;
  Status status;
  const std::string end = Encoded(wanted.back()) + '\0';
  RETURN_IF_ERROR(
      store.Scan(Family::kRows, Encoded(wanted.front()), end, [&](const StoreRecord& record) {
        const auto key = DecodeRowKey(record.key);
        if (key.has_value()) {
          while (next < wanted.size() && wanted[next] < *key) ++next;
          if (next == wanted.size()) return false;
          if (wanted[next] == *key) {
            status = sink->Add(*key, record.value);
            ++next;
          }
        }
        gave_up = ++seen > kRecordsOfLook * next + kTrial;
        return status.ok() && !gave_up;
      }));
  RETURN_IF_ERROR(status);
  return gave_up ? next : wanted.size();
}

Status LookUpRows(const RowStore& store, std::span<const RowKey> wanted, RowSink* sink) {
  std::vector<EncodedRowKey> keys;
  std::vector<std::string_view> views;
  for (; !wanted.empty(); wanted = wanted.subspan(std::min(kRowsAtOnce, wanted.size()))) {
    const auto batch = wanted.first(std::min(kRowsAtOnce, wanted.size()));
    keys.clear();
    views.clear();
    for (const RowKey& row : batch) keys.push_back(EncodeRowKey(row));
    for (const EncodedRowKey& key : keys) views.emplace_back(key.data(), key.size());
    Status status;
    RETURN_IF_ERROR(
        store.GetMany(Family::kRows, views, [&](std::size_t i, std::string_view record) {
          if (status.ok()) status = sink->Add(batch[i], record);
        }));
    RETURN_IF_ERROR(status);
  }
  return OkStatus();
}

class NamedLoader {
 public:
  NamedLoader(const RowStore& store, TableSpan tables, const SlotRange& slots, NamedRows* named)
      : store_(store), tables_(tables), slots_(slots), named_(named) {}

  Status Run() EXCLUDES(mu_) {
    const std::size_t cores = std::max(1u, std::thread::hardware_concurrency());
    ThreadPool threads(static_cast<int>(std::min(cores, named_->bucket_count())));
    std::vector<std::uint64_t> rows(tables_.size());
    threads.Run([&](int) {
      std::vector<std::uint64_t> sorted(tables_.size());
      for (std::size_t b; (b = next_++) < named_->bucket_count();) named_->SortBucket(b, sorted);
      MutexLock lock(mu_);
      for (std::size_t t = 0; t < rows.size(); ++t) rows[t] += sorted[t];
    });
    for (std::size_t t = 0; t < rows.size(); ++t) tables_[t]->ReserveIndex(rows[t]);
    CutParts();
    next_ = 0;
    threads.Run([this](int) {
      const Status status = LoadParts();
      if (status.ok()) return;
      failed_ = true;
      MutexLock lock(mu_);
      if (status_.ok()) status_ = status;
    });
    MutexLock lock(mu_);
    return status_;
  }

 private:
  void CutParts() {
    parts_.push_back(0);
    std::size_t rows = 0;
    for (std::size_t b = 0; b < named_->bucket_count(); ++b) {
      rows += named_->bucket_size(b);
      if (rows < kRowsOfPart && b + 1 < named_->bucket_count()) continue;
      parts_.push_back(b + 1);
      rows = 0;
    }
  }
  // Until no part is left or a thread has failed.
  Status LoadParts() {
    RowSink sink(tables_, slots_);
    std::vector<RowKey> wanted;
    for (std::size_t part; !failed_ && (part = next_++) + 1 < parts_.size();) {
      wanted.clear();
      for (std::size_t b = parts_[part]; b < parts_[part + 1]; ++b) named_->TakeBucket(b, &wanted);
      if (wanted.empty()) continue;
      ASSIGN_OR_RETURN(const std::size_t scanned, ScanRows(store_, wanted, &sink));
      RETURN_IF_ERROR(LookUpRows(store_, std::span(wanted).subspan(scanned), &sink));
    }
    sink.PutAll();
    return OkStatus();
  }

  const RowStore& store_;
  const TableSpan tables_;
  const SlotRange slots_;
  NamedRows* const named_;
  std::vector<std::size_t> parts_;  // first bucket of each, a run of them, and the end
  std::atomic<std::size_t> next_{0};
  std::atomic<bool> failed_{false};
  Mutex mu_;
  Status status_ GUARDED_BY(mu_);
};

}  // namespace

Status LoadNamedRows(const RowStore& store, TableSpan tables, const SlotRange& slots,
                     NamedRows* named) {
  return NamedLoader(store, tables, slots, named).Run();
}

Status LoadNextRows(const RowStore& store, TableSpan tables, const SlotRange& slots,
                    std::size_t count, std::string* next) {
  RowSink sink(tables, slots);
  Status status;
  std::string last;
  std::size_t seen = 0;
  RETURN_IF_ERROR(store.Scan(Family::kRows, *next, {}, [&](const StoreRecord& record) {
    const auto key = DecodeRowKey(record.key);
    if (key.has_value()) status = sink.Add(*key, record.value);
    if (++seen == count) last = record.key;
    return status.ok() && seen < count;
  }));
  RETURN_IF_ERROR(status);
  sink.PutAll();
  if (!last.empty()) last += '\0';
  *next = last;
  return OkStatus();
}

}  // namespace cairn::ps
