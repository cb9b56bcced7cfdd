// Parameter servers without transport, in one process: pushes and pulls are split by slot as a
// client would, and a checkpoint of all servers is written as the coordinator would.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "common/io/checksum.h"
#include "common/io/file.h"
#include "common/math/rng.h"
#include "google/protobuf/text_format.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"
#include "proto/ps_service.pb.h"
#include "ps/checkpoint/manifest.h"
#include "ps/checkpoint/reader.h"
#include "ps/optim/optimizers.h"
#include "ps/server/ps_core.h"
#include "ps/table/storage.h"

namespace cairn::ps {

// A folder that goes when the test ends.
class TempFolder {
 public:
  TempFolder() {
    std::string pattern = testing::TempDir() + "cairn_ps_XXXXXX";
    path_ = mkdtemp(pattern.data());
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline proto::JobConfig ParseJob(const std::string& text) {
  proto::JobConfig job;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &job)) << text;
  return job;
}

// Two tables, with different widths and optimizers.
inline proto::JobConfig TwoTables() {
  return ParseJob(R"(
    seed: 7
    table { name: "user" dim: 8 optimizer { adagrad { learning_rate: 0.1 } } }
    table { name: "item" dim: 3 l2: 0.01 optimizer { adam { learning_rate: 0.05 } } }
    dense { l2: 0.02 optimizer { adam { learning_rate: 0.01 } } })");
}

inline std::vector<DenseTensorSpec> SmallModel() {
  return {{.name = "w", .dims = {300, 100}, .is_weight = true},
          {.name = "b", .dims = {100}},
          {.name = "mean", .dims = {100}, .is_statistic = true, .momentum = 0.25f}};
}

// Everything that a row is.
struct RowContent {
  std::vector<float> value, state;
  RowMetadata metadata;
  bool operator==(const RowContent&) const = default;
};
using TableContent = std::map<std::uint64_t, RowContent>;

class ShardCluster {
 public:
  ShardCluster(const proto::JobConfig& job, std::uint32_t count, const TempFolder& folder,
               const std::string& name)
      : job_(job) {
    for (std::uint32_t p = 0; p < count; ++p) {
      const PsOptions options{
          .ps = p, .ps_count = count, .folder = folder / (name + std::to_string(p))};
      auto core = PsCore::Make(job, options);
      EXPECT_TRUE(core.ok()) << core.status();
      cores_.push_back(std::move(*core));
    }
  }

  PsCore& core(std::size_t p) { return *cores_[p]; }
  std::size_t size() const { return cores_.size(); }

  Status Restore(const std::string& checkpoint, std::uint64_t* rows = nullptr) {
    if (rows != nullptr) *rows = 0;
    for (auto& core : cores_) {
      proto::RestoreReply reply;
      RETURN_IF_ERROR(core->Restore(checkpoint, &reply));
      if (rows != nullptr) *rows += reply.rows();
    }
    return OkStatus();
  }

  // One push of a table; gradients: [keys, dim].
  Status Push(std::uint32_t table, const std::vector<std::uint64_t>& keys,
              const std::vector<float>& gradients) {
    const std::size_t dim = gradients.size() / keys.size();
    for (auto& core : cores_) {
      std::vector<std::uint64_t> ours;
      std::vector<float> grads;
      for (std::size_t i = 0; i < keys.size(); ++i) {
        if (!core->Owns(keys[i])) continue;
        ours.push_back(keys[i]);
        grads.insert(grads.end(), gradients.begin() + static_cast<std::ptrdiff_t>(i * dim),
                     gradients.begin() + static_cast<std::ptrdiff_t>((i + 1) * dim));
      }
      const RowsUpdate update{table, ours, grads.data()};
      RETURN_IF_ERROR(core->Push({&update, 1}, {}, {}, 1));
    }
    return OkStatus();
  }

  std::vector<float> Pull(std::uint32_t table, const std::vector<std::uint64_t>& keys,
                          AbsentRow absent = AbsentRow::kInitialValue) {
    const std::size_t dim = job_.table(static_cast<int>(table)).dim();
    std::vector<float> out(keys.size() * dim);
    for (auto& core : cores_) {
      std::vector<std::uint64_t> ours;
      std::vector<std::size_t> at;
      for (std::size_t i = 0; i < keys.size(); ++i) {
        if (!core->Owns(keys[i])) continue;
        ours.push_back(keys[i]);
        at.push_back(i);
      }
      std::vector<float> values(ours.size() * dim);
      const RowsRead read{table, ours, values.data()};
      EXPECT_EQ(core->Pull({&read, 1}, absent), OkStatus());
      for (std::size_t i = 0; i < at.size(); ++i) {
        std::copy_n(values.data() + i * dim, dim, out.data() + at[i] * dim);
      }
    }
    return out;
  }

