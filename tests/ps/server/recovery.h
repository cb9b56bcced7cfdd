// A server that dies and comes back: one job, one sequence of pushes, and everything that they
// leave in a server.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ps/table/key_groups.h"
#include "tests/ps/server/shard_cluster.h"

namespace cairn::ps {

// Two tables and a dense model; `server` and `optimizer` are text of ServerConfig and
// OptimizerConfig.
inline proto::JobConfig RecoveryJob(const std::string& server,
                                    const std::string& optimizer = "adagrad {}",
                                    const std::string& table = "") {
  return ParseJob("seed: 7 table { name: \"user\" dim: 32 " + table + " optimizer { " + optimizer +
                  " } } table { name: \"item\" dim: 3 l2: 0.01 optimizer { " + optimizer +
                  " } } dense { l2: 0.02 optimizer { " + optimizer + " } } server { " + server +
                  " disk_reserve_mib: 1 }");
}

struct PushScript {
  std::size_t keys = 50;         // of each push and table
  std::uint64_t universe = 400;  // of keys
  bool dense = true;
};

// Push `number` of the script, in a sequence of client 9.
inline Status PushNumber(PsCore& core, const PushScript& script, std::uint64_t number,
                         std::uint64_t sequence) {
  Rng rng(number, 77);
  std::vector<std::uint64_t> keys[2];
  std::vector<float> gradients[2];
  std::vector<RowsUpdate> tables;
  for (std::uint32_t t = 0; t < 2; ++t) {
    if (t == 1 && number % 4 == 0) continue;  // a push need not name every table
    // Neighbours from a random place on: all different.
    const std::uint64_t first = rng.NextBelow(script.universe);
    for (std::size_t i = 0; i < script.keys; ++i) {
      keys[t].push_back(MixedKey((first + i) % script.universe));
    }
    gradients[t] = Gradients(number * 2 + t, script.keys * (t == 0 ? 32 : 3));
    tables.push_back({t, keys[t], gradients[t].data()});
  }
  std::vector<std::vector<float>> floats;
  std::vector<DenseChunkUpdate> dense;
  if (script.dense && number % 3 != 0) {
    for (const auto& [tensor, chunk] : core.OwnedDenseChunks()) {
      floats.push_back(
          Gradients(number + 1000, ShardCluster::FloatsOfChunk(SmallModel()[tensor], chunk)));
      dense.push_back({tensor, chunk, floats.back()});
    }
  }
  return core.Push(tables, dense, {9, sequence}, 0.5 + 0.1 * static_cast<double>(number % 5));
}

inline Status InitSmallModel(PsCore& core) {
  RETURN_IF_ERROR(core.RegisterDense(SmallModel()));
  for (const auto& [tensor, chunk] : core.OwnedDenseChunks()) {
    const auto values =
        Gradients(tensor + 5, ShardCluster::FloatsOfChunk(SmallModel()[tensor], chunk));
    const DenseChunkUpdate update{tensor, chunk, values};
    RETURN_IF_ERROR(core.InitDense({&update, 1}));
  }
  return OkStatus();
}

// Everything that a server holds.
struct ServerContent {
  TableContent tables[2];
  std::map<std::pair<std::string, std::uint32_t>, RowContent> dense;
  bool operator==(const ServerContent&) const = default;
};

// Through a snapshot, which goes to `folder` and is removed again.
inline ServerContent ReadServer(PsCore& core, const proto::JobConfig& job,
                                const std::string& folder) {
  std::filesystem::remove_all(folder);
  EXPECT_EQ(MakeFolders(folder), OkStatus());
  proto::CheckpointManifest manifest;
  manifest.set_slot_bits(10);
  for (const proto::TableConfig& table : job.table()) {
    const auto optimizer = MakeOptimizer(table.optimizer()).value();
    proto::TableEntry* const entry = manifest.add_table();
    entry->set_name(table.name());
    entry->set_dim(table.dim());
    entry->set_optimizer(std::string(optimizer->name()));
    entry->set_state_floats(static_cast<std::uint32_t>(optimizer->StateSize(table.dim())));
  }
  proto::SnapshotReply reply;
  EXPECT_EQ(core.Snapshot(folder + "/ps-0000", &reply), OkStatus());
  *manifest.mutable_dense() = reply.dense();
  *manifest.add_shard() = reply.shard();
  manifest.mutable_shard(0)->set_folder("ps-0000");
  for (proto::FileEntry file : reply.file()) {
    file.set_path("ps-0000/" + file.path());
    *manifest.add_file() = file;
  }
  ShardCluster::WriteManifest(folder, manifest);
  ServerContent content;
  for (std::uint32_t t = 0; t < 2; ++t) content.tables[t] = ReadTable(folder, t);
  auto reader = ShardReader::Open(folder, manifest, 0);
  EXPECT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ((*reader)->ForEachDenseChunk([&](const DenseChunkView& chunk) {
    content.dense[{std::string(chunk.tensor), chunk.chunk}] = {
        {chunk.value.begin(), chunk.value.end()},
        {chunk.state.begin(), chunk.state.end()},
        chunk.metadata};
    return true;
  }),
            OkStatus());
  std::filesystem::remove_all(folder);
  return content;
}

inline std::unique_ptr<PsCore> MakeServer(const proto::JobConfig& job, const std::string& folder) {
  auto core = PsCore::Make(job, {.folder = folder});
  EXPECT_TRUE(core.ok()) << core.status();
  return std::move(*core);
}
inline Status Recover(PsCore& core) {
  proto::RestoreReply reply;
  return core.Recover(&reply);
}
inline Status Restore(PsCore& core, const std::string& checkpoint = "") {
  proto::RestoreReply reply;
  return core.Restore(checkpoint, &reply);
}
inline proto::PsStatsReply StatsOf(const PsCore& core) {
  proto::PsStatsReply stats;
  core.Stats(&stats);
  return stats;
}

}  // namespace cairn::ps
