#include "launch/inspect/shard_scan.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <span>
#include <utility>

#include "common/math/hash.h"
#include "proto/checkpoint.pb.h"
#include "ps/checkpoint/reader.h"

namespace cairn::launch {
namespace {

bool AllFinite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
}

// Counts equal mistakes and remembers the first of each.
class Mistakes {
 public:
  void Add(const std::string& kind, const std::string& first) {
    auto [entry, is_new] = found_.try_emplace(kind, first, 0);
    ++entry->second.second;
    if (is_new) order_.push_back(kind);
  }
  void AppendTo(std::vector<std::string>& problems) const {
    for (const std::string& kind : order_) {
      const auto& [first, count] = found_.at(kind);
      problems.push_back(
          StrCat(kind, ": ", first, count > 1 ? StrCat(" and ", count - 1, " more") : ""));
    }
  }

 private:
  std::map<std::string, std::pair<std::string, std::uint64_t>> found_;
  std::vector<std::string> order_;
};

class Scanner {
 public:
  Scanner(const proto::CheckpointManifest& manifest, std::size_t index)
      : manifest_(manifest),
        entry_(manifest.shard(static_cast<int>(index))),
        rows_(static_cast<std::size_t>(manifest.table_size()), 0) {
    scan_.dense_elements.resize(static_cast<std::size_t>(manifest.dense_size()), 0);
  }

  ShardScan Scan(const ps::ShardReader& shard) {
    Note(shard.VerifyBlocks());
    Note(shard.ForEachRowOfSlots(0, Slots() - 1,
                                 [this](std::uint32_t table, const ps::RowView& row) {
                                   OnRow(table, row);
                                   return true;
                                 }));
    Note(shard.ForEachDenseChunk([this](const ps::DenseChunkView& chunk) {
      OnChunk(chunk);
      return true;
    }));
    // After a read error the counts say nothing new.
    if (scan_.problems.empty()) CompareCounts();
    mistakes_.AppendTo(scan_.problems);
    return std::move(scan_);
  }

 private:
  std::uint32_t Slots() const { return 1u << std::min(manifest_.slot_bits(), 16u); }

  void Note(const Status& status) {
    const std::string message(status.message());
    if (!status.ok() &&
        std::find(scan_.problems.begin(), scan_.problems.end(), message) == scan_.problems.end()) {
      scan_.problems.push_back(message);
    }
  }

  bool IsInPlace(std::uint64_t key, std::uint32_t slot) const {
    return slot == SlotOf(key, static_cast<int>(manifest_.slot_bits())) &&
           slot >= entry_.first_slot() && slot <= entry_.last_slot();
  }

  void OnRow(std::uint32_t table, const ps::RowView& row) {
    ++scan_.rows;
    if (table >= rows_.size()) {
      mistakes_.Add("row of a table that the manifest lacks",
                    StrCat("table ", table, " key ", row.key));
      return;
    }
    ++rows_[table];
    const std::string& name = manifest_.table(static_cast<int>(table)).name();
    if (!AllFinite(row.value)) {
      mistakes_.Add(StrCat("row of table ", name, " with a value that is not finite"),
                    StrCat("key ", row.key));
    }
    if (!AllFinite(row.state)) {
      mistakes_.Add(StrCat("row of table ", name, " with optimizer state that is not finite"),
                    StrCat("key ", row.key));
    }
    if (!IsInPlace(row.key, row.slot)) {
      mistakes_.Add(StrCat("row of table ", name, " in a slot that cannot be its own"),
                    StrCat("key ", row.key, " slot ", row.slot));
    }
  }

  void OnChunk(const ps::DenseChunkView& chunk) {
    ++scan_.dense_chunks;
    const std::string tensor(chunk.tensor);
    const std::string name = StrCat("chunk ", chunk.chunk);
    const auto found =
        std::find_if(manifest_.dense().begin(), manifest_.dense().end(),
                     [&](const proto::DenseTensorEntry& entry) { return entry.name() == tensor; });
    if (found == manifest_.dense().end()) {
      mistakes_.Add(StrCat("dense tensor ", tensor, " that the manifest lacks"), name);
      return;
    }
    scan_.dense_elements[static_cast<std::size_t>(found - manifest_.dense().begin())] +=
        chunk.value.size();
    if (!AllFinite(chunk.value) || !AllFinite(chunk.state)) {
      mistakes_.Add(StrCat("dense tensor ", tensor, " with a value that is not finite"), name);
    }
    if (!IsInPlace(DenseChunkKey(tensor, chunk.chunk), chunk.slot)) {
      mistakes_.Add(StrCat("dense tensor ", tensor, " in a slot that cannot be its own"),
                    StrCat(name, " slot ", chunk.slot));
    }
  }

  void CompareCounts() {
    for (int t = 0; t < manifest_.table_size() && t < entry_.rows_size(); ++t) {
      if (rows_[static_cast<std::size_t>(t)] == entry_.rows(t)) continue;
      scan_.problems.push_back(StrCat("table ", manifest_.table(t).name(), " has ",
                                      rows_[static_cast<std::size_t>(t)],
                                      " rows, the manifest says ", entry_.rows(t)));
    }
    if (scan_.dense_chunks != entry_.dense_chunks()) {
      scan_.problems.push_back(StrCat("there are ", scan_.dense_chunks,
                                      " dense chunks, the manifest says ", entry_.dense_chunks()));
    }
  }

  const proto::CheckpointManifest& manifest_;
  const proto::ShardEntry& entry_;
  std::vector<std::uint64_t> rows_;  // per table
  Mistakes mistakes_;
  ShardScan scan_;
};

}  // namespace

ShardScan ScanShard(const std::string& folder, const proto::CheckpointManifest& manifest,
                    std::size_t index, const ShardOpener& open_shard) {
  const auto shard = open_shard(folder, manifest, index);
  if (shard.ok()) return Scanner(manifest, index).Scan(**shard);
  ShardScan failed;
  failed.dense_elements.resize(static_cast<std::size_t>(manifest.dense_size()), 0);
  failed.problems.emplace_back(shard.status().message());
  return failed;
}

std::vector<std::string> CheckDenseElements(const proto::CheckpointManifest& manifest,
                                            const std::vector<ShardScan>& scans) {
  std::vector<std::string> problems;
  for (int i = 0; i < manifest.dense_size(); ++i) {
    const proto::DenseTensorEntry& tensor = manifest.dense(i);
    std::uint64_t expected = 1, found = 0;
    for (const std::uint32_t dim : tensor.dim()) expected *= dim;
    for (const ShardScan& scan : scans) found += scan.dense_elements[static_cast<std::size_t>(i)];
    if (found != expected) {
      problems.push_back(StrCat("dense tensor ", tensor.name(), " has ", found,
                                " elements in all shards, its shape says ", expected));
    }
  }
  return problems;
}

}  // namespace cairn::launch
