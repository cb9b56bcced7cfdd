// What it costs to log pushes: the log of ps/log beside a RocksDB database that does the same (its
// write-ahead log on, a column family for each segment, which is dropped whole).
//
//   bench_push_log [--quick] [--folder=DIR]
//
// Records of 1.4 MiB (a push of 20 000 rows of dim 16) and of 20 KiB; with sync by one thread and
// by eight. CPU is that of the whole process, RocksDB's background threads included; bytes written
// are those handed to the kernel (wchar of /proc/self/io) for each byte appended.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <glog/logging.h>
#include <rocksdb/db.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include "common/base/str_cat.h"
#include "common/math/rng.h"
#include "ps/log/push_log.h"

namespace cairn::ps {
namespace {

constexpr std::uint64_t kSegmentBytes = 64u << 20;
constexpr std::uint64_t kSegmentsKept = 4;
using Parts = std::span<const std::span<const std::byte>>;

// Appends a record durably and, now and then, drops old ones.
class Log {
 public:
  virtual ~Log() = default;
  virtual void Append(Parts parts) = 0;
};

class OurLog : public Log {
 public:
  OurLog(const std::string& folder, bool sync) {
    auto log = PushLog::Open(folder, {.sync = sync, .segment_bytes = kSegmentBytes});
    CHECK(log.ok()) << log.status();
    log_ = std::move(*log);
  }
  void Append(Parts parts) override {
    const auto lsn = log_->Append(parts);
    CHECK(lsn.ok()) << lsn.status();
    CHECK_EQ(log_->Commit(*lsn), OkStatus());
    if (*lsn % 64 != 0 || log_->Bytes() < kSegmentsKept * kSegmentBytes) return;
    const std::uint64_t middle = (log_->first_lsn() + log_->last_lsn()) / 2;
    CHECK_EQ(log_->DropThrough(middle), OkStatus());
  }

 private:
  std::unique_ptr<PushLog> log_;
};

// One thread only.
class RocksLog : public Log {
 public:
  RocksLog(const std::string& folder, bool sync) {
    write_.sync = sync;
    options_.create_if_missing = true;
    options_.compression = rocksdb::kNoCompression;
    options_.write_buffer_size = 16u << 20;
    options_.disable_auto_compactions = true;
    options_.level0_slowdown_writes_trigger = options_.level0_stop_writes_trigger = 1 << 20;
    options_.stats_dump_period_sec = 0;
    rocksdb::BlockBasedTableOptions table;
    table.checksum = rocksdb::kXXH3;
    table.no_block_cache = true;
    options_.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    rocksdb::DB* db = nullptr;
    Check(rocksdb::DB::Open(options_, folder, &db));
    db_.reset(db);
  }
  ~RocksLog() override {
    for (auto* family : families_) db_->DestroyColumnFamilyHandle(family);
  }
  void Append(Parts parts) override {
    if (families_.empty() || bytes_ >= kSegmentBytes) BeginSegment();
    char key[8];
    for (int i = 0; i < 8; ++i) key[i] = static_cast<char>(lsn_ >> (56 - 8 * i));
    ++lsn_;
    const rocksdb::Slice key_slice(key, 8);
    std::vector<rocksdb::Slice> slices;
    for (const auto part : parts) {
      slices.emplace_back(reinterpret_cast<const char*>(part.data()), part.size());
      bytes_ += part.size();
    }
    rocksdb::WriteBatch batch;
    Check(batch.Put(families_.back(), rocksdb::SliceParts(&key_slice, 1),
                    rocksdb::SliceParts(slices.data(), static_cast<int>(slices.size()))));
    Check(db_->Write(write_, &batch));
  }

 private:
  static void Check(const rocksdb::Status& status) { CHECK(status.ok()) << status.ToString(); }
  void BeginSegment() {
    rocksdb::ColumnFamilyHandle* family = nullptr;
    Check(db_->CreateColumnFamily(options_, StrCat("segment-", lsn_), &family));
    families_.push_back(family);
    bytes_ = 0;
    if (families_.size() <= kSegmentsKept) return;
    Check(db_->DropColumnFamily(families_.front()));
    Check(db_->DestroyColumnFamilyHandle(families_.front()));
    families_.pop_front();
  }

