#include "ps/checkpoint/load.h"

#include <algorithm>

#include <glog/logging.h>

#include "proto/checkpoint.pb.h"
#include "ps/checkpoint/reader.h"

namespace cairn::ps {
namespace {

// Slot ranges of different numbers of bits are compared in units of 2^-16 of the key space.
struct Span16 {
  std::uint32_t begin, end;
};
Span16 InUnits(std::uint32_t first, std::uint32_t count, int bits) {
  return {first << (16 - bits), (first + count) << (16 - bits)};
}

EmbeddingTable* FindTable(std::span<const std::unique_ptr<EmbeddingTable>> tables,
                          const std::string& name) {
  const auto found = std::ranges::find_if(tables, [&](const auto& t) { return t->name() == name; });
  return found == tables.end() ? nullptr : found->get();
}

Status CheckTable(const proto::TableEntry& stored, const EmbeddingTable& table) {
  const RowLayout& layout = table.layout();
  if (StorageOf(stored) != layout.storage()) {
    return absl::FailedPreconditionError(
        StrCat("table ", stored.name(), ": the checkpoint keeps values as ", stored.storage(),
               ", the job wants ", StorageName(layout.storage()), " (table.storage)"));
  }
  if (stored.dim() == layout.dim() && stored.optimizer() == table.optimizer().name() &&
      stored.state_floats() == layout.state_floats()) {
    return OkStatus();
  }
  return absl::FailedPreconditionError(StrCat(
      "table ", stored.name(), ": the checkpoint has rows of dim ", stored.dim(), " with ",
      stored.optimizer(), " (", stored.state_floats(), " floats of state), the job wants dim ",
      layout.dim(), " with ", table.optimizer().name(), " (", layout.state_floats(), ")"));
}

// One shard at a time.
class Loader {
 public:
  Loader(const proto::CheckpointManifest& manifest,
         std::span<const std::unique_ptr<EmbeddingTable>> tables, DenseParameters& dense,
         const SlotRange& slots, bool dirty, const std::function<Status()>& loaded)
      : manifest_(manifest), dense_(dense), slots_(slots), dirty_(dirty), loaded_(loaded) {
    for (const proto::TableEntry& table : manifest.table()) {
      tables_.push_back({FindTable(tables, table.name()), {}, {}});
    }
  }

  Status LoadShard(const std::string& checkpoint, std::size_t index) {
    const proto::ShardEntry& shard = manifest_.shard(static_cast<int>(index));
    ASSIGN_OR_RETURN(const auto reader, ShardReader::Open(checkpoint, manifest_, index));
    const Result<std::uint64_t> pushes = reader->PushCount();
    if (!pushes.ok() && !absl::IsNotFound(pushes.status())) return pushes.status();
    counts_.last_step = std::max(counts_.last_step, pushes.value_or(0));
    std::uint32_t first = shard.first_slot(), last = shard.last_slot();
    if (static_cast<int>(manifest_.slot_bits()) == slots_.bits) {
      first = std::max(first, slots_.first);
      last = std::min(last, slots_.first + slots_.count - 1);
    }
    std::vector<std::uint64_t> read(tables_.size());
    RETURN_IF_ERROR(
        reader->ForEachRowOfSlots(first, last, [&](std::uint32_t table, const RowView& row) {
          ++read[table];
          LoadRow(tables_[table], row);
          return status_.ok();
        }));
    for (Waiting& waiting : tables_) LoadWaiting(waiting);
    RETURN_IF_ERROR(status_);
    const bool whole = first == shard.first_slot() && last == shard.last_slot();
    for (std::size_t t = 0; whole && t < read.size(); ++t) {
      const std::uint64_t wanted = shard.rows(static_cast<int>(t));
      if (read[t] == wanted) continue;
      return absl::DataLossError(StrCat(checkpoint, "/", shard.folder(), ": table ",
                                        manifest_.table(static_cast<int>(t)).name(), " has ",
                                        read[t], " rows, the manifest says ", wanted));
    }
    return LoadDense(*reader, StrCat(checkpoint, "/", shard.folder()), shard);
  }

  const LoadCounts& counts() const { return counts_; }

 private:
  // Rows of one table on their way into it.
  struct Waiting {
    EmbeddingTable* table;  // null: not in the job
    std::vector<std::uint64_t> keys;
    std::vector<std::byte> records;
  };
  static constexpr std::size_t kRowsAtOnce = 8192;

