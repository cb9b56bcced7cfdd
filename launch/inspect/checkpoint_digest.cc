#include "launch/inspect/checkpoint_digest.h"

#include <algorithm>
#include <map>
#include <utility>

#include "launch/inspect/sha256.h"
#include "proto/checkpoint.pb.h"
#include "ps/checkpoint/reader.h"

namespace cairn::launch {
namespace {

// A table's dump so far.
struct TableDump {
  explicit TableDump(const proto::TableEntry& table) {
    sha.Bytes("cairn table 1\n").Text(table.name()).U32(table.dim()).Text(table.optimizer());
    sha.U32(table.state_floats()).Text(table.storage());
  }

  // False for a row that is not behind the last one.
  bool Add(const ps::RowView& row) {
    const std::pair<std::uint32_t, std::uint64_t> place(row.slot, row.key);
    if (rows > 0 && place <= last) return false;
    last = place;
    ++rows;
    sha.U64(row.key).Bytes(row.record);
    return true;
  }

  Sha256 sha;
  std::uint64_t rows = 0;
  std::pair<std::uint32_t, std::uint64_t> last;  // slot, key
};

struct TensorDump {
  // Fails for a chunk that came before.
  bool Add(const ps::DenseChunkView& chunk) {
    Sha256 sha;
    sha.U32(static_cast<std::uint32_t>(chunk.value.size()));
    sha.U32(static_cast<std::uint32_t>(chunk.state.size())).Bytes(chunk.record);
    floats += chunk.value.size();
    return chunks.try_emplace(chunk.chunk, sha.Finish()).second;
  }

  std::map<std::uint32_t, std::string> chunks;
  std::uint64_t floats = 0;
};

class Digester {
 public:
  explicit Digester(const proto::CheckpointManifest& manifest) : manifest_(manifest) {
    for (const proto::TableEntry& table : manifest.table()) tables_.emplace_back(table);
    for (const proto::DenseTensorEntry& tensor : manifest.dense()) tensors_[tensor.name()];
  }

  Status Read(const ps::ShardReader& shard, const proto::ShardEntry& entry) {
    Status problem;
    RETURN_IF_ERROR(shard.ForEachRowOfSlots(entry.first_slot(), entry.last_slot(),
                                            [&](std::uint32_t table, const ps::RowView& row) {
                                              problem = OnRow(table, row);
                                              return problem.ok();
                                            }));
    RETURN_IF_ERROR(problem);
    RETURN_IF_ERROR(shard.ForEachDenseChunk([&](const ps::DenseChunkView& chunk) {
      problem = OnChunk(chunk);
      return problem.ok();
    }));
    return problem;
  }

  Result<CheckpointDigest> Finish() {
    CheckpointDigest digest;
    RETURN_IF_ERROR(FinishTables(&digest));
    RETURN_IF_ERROR(FinishDense(&digest));
    Sha256 all;
    all.Bytes("cairn checkpoint 1\n").U32(static_cast<std::uint32_t>(digest.tables.size()));
    for (CheckpointDigest::Part& part : digest.tables) {
      all.Text(part.name).Bytes(part.sha256);
      part.sha256 = HexOf(part.sha256);
    }
    digest.sha256 = HexOf(all.Bytes(digest.dense_sha256).Finish());
    digest.dense_sha256 = HexOf(digest.dense_sha256);
    return digest;
  }

 private:
  Status OnRow(std::uint32_t table, const ps::RowView& row) {
    if (table >= tables_.size()) {
      return absl::DataLossError(StrCat("a row of table ", table, ", which the manifest lacks"));
    }
    if (tables_[table].Add(row)) return OkStatus();
    return absl::DataLossError(StrCat("table ", manifest_.table(static_cast<int>(table)).name(),
                                      ": key ", row.key, " in slot ", row.slot,
                                      " is there twice or out of order"));
  }

  Status OnChunk(const ps::DenseChunkView& chunk) {
    const auto found = tensors_.find(std::string(chunk.tensor));
    if (found == tensors_.end()) {
      return absl::DataLossError(
          StrCat("dense tensor ", chunk.tensor, ", which the manifest lacks"));
    }
    if (found->second.Add(chunk)) return OkStatus();
    return absl::DataLossError(
        StrCat("dense tensor ", chunk.tensor, ": chunk ", chunk.chunk, " is there twice"));
  }

  // Digests as bytes; the whole one is made of them.
  Status FinishTables(CheckpointDigest* digest) {
    for (std::size_t t = 0; t < tables_.size(); ++t) {
      const proto::TableEntry& table = manifest_.table(static_cast<int>(t));
      if (tables_[t].rows != table.rows()) {
        return absl::DataLossError(StrCat("table ", table.name(), " has ", tables_[t].rows,
                                          " rows, the manifest says ", table.rows()));
      }
      digest->tables.push_back({table.name(), tables_[t].rows, tables_[t].sha.Finish()});
    }
    std::ranges::sort(digest->tables, {}, &CheckpointDigest::Part::name);
    return OkStatus();
  }

  Status FinishDense(CheckpointDigest* digest) {
    std::map<std::string, const proto::DenseTensorEntry*> by_name;
    for (const proto::DenseTensorEntry& tensor : manifest_.dense()) {
      by_name[tensor.name()] = &tensor;
    }
    Sha256 dense;
    dense.Bytes("cairn dense 1\n").U32(static_cast<std::uint32_t>(by_name.size()));
    for (const auto& [name, tensor] : by_name) {
      const TensorDump& dump = tensors_.at(name);
      Sha256 sha;
      sha.Bytes("cairn tensor 1\n").Text(name).U32(static_cast<std::uint32_t>(tensor->dim_size()));
      std::uint64_t floats = 1;
      for (const std::uint32_t dim : tensor->dim()) {
        sha.U32(dim);
        floats *= dim;
      }
      if (dump.floats != floats) {
        return absl::DataLossError(StrCat("dense tensor ", name, " has ", dump.floats,
                                          " elements, its shape says ", floats));
      }
      sha.Text(tensor->optimizer());
      for (const auto& [chunk, contents] : dump.chunks) sha.U32(chunk).Bytes(contents);
      const std::string bytes = sha.Finish();
      dense.Text(name).Bytes(bytes);
      digest->tensors.push_back({name, floats, HexOf(bytes)});
    }
    digest->dense_sha256 = dense.Finish();
    return OkStatus();
  }

  const proto::CheckpointManifest& manifest_;
  std::vector<TableDump> tables_;  // as in the manifest
  std::map<std::string, TensorDump> tensors_;
};

}  // namespace

Result<CheckpointDigest> DigestCheckpoint(const std::string& folder,
                                          const proto::CheckpointManifest& manifest,
                                          const ShardOpener& open_shard) {
  std::vector<int> shards;
  for (int s = 0; s < manifest.shard_size(); ++s) shards.push_back(s);
  std::ranges::sort(shards, {}, [&](int s) { return manifest.shard(s).first_slot(); });
  Digester digester(manifest);
  for (const int s : shards) {
    const std::string& name = manifest.shard(s).folder();
    ASSIGN_OR_RETURN(const auto shard, open_shard(folder, manifest, static_cast<std::size_t>(s)),
                     name);
    RETURN_IF_ERROR(digester.Read(*shard, manifest.shard(s)), name);
  }
  ASSIGN_OR_RETURN(CheckpointDigest digest, digester.Finish(), folder);
  return digest;
}

}  // namespace cairn::launch
