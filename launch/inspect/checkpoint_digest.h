// SHA-256 over a canonical dump of everything that a checkpoint's training has made: equal for two
// checkpoints exactly when every row and every dense parameter is equal, bit for bit, with its
// optimizer state and metadata. The number of servers, files, names, times and what is merely
// counted (metrics, admission) play no part.
//
//   checkpoint = "cairn checkpoint 1\n"  tables:u32  { name:text  SHA-256(table) }  SHA-256(dense)
//   table      = "cairn table 1\n"  name:text  dim:u32  optimizer:text  state_floats:u32
//                storage:text  { key:u64  record }
//   dense      = "cairn dense 1\n"  tensors:u32  { name:text  SHA-256(tensor) }
//   tensor     = "cairn tensor 1\n"  name:text  dims:u32  { dim:u32 }  optimizer:text
//                { chunk:u32  SHA-256(contents) }
//   contents   = floats:u32  state_floats:u32  record
//   text       = bytes:u32  bytes                                            (little-endian)
//
// Records are those of docs/checkpoint_format.md, as they are stored. Tables and tensors go by
// name, rows by slot, and by key in a slot, chunks by number. That is how a database keeps rows, so
// that a table of any size is read once, in its order; of dense chunks a digest is kept for
// each 64 KiB, to be put in order at the end.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launch/inspect/opened_checkpoint.h"

namespace cairn::launch {

struct CheckpointDigest {
  struct Part {
    std::string name;
    std::uint64_t size = 0;  // rows of a table, floats of a tensor
    std::string sha256;      // 64 digits
  };
  std::string sha256;
  std::vector<Part> tables;  // by name
  std::string dense_sha256;
  std::vector<Part> tensors;  // by name
};

// `manifest`: of the folder, and CheckShape found nothing. DataLoss for damage that shows on the
// way: bytes that fail a check, rows out of their order, other numbers of rows or floats than the
// manifest says. (Files are compared with their checksums by `verify` alone.)
Result<CheckpointDigest> DigestCheckpoint(const std::string& folder,
                                          const proto::CheckpointManifest& manifest,
                                          const ShardOpener& open_shard);

}  // namespace cairn::launch
