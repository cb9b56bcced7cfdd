// RowStore over RocksDB: one database with the column families "rows" and "dense"; the
// server's own records are in the default one.
//
// There is no write-ahead log: what was written since the last Flush is in memory above, or in a
// log above. Large sets of records are written as sorted files and ingested, small ones go through
// memtables. docs/storage.md has the measured choices, rocks_options.cc their reasons.
//
// Disk space: Debian's RocksDB is built with assertions, and one of them ends the process when a
// file is written to after an append failed, as background jobs do on a full disk. So writes are
// refused with ResourceExhausted before that: what is to be written must fit, and beside it the
// reserve, the memtables and what compactions still have to rewrite. They work again by
// themselves when there is space. Background jobs that failed are resumed.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "ps/store/row_store.h"

namespace cairn::ps {

enum class CompactionStyle {
  kLevel,
  kUniversal,  // two thirds of the CPU time of write-back, but needs as much free space as it holds
};

struct RocksStoreOptions {
  bool read_only = false;
  int background_jobs = 2;
  CompactionStyle compaction = CompactionStyle::kLevel;
  // Free space that a write must leave, beside what flushes and compactions will need: for what
  // other programs write meanwhile.
  std::uint64_t reserve_bytes = 256u << 20;
  // Records that are held in memory before they are written to a file.
  std::uint64_t memtable_bytes = 32u << 20;
  // Sets of at least this many records or bytes are ingested as files.
  std::size_t ingest_records = 10'000;
  std::uint64_t ingest_bytes = 16u << 20;
  // Of the largest files. A file that is being written takes a tenth of that in memory.
  std::uint64_t file_bytes = 128u << 20;

  // For a server that has `memory_bytes` for everything.
  void FitTo(std::uint64_t memory_bytes) {
    memtable_bytes = std::clamp<std::uint64_t>(memory_bytes / 64, 1u << 20, memtable_bytes);
    file_bytes = std::clamp<std::uint64_t>(memory_bytes / 16, 8u << 20, file_bytes);
  }
};

// Opens the database in `folder`; makes it if it is not there, unless read_only.
// FailedPrecondition when another process has it open for writing; DataLoss when it is damaged or,
// read-only, not there.
Result<std::unique_ptr<RowStore>> OpenRocksStore(const std::string& folder,
                                                 const RocksStoreOptions& options);

}  // namespace cairn::ps
