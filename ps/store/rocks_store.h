// RowStore over RocksDB: one database with the column families "rows" and "dense"; the
// server's own records are in the default one.
//
// Options that matter, and why (numbers: 5 M rows of 64 B on the kind of machine this is built
// for):
//   - no write-ahead log: the snapshot is the truth, what was written since is in memory as well;
//   - large sets of records are written as sorted files and ingested (2.8 M rows/s; sorted write
//     batches 0.7 M, random ones 0.1 M), small ones by sorted write batches;
//   - no compression (float rows do not compress); blocks with XXH3 checksums, Bloom filters of 10
//     bits a key, no block cache (rows are resident above this layer);
//   - files are read again after they are written, and carry a checksum in RocksDB's own manifest;
//   - background jobs are bounded; RocksDB's messages go to our log, never to a file, so that a
//     folder that is opened read-only is not written to.
// Debian's RocksDB ends the process when an append meets a full disk. So free space is checked
// before each write: what is to be written, and a reserve, must fit.
#pragma once

#include <memory>

#include "ps/store/row_store.h"

namespace cairn::ps {

enum class CompactionStyle { kLevel, kUniversal };

struct RocksStoreOptions {
  bool read_only = false;
  int background_jobs = 2;
  CompactionStyle compaction = CompactionStyle::kLevel;
  // Free space that a write must leave, for flushes and compactions of what is there already.
  std::uint64_t reserve_bytes = 256u << 20;
  // Records that are held in memory before they are written to a file.
  std::uint64_t memtable_bytes = 32u << 20;
  // Sets of at least this many records or bytes are ingested as files.
  std::size_t ingest_records = 50'000;
  std::uint64_t ingest_bytes = 16u << 20;
};

// Opens the database in `folder`; makes it if it is not there, unless read_only.
// FailedPrecondition when another process has it open for writing; DataLoss when it is damaged or,
// read-only, not there.
Result<std::unique_ptr<RowStore>> OpenRocksStore(const std::string& folder,
                                                 const RocksStoreOptions& options);

}  // namespace cairn::ps
