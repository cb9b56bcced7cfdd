#include "launch/inspect/sizes.h"

#include <algorithm>

#include "proto/checkpoint.pb.h"
#include "ps/table/row_layout.h"

namespace cairn::launch {

std::uint64_t RecordBytes(const proto::TableEntry& table) {
  return ps::RowLayout(table.dim(), table.state_floats(),
                       ps::StorageOf(table).value_or(ps::Storage::kFloat32))
      .RecordBytes();
}

std::uint64_t TableBytes(const proto::TableEntry& table) {
  return table.rows() * RecordBytes(table);
}

std::uint64_t TotalRows(const proto::CheckpointManifest& manifest) {
  std::uint64_t rows = 0;
  for (const proto::TableEntry& table : manifest.table()) rows += table.rows();
  return rows;
}

std::uint64_t TotalTableBytes(const proto::CheckpointManifest& manifest) {
  std::uint64_t bytes = 0;
  for (const proto::TableEntry& table : manifest.table()) bytes += TableBytes(table);
  return bytes;
}

std::uint64_t ShardRows(const proto::ShardEntry& shard) {
  std::uint64_t sum = 0;
  for (const std::uint64_t rows : shard.rows()) sum += rows;
  return sum;
}

double Imbalance(const proto::CheckpointManifest& manifest) {
  std::uint64_t most = 0, all = 0;
  for (const proto::ShardEntry& shard : manifest.shard()) {
    most = std::max(most, ShardRows(shard));
    all += ShardRows(shard);
  }
  if (all == 0) return 1;
  return static_cast<double>(most) * manifest.shard_size() / static_cast<double>(all);
}

std::uint64_t DenseParameters(const proto::CheckpointManifest& manifest) {
  std::uint64_t sum = 0;
  for (const proto::DenseTensorEntry& tensor : manifest.dense()) {
    std::uint64_t elements = 1;
    for (const std::uint32_t dim : tensor.dim()) elements *= dim;
    sum += elements;
  }
  return sum;
}

FileTotals FilesBelow(const proto::CheckpointManifest& manifest, const std::string& folder) {
  const std::string prefix = folder.empty() ? "" : StrCat(folder, "/");
  FileTotals totals;
  for (const proto::FileEntry& file : manifest.file()) {
    if (!std::string_view(file.path()).starts_with(prefix)) continue;
    ++totals.count;
    totals.bytes += file.bytes();
  }
  return totals;
}

Status TellDamage(const std::vector<std::string>& damage, std::ostream& messages) {
  if (damage.empty()) return OkStatus();
  for (const std::string& line : damage) messages << "damaged: " << line << "\n";
  messages << std::flush;
  return absl::DataLossError("the checkpoint is damaged; `verify` names every damaged file");
}

}  // namespace cairn::launch
