// Reading everything of one parameter server's part of a checkpoint, to see whether it can be
// right.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launch/inspect/opened_checkpoint.h"

namespace cairn::launch {

struct ShardScan {
  std::uint64_t rows = 0;
  std::uint64_t dense_chunks = 0;
  // Elements of each dense tensor of the manifest that this shard holds.
  std::vector<std::uint64_t> dense_elements;
  // What is wrong, a line each; empty when sound. At most one line per table and kind of mistake,
  // naming the first row and how many there are.
  std::vector<std::string> problems;
};

// Checks: the blocks' checksums; every row lies in its key's slot and that slot in the shard's
// range; values and optimizer state are finite; as many rows per table and dense chunks as the
// manifest says; dense tensors are known. Goes on after a problem where it can.
ShardScan ScanShard(const std::string& folder, const proto::CheckpointManifest& manifest,
                    std::size_t index, const ShardOpener& open_shard);

// Elements that the shards together lack or have too many of, a line for each tensor.
std::vector<std::string> CheckDenseElements(const proto::CheckpointManifest& manifest,
                                            const std::vector<ShardScan>& scans);

}  // namespace cairn::launch
