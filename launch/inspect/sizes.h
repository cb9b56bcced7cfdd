// Sums over a manifest, and the end of every verb.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace cairn::proto {
class CheckpointManifest;
class ShardEntry;
class TableEntry;
}  // namespace cairn::proto

namespace cairn::launch {

// Bytes of a row's record: value, optimizer state and metadata.
std::uint64_t RecordBytes(const proto::TableEntry& table);
std::uint64_t TableBytes(const proto::TableEntry& table);  // of all its records
std::uint64_t TotalRows(const proto::CheckpointManifest& manifest);
std::uint64_t TotalTableBytes(const proto::CheckpointManifest& manifest);
// Over all tables.
std::uint64_t ShardRows(const proto::ShardEntry& shard);
// Rows of the fullest shard over the mean; 1 without rows.
double Imbalance(const proto::CheckpointManifest& manifest);
// Elements of all dense tensors, running statistics included.
std::uint64_t DenseParameters(const proto::CheckpointManifest& manifest);

struct FileTotals {
  std::uint64_t count = 0;
  std::uint64_t bytes = 0;
};
// Of the files in a folder of the checkpoint ("" for all).
FileTotals FilesBelow(const proto::CheckpointManifest& manifest, const std::string& folder);

// OK without damage. Otherwise tells each in `messages` and gives DataLoss.
Status TellDamage(const std::vector<std::string>& damage, std::ostream& messages);

}  // namespace cairn::launch