  rocksdb::Options options_;
  rocksdb::WriteOptions write_;
  std::unique_ptr<rocksdb::DB> db_;
  std::deque<rocksdb::ColumnFamilyHandle*> families_;
  std::uint64_t lsn_ = 1, bytes_ = 0;
};

double CpuSeconds() {
  rusage use;
  getrusage(RUSAGE_SELF, &use);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(use.ru_utime) + seconds(use.ru_stime);
}

double BytesWritten() {
  std::ifstream file("/proc/self/io");
  std::string word;
  double bytes = 0;
  while (file >> word) {
    if (word == "wchar:") file >> bytes;
  }
  return bytes;
}

struct Case {
  const char* name;
  std::size_t record_bytes;
  bool sync;
  int threads;
  std::size_t mib;  // appended in all
};

struct Figures {
  double cpu_ms = 0, wall_ms = 0, megabytes_per_s = 0, written = 0;
};

Figures Run(Log& log, const Case& one, bool quick) {
  std::vector<std::uint64_t> words(one.record_bytes / 8);
  Rng rng(1, 1);
  for (auto& word : words) word = rng.NextU64();
  const auto payload = std::as_bytes(std::span(words));
  // Head, keys, gradients.
  const std::vector<std::span<const std::byte>> parts = {payload.first(64),
                                                         payload.subspan(64, payload.size() / 9),
                                                         payload.subspan(64 + payload.size() / 9)};
  const int each = static_cast<int>((one.mib << 20) / one.record_bytes /
                                    static_cast<std::size_t>(one.threads) / (quick ? 4 : 1));
  const double cpu = CpuSeconds(), written = BytesWritten();
  const auto start = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (int t = 0; t < one.threads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < each; ++i) log.Append(parts);
    });
  }
  for (auto& thread : threads) thread.join();
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
  const double records = static_cast<double>(each) * one.threads;
  const double bytes = records * static_cast<double>(payload.size());
  return {1e3 * (CpuSeconds() - cpu) / records, 1e3 * wall.count() / records,
          bytes / 1e6 / wall.count(), (BytesWritten() - written) / bytes};
}

void Print(const std::string& name, const Figures& figures) {
  std::printf("RESULT %s_cpu_per_record=%.3f ms\n", name.c_str(), figures.cpu_ms);
  std::printf("RESULT %s_wall_per_record=%.3f ms\n", name.c_str(), figures.wall_ms);
  std::printf("RESULT %s_rate=%.0f MB/s\n", name.c_str(), figures.megabytes_per_s);
  std::printf("RESULT %s_written_per_byte=%.2f\n", name.c_str(), figures.written);
}

int Main(int argc, char** argv) {
  bool quick = false;
  std::string folder = std::filesystem::temp_directory_path() / "cairn_bench_push_log";
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--quick") quick = true;
    if (flag.starts_with("--folder=")) folder = flag.substr(9);
  }
  constexpr Case kCases[] = {{"process_1434KiB", 1'468'000, false, 1, 2048},
                             {"process_20KiB", 20'480, false, 1, 1024},
                             {"disk_1434KiB", 1'468'000, true, 1, 1024},
                             {"disk_20KiB", 20'480, true, 1, 64},
                             {"disk_1434KiB_8_threads", 1'468'000, true, 8, 1024},
                             {"disk_20KiB_8_threads", 20'480, true, 8, 128}};
  for (const Case& one : kCases) {
    std::filesystem::remove_all(folder);
    const Figures ours = Run(*std::make_unique<OurLog>(folder, one.sync), one, quick);
    Print(StrCat("log_", one.name), ours);
    std::filesystem::remove_all(folder);
    if (one.threads > 1) continue;
    const Figures theirs = Run(*std::make_unique<RocksLog>(folder, one.sync), one, quick);
    Print(StrCat("rocksdb_", one.name), theirs);
    std::printf("RESULT log_%s_cpu_vs_rocksdb=%.2f\n", one.name, ours.cpu_ms / theirs.cpu_ms);
    std::filesystem::remove_all(folder);
  }
  return 0;
}

}  // namespace
}  // namespace cairn::ps

int main(int argc, char** argv) { return cairn::ps::Main(argc, argv); }
