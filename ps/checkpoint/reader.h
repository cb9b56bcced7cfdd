// Read-only access to one parameter server's part of a checkpoint: its rows and dense chunks.
// Nothing is ever written into the folder that is read.
//
//   proto::CheckpointManifest manifest;
//   RETURN_IF_ERROR(ReadManifest(checkpoint, &manifest));
//   ASSIGN_OR_RETURN(auto shard, ShardReader::Open(checkpoint, manifest, 0));
//   RETURN_IF_ERROR(shard->ForEachRow(0, [](const RowView& row) { ...; return true; }));
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "ps/table/row_layout.h"

namespace cairn::proto {
class CheckpointManifest;
}  // namespace cairn::proto

namespace cairn::ps {

// In the column family "default": a proto::ServerState.
inline constexpr std::string_view kServerStateKey = "server";

// One row; the spans live until the visitor returns.
struct RowView {
  std::uint32_t slot = 0;
  std::uint64_t key = 0;
  std::span<const float> value;  // dim floats, decoded where they are stored as 16-bit numbers
  std::span<const float> state;  // state_floats floats
  RowMetadata metadata;
  std::span<const std::byte> record;  // all of it, as it is stored
};
// One chunk of a dense tensor: floats [chunk * 16384, chunk * 16384 + value.size()) of it.
struct DenseChunkView {
  std::uint32_t slot = 0;
  std::string_view tensor;
  std::uint32_t chunk = 0;
  std::span<const float> value;
  std::span<const float> state;  // empty for running statistics
  RowMetadata metadata;
  std::span<const std::byte> record;  // value, state and metadata, as they are stored
};

// Thread-safety: all methods may be called from several threads at once.
// Errors: DataLoss, naming the file where it is known, for bytes that fail a check or records of a
// wrong size; a visitor has then seen the records before the damage.
class ShardReader {
 public:
  // `shard`: index in manifest.shard(). NotFound when its folder is missing, DataLoss when it
  // cannot be opened. Checksums of whole files are VerifyFiles' business
  // (ps/checkpoint/manifest.h).
  static Result<std::unique_ptr<ShardReader>> Open(const std::string& checkpoint,
                                                   const proto::CheckpointManifest& manifest,
                                                   std::size_t shard);
  virtual ~ShardReader() = default;

  // Visits the rows of a table (index in manifest.table()) by slot, and by key inside a slot, until
  // the visitor returns false.
  virtual Status ForEachRow(std::uint32_t table,
                            const std::function<bool(const RowView&)>& visit) const = 0;
  // The same for slots [first_slot, last_slot] only, of all tables, in storage order.
  virtual Status ForEachRowOfSlots(
      std::uint32_t first_slot, std::uint32_t last_slot,
      const std::function<bool(std::uint32_t table, const RowView&)>& visit) const = 0;
  // Visits one row, or returns NotFound.
  virtual Status FindRow(std::uint32_t table, std::uint64_t key,
                         const std::function<void(const RowView&)>& visit) const = 0;
  // Visits all dense chunks by slot, tensor name and chunk number, until the visitor returns false.
  virtual Status ForEachDenseChunk(
      const std::function<bool(const DenseChunkView&)>& visit) const = 0;
  // Pushes that the server had taken when it wrote this. NotFound in a checkpoint of a version that
  // did not keep it.
  virtual Result<std::uint64_t> PushCount() const = 0;
  // Rows of a table, counted by reading all of them.
  virtual Result<std::uint64_t> CountRows(std::uint32_t table) const = 0;
  // Reads every block and compares its checksum.
  virtual Status VerifyBlocks() const = 0;
};

}  // namespace cairn::ps