  // Registers a layout and gives every chunk values drawn from its tensor's number.
  Status InitDense(const std::vector<DenseTensorSpec>& layout) {
    for (auto& core : cores_) {
      RETURN_IF_ERROR(core->RegisterDense(layout));
      RETURN_IF_ERROR(WithDenseChunks(*core, layout, 17, [&](const DenseChunkUpdate& chunk) {
        return core->InitDense({&chunk, 1});
      }));
    }
    return OkStatus();
  }
  // One step of all dense chunks with gradients drawn from `seed`.
  Status PushDense(const std::vector<DenseTensorSpec>& layout, std::uint64_t seed) {
    for (auto& core : cores_) {
      RETURN_IF_ERROR(WithDenseChunks(*core, layout, seed, [&](const DenseChunkUpdate& chunk) {
        return core->Push({}, {&chunk, 1}, {}, 1);
      }));
    }
    return OkStatus();
  }
  // All dense values, by (tensor, chunk).
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::vector<float>> PullDense(
      const std::vector<DenseTensorSpec>& layout) {
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::vector<float>> out;
    for (auto& core : cores_) {
      for (const auto& [tensor, chunk] : core->OwnedDenseChunks()) {
        std::vector<float>& values = out[{tensor, chunk}];
        values.resize(FloatsOfChunk(layout[tensor], chunk));
        const DenseChunkRead read{tensor, chunk, values};
        EXPECT_EQ(core->PullDense({&read, 1}), OkStatus());
      }
    }
    return out;
  }

  // A checkpoint of all servers with its manifest.
  proto::CheckpointManifest Checkpoint(const std::string& folder) {
    EXPECT_EQ(MakeFolders(folder), OkStatus());
    proto::CheckpointManifest manifest;
    manifest.set_slot_bits(10);
    for (const proto::TableConfig& table : job_.table()) {
      const auto optimizer = MakeOptimizer(table.optimizer()).value();
      proto::TableEntry* const entry = manifest.add_table();
      entry->set_name(table.name());
      entry->set_dim(table.dim());
      entry->set_optimizer(std::string(optimizer->name()));
      entry->set_state_floats(static_cast<std::uint32_t>(optimizer->StateSize(table.dim())));
      SetStorage(StorageOf(table), entry);
    }
    for (std::size_t p = 0; p < cores_.size(); ++p) {
      const std::string name = "ps-000" + std::to_string(p);
      proto::SnapshotReply reply;
      EXPECT_EQ(cores_[p]->Snapshot(folder + "/" + name, &reply), OkStatus());
      if (p == 0) *manifest.mutable_dense() = reply.dense();
      *manifest.add_shard() = reply.shard();
      manifest.mutable_shard(static_cast<int>(p))->set_folder(name);
      for (int t = 0; t < manifest.table_size(); ++t) {
        manifest.mutable_table(t)->set_rows(manifest.table(t).rows() + reply.shard().rows(t));
      }
      for (proto::FileEntry file : reply.file()) {
        file.set_path(name + "/" + file.path());
        *manifest.add_file() = file;
      }
    }
    WriteManifest(folder, manifest);
    return manifest;
  }

  static void WriteManifest(const std::string& folder, const proto::CheckpointManifest& manifest) {
    std::string text;
    EXPECT_TRUE(google::protobuf::TextFormat::PrintToString(manifest, &text));
    EXPECT_EQ(WriteFileAtomically(folder + "/" + std::string(kManifestFile), SealText(text)),
              OkStatus());
  }

  static std::size_t FloatsOfChunk(const DenseTensorSpec& spec, std::uint32_t chunk) {
    std::size_t floats = 1;
    for (const std::uint32_t dim : spec.dims) floats *= dim;
    return std::min<std::size_t>(16384, floats - chunk * std::size_t{16384});
  }

 private:
  template <typename Use>
  static Status WithDenseChunks(PsCore& core, const std::vector<DenseTensorSpec>& layout,
                                std::uint64_t seed, Use use) {
    for (const auto& [tensor, chunk] : core.OwnedDenseChunks()) {
      std::vector<float> values(FloatsOfChunk(layout[tensor], chunk));
      FillUniform(seed, tensor * 1000 + chunk, -1, 1, values);
      RETURN_IF_ERROR(use(DenseChunkUpdate{tensor, chunk, values}));
    }
    return OkStatus();
  }

  const proto::JobConfig job_;
  std::vector<std::unique_ptr<PsCore>> cores_;
};

// All rows of a table over all shards of a checkpoint.
inline TableContent ReadTable(const std::string& checkpoint, std::uint32_t table) {
  proto::CheckpointManifest manifest;
  EXPECT_EQ(ReadManifest(checkpoint, &manifest), OkStatus());
  EXPECT_EQ(VerifyFiles(checkpoint, manifest, ""), OkStatus());
  TableContent rows;
  for (int s = 0; s < manifest.shard_size(); ++s) {
    auto reader = ShardReader::Open(checkpoint, manifest, static_cast<std::size_t>(s));
    EXPECT_TRUE(reader.ok()) << reader.status();
    EXPECT_EQ((*reader)->ForEachRow(table,
                                    [&](const RowView& row) {
                                      const RowContent content{{row.value.begin(), row.value.end()},
                                                               {row.state.begin(), row.state.end()},
                                                               row.metadata};
                                      EXPECT_TRUE(rows.emplace(row.key, content).second)
                                          << "key " << row.key << " twice";
                                      return true;
                                    }),
              OkStatus());
  }
  return rows;
}

inline std::vector<std::uint64_t> Keys(std::uint64_t seed, std::size_t n) {
  Rng rng(seed, 1);
  std::vector<std::uint64_t> keys(n);
  for (auto& key : keys) key = rng.NextU64();
  return keys;
}

inline std::vector<float> Gradients(std::uint64_t seed, std::size_t n) {
  std::vector<float> gradients(n);
  FillUniform(seed, 2, -1, 1, gradients);
  return gradients;
}

}  // namespace cairn::ps