  void LoadRow(Waiting& waiting, const RowView& row) {
    if (waiting.table == nullptr || !slots_.HasMixed(MixedKey(row.key))) return;
    waiting.keys.push_back(row.key);
    waiting.records.insert(waiting.records.end(), row.record.begin(), row.record.end());
    if (waiting.keys.size() == kRowsAtOnce) LoadWaiting(waiting);
    ++counts_.rows;
    counts_.last_step = std::max(counts_.last_step, row.metadata.last_step);
  }

  void LoadWaiting(Waiting& waiting) {
    if (waiting.keys.empty()) return;
    CHECK(!groups_.Build(waiting.keys, slots_).has_value());
    waiting.table->Load(groups_, waiting.records.data(), dirty_);
    waiting.keys.clear();
    waiting.records.clear();
    if (loaded_ && status_.ok()) status_ = loaded_();
  }

  Status LoadDense(const ShardReader& reader, const std::string& folder,
                   const proto::ShardEntry& shard) {
    Status status;
    std::uint64_t chunks = 0;
    RETURN_IF_ERROR(reader.ForEachDenseChunk([&](const DenseChunkView& chunk) {
      ++chunks;
      const std::uint64_t key = DenseChunkKey(chunk.tensor, chunk.chunk);
      if (!slots_.HasMixed(MixedKey(key))) return true;
      const std::string_view body(reinterpret_cast<const char*>(chunk.record.data()),
                                  chunk.record.size());
      status = dense_.Load(
          {static_cast<std::uint16_t>(chunk.slot), std::string(chunk.tensor), chunk.chunk},
          {RowLayout(chunk.value.size(), chunk.state.size()), body}, dirty_);
      counts_.last_step = std::max(counts_.last_step, chunk.metadata.last_step);
      return status.ok();
    }));
    RETURN_IF_ERROR(status, folder);
    if (chunks == shard.dense_chunks()) return OkStatus();
    return absl::DataLossError(
        StrCat(folder, " has ", chunks, " dense chunks, the manifest says ", shard.dense_chunks()));
  }

  const proto::CheckpointManifest& manifest_;
  DenseParameters& dense_;
  const SlotRange slots_;
  const bool dirty_;
  const std::function<Status()>& loaded_;
  Status status_;                // of loaded_
  std::vector<Waiting> tables_;  // by the checkpoint's numbers
  KeyGroups groups_;
  LoadCounts counts_;
};

}  // namespace

Result<LoadPlan> PlanLoad(const proto::CheckpointManifest& manifest,
                          std::span<const std::unique_ptr<EmbeddingTable>> tables,
                          const SlotRange& slots) {
  for (const proto::TableEntry& stored : manifest.table()) {
    const EmbeddingTable* const table = FindTable(tables, stored.name());
    if (table != nullptr) {
      RETURN_IF_ERROR(CheckTable(stored, *table));
    } else {
      LOG(WARNING) << "the job has no table " << stored.name() << "; its " << stored.rows()
                   << " rows in the checkpoint are left out";
    }
  }
  const bool same_tables =
      std::ranges::equal(manifest.table(), tables, {}, &proto::TableEntry::name,
                         [](const auto& table) { return table->name(); });
  const int stored_bits = static_cast<int>(manifest.slot_bits());
  const Span16 ours = InUnits(slots.first, slots.count, slots.bits);
  LoadPlan plan;
  for (std::size_t i = 0; i < static_cast<std::size_t>(manifest.shard_size()); ++i) {
    const proto::ShardEntry& shard = manifest.shard(static_cast<int>(i));
    const std::uint32_t count = shard.last_slot() - shard.first_slot() + 1;
    const Span16 theirs = InUnits(shard.first_slot(), count, stored_bits);
    if (theirs.begin >= ours.end || ours.begin >= theirs.end) continue;
    plan.shards.push_back(i);
    if (same_tables && stored_bits == slots.bits && shard.first_slot() == slots.first &&
        count == slots.count) {
      plan.identical = i;
    }
  }
  return plan;
}

Result<LoadCounts> LoadShards(const std::string& checkpoint,
                              const proto::CheckpointManifest& manifest, const LoadPlan& plan,
                              std::span<const std::unique_ptr<EmbeddingTable>> tables,
                              DenseParameters& dense, const SlotRange& slots, bool dirty,
                              const std::function<Status()>& loaded) {
  std::vector<const proto::DenseTensorEntry*> expected;
  for (const proto::DenseTensorEntry& entry : manifest.dense()) expected.push_back(&entry);
  dense.Expect(expected);
  Loader loader(manifest, tables, dense, slots, dirty, loaded);
  for (const std::size_t shard : plan.shards) {
    RETURN_IF_ERROR(loader.LoadShard(checkpoint, shard));
  }
  return loader.counts();
}

}  // namespace cairn::ps
