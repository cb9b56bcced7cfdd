#include "ps/server/ps_core.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <utility>

#include <glog/logging.h>

#include "common/base/mutex.h"
#include "common/io/file.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"
#include "proto/ps_service.pb.h"
#include "ps/checkpoint/flush.h"
#include "ps/checkpoint/load.h"
#include "ps/checkpoint/manifest.h"
#include "ps/checkpoint/shard_files.h"
#include "ps/dense/dense_parameters.h"
#include "ps/optim/finite.h"
#include "ps/server/group_pool.h"
#include "ps/server/process_memory.h"
#include "ps/server/push_ledger.h"
#include "ps/store/folder_lock.h"
#include "ps/store/rocks_store.h"
#include "ps/table/embedding_table.h"

namespace cairn::ps {
namespace {

constexpr std::size_t kMaxTables = 0xffff;

// Slots of server p: [p * slots / count, (p + 1) * slots / count).
SlotRange OwnedSlots(const PsOptions& options) {
  const std::uint64_t slots = 1ull << options.slot_bits;
  const std::uint64_t first = slots * options.ps / options.ps_count;
  const std::uint64_t end = slots * (options.ps + 1ull) / options.ps_count;
  return {options.slot_bits, static_cast<std::uint32_t>(first),
          static_cast<std::uint32_t>(end - first)};
}

Status CheckOptions(const PsOptions& options) {
  if (options.slot_bits < 0 || options.slot_bits > kMaxSlotBits) {
    return absl::InvalidArgumentError(
        StrCat("slot_bits is ", options.slot_bits, ", must be in [0, ", kMaxSlotBits, "]"));
  }
  if (options.ps >= options.ps_count || options.ps_count > 1u << options.slot_bits) {
    return absl::InvalidArgumentError(StrCat("server ", options.ps, " of ", options.ps_count,
                                             " with ", 1u << options.slot_bits, " slots"));
  }
  if (options.folder.empty()) return absl::InvalidArgumentError("the server has no folder");
  return OkStatus();
}

// What Restore replaces as a whole.
struct Model {
  std::vector<std::unique_ptr<EmbeddingTable>> tables;
  std::unique_ptr<DenseParameters> dense;
};

Result<Model> MakeModel(const proto::JobConfig& job, const SlotRange& slots) {
  if (static_cast<std::size_t>(job.table_size()) > kMaxTables) {
    return absl::InvalidArgumentError(
        StrCat("the job has ", job.table_size(), " tables, more than ", kMaxTables));
  }
  Model model;
  for (const proto::TableConfig& config : job.table()) {
    ASSIGN_OR_RETURN(auto table, EmbeddingTable::Make(config, job.seed()));
    model.tables.push_back(std::move(table));
  }
  ASSIGN_OR_RETURN(model.dense, DenseParameters::Make(job.dense(), slots));
  return model;
}

class PsCoreImpl : public PsCore {
 public:
  PsCoreImpl(const proto::JobConfig& job, const PsOptions& options, FolderLock lock, Model model)
      : job_(job),
        options_(options),
        slots_(OwnedSlots(options)),
        folder_lock_(std::move(lock)),
        model_(std::move(model)) {}

  bool Owns(std::uint64_t key) const override { return slots_.HasMixed(MixedKey(key)); }

  Status Pull(std::span<const RowsRead> tables, AbsentRow absent) override;
  Status Push(std::span<const RowsUpdate> tables, std::span<const DenseChunkUpdate> dense,
              PushId id, double learning_rate_scale) override;
  Status RegisterDense(std::span<const DenseTensorSpec> layout) override;
  Status InitDense(std::span<const DenseChunkUpdate> chunks) override;
  Status PullDense(std::span<const DenseChunkRead> chunks) override;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> OwnedDenseChunks() const override {
    ReadLock lock(state_lock_);
    return model_.dense->OwnedChunks();
  }
  Status Snapshot(const std::string& folder, proto::SnapshotReply* reply) override;
  Status Restore(const std::string& checkpoint, proto::RestoreReply* reply) override;
  void Stats(proto::PsStatsReply* reply) const override;

 private:
  std::string LiveFolder() const { return JoinPath(options_.folder, "db"); }

  Status CheckReady() const REQUIRES_SHARED(state_lock_) {
    if (store_ != nullptr) return OkStatus();
    return absl::FailedPreconditionError("the server has no state yet: call Restore first");
  }
  // Counts a refusal.
  Status Refuse(Status status) {
    refused_.fetch_add(1, std::memory_order_relaxed);
    return status;
  }
  // Groups the keys of one table's part of a request.
  Status GroupKeys(std::uint32_t table, std::span<const std::uint64_t> keys, KeyGroups* groups)
      REQUIRES_SHARED(state_lock_);
  // Tables whose rows take part in every push, and that this push does not name.
  void StepUnnamedTables(std::span<const RowsUpdate> named, float learning_rate_scale,
                         std::uint64_t step) REQUIRES_SHARED(state_lock_);
  Status CheckPush(std::span<const RowsUpdate> tables, std::span<const DenseChunkUpdate> dense,
                   double learning_rate_scale, std::vector<KeyGroups>* groups)
      REQUIRES_SHARED(state_lock_);
  Status WriteSnapshot(const std::string& folder, proto::SnapshotReply* reply)
      REQUIRES(state_lock_);
  // Makes the live database empty, or a copy of a stored one.
  Status ResetStore(const std::string& copy_of) REQUIRES(state_lock_);
  Status LoadCheckpoint(const std::string& checkpoint, const proto::CheckpointManifest& manifest,
                        const LoadPlan& plan, proto::RestoreReply* reply) REQUIRES(state_lock_);

  const proto::JobConfig job_;
  const PsOptions options_;
  const SlotRange slots_;
  const FolderLock folder_lock_;

  // Shared by everything that reads or changes rows; held alone by Snapshot and Restore.
  mutable StripeLock state_lock_;
  Model model_ GUARDED_BY(state_lock_);
  std::unique_ptr<RowStore> store_ GUARDED_BY(state_lock_);  // null before Restore
  ShardFileLister files_ GUARDED_BY(state_lock_);

  PushLedger ledger_;
  GroupPool group_pool_;
  std::atomic<std::uint64_t> step_{0};  // pushes applied, over all lives of the model
  std::atomic<std::uint64_t> pulls_{0}, pushes_{0}, refused_{0}, duplicates_{0};
};

Status PsCoreImpl::GroupKeys(std::uint32_t table, std::span<const std::uint64_t> keys,
                             KeyGroups* groups) {
  if (table >= model_.tables.size()) {
    return absl::InvalidArgumentError(
        StrCat("table ", table, " of ", model_.tables.size(), " does not exist"));
  }
  if (const auto foreign = groups->Build(keys, slots_)) {
    return absl::InvalidArgumentError(
        StrCat("table ", model_.tables[table]->name(), ": key ", *foreign, " is in slot ",
               slots_.SlotOfMixed(MixedKey(*foreign)), ", server ", options_.ps, " has slots ",
               slots_.first, " to ", slots_.first + slots_.count - 1));
  }
  return OkStatus();
}

Status PsCoreImpl::Pull(std::span<const RowsRead> tables, AbsentRow absent) {
  ReadLock lock(state_lock_);
  if (Status ready = CheckReady(); !ready.ok()) return Refuse(std::move(ready));
  GroupPool::Lease groups = group_pool_.Take(tables.size());
  for (std::size_t i = 0; i < tables.size(); ++i) {
    Status grouped = GroupKeys(tables[i].table, tables[i].keys, &(*groups)[i]);
    if (!grouped.ok()) return Refuse(std::move(grouped));
  }
  for (std::size_t i = 0; i < tables.size(); ++i) {
    model_.tables[tables[i].table]->Pull(
        (*groups)[i], absent == AbsentRow::kZero ? AbsentValue::kZero : AbsentValue::kInitial,
        tables[i].values);
  }
  pulls_.fetch_add(1, std::memory_order_relaxed);
  return OkStatus();
}

Status PsCoreImpl::CheckPush(std::span<const RowsUpdate> tables,
                             std::span<const DenseChunkUpdate> dense, double learning_rate_scale,
                             std::vector<KeyGroups>* groups) {
  const auto scale = static_cast<float>(learning_rate_scale);
  if (!(scale >= 0) || !std::isfinite(scale)) {
    return absl::InvalidArgumentError(
        StrCat("learning rate scale is ", learning_rate_scale, ", must be finite, not negative"));
  }
  for (std::size_t i = 0; i < tables.size(); ++i) {
    const RowsUpdate& update = tables[i];
    for (std::size_t j = 0; j < i; ++j) {
      if (tables[j].table == update.table) {
        return absl::InvalidArgumentError(
            StrCat("table ", update.table, " occurs twice in one push"));
      }
    }
    RETURN_IF_ERROR(GroupKeys(update.table, update.keys, &(*groups)[i]));
    const EmbeddingTable& table = *model_.tables[update.table];
    const std::size_t dim = table.layout().dim();
    if (const auto twice = (*groups)[i].FindDuplicate()) {
      return absl::InvalidArgumentError(
          StrCat("table ", table.name(), ": key ", *twice, " occurs twice in one push"));
    }
    if (const auto at = FirstNonFinite({update.gradients, update.keys.size() * dim})) {
      return absl::InvalidArgumentError(StrCat("table ", table.name(), ": gradient of key ",
                                               update.keys[*at / dim], " is ",
                                               update.gradients[*at]));
    }
  }
  return model_.dense->Check(dense);
}

Status PsCoreImpl::Push(std::span<const RowsUpdate> tables, std::span<const DenseChunkUpdate> dense,
                        PushId id, double learning_rate_scale) {
  ReadLock lock(state_lock_);
  if (Status ready = CheckReady(); !ready.ok()) return Refuse(std::move(ready));
  Result<PushLedger::Entry> entry = ledger_.Begin(id);
  if (!entry.ok()) return Refuse(entry.status());
  if (entry->is_repeat()) {
    duplicates_.fetch_add(1, std::memory_order_relaxed);
    return OkStatus();
  }
  GroupPool::Lease groups = group_pool_.Take(tables.size());
  Status checked = CheckPush(tables, dense, learning_rate_scale, &*groups);
  if (!checked.ok()) return Refuse(std::move(checked));

  const std::uint64_t step = step_.fetch_add(1, std::memory_order_relaxed) + 1;
  const auto scale = static_cast<float>(learning_rate_scale);
  for (std::size_t i = 0; i < tables.size(); ++i) {
    model_.tables[tables[i].table]->Push((*groups)[i], tables[i].gradients, scale, step);
  }
  StepUnnamedTables(tables, scale, step);
  model_.dense->Apply(dense, scale, step);
  entry->Commit();
  pushes_.fetch_add(1, std::memory_order_relaxed);
  return OkStatus();
}

void PsCoreImpl::StepUnnamedTables(std::span<const RowsUpdate> named, float learning_rate_scale,
                                   std::uint64_t step) {
  for (std::size_t t = 0; t < model_.tables.size(); ++t) {
    if (!model_.tables[t]->updates_all_rows()) continue;
    const bool is_named = std::any_of(named.begin(), named.end(),
                                      [t](const RowsUpdate& update) { return update.table == t; });
    if (!is_named) model_.tables[t]->Push(KeyGroups(), nullptr, learning_rate_scale, step);
  }
}

Status PsCoreImpl::RegisterDense(std::span<const DenseTensorSpec> layout) {
  ReadLock lock(state_lock_);
  RETURN_IF_ERROR(CheckReady());
  return model_.dense->Register(layout);
}

Status PsCoreImpl::InitDense(std::span<const DenseChunkUpdate> chunks) {
  ReadLock lock(state_lock_);
  RETURN_IF_ERROR(CheckReady());
  return model_.dense->Init(chunks);
}

Status PsCoreImpl::PullDense(std::span<const DenseChunkRead> chunks) {
  ReadLock lock(state_lock_);
  RETURN_IF_ERROR(CheckReady());
  return model_.dense->Pull(chunks);
}

Status PsCoreImpl::Snapshot(const std::string& folder, proto::SnapshotReply* reply) {
  WriteLock lock(state_lock_);
  RETURN_IF_ERROR(CheckReady());
  if (PathExists(folder)) {
    return absl::AlreadyExistsError(StrCat("snapshot folder ", folder, " is there already"));
  }
  RETURN_IF_ERROR(MakeFolders(FolderOf(folder)));
  Status written = WriteSnapshot(folder, reply);
  if (!written.ok()) {
    RemoveTree(folder).IgnoreError();  // the first error is the one to report
    return Annotate(written, StrCat("snapshot of server ", options_.ps));
  }
  for (const auto& table : model_.tables) table->MarkAllClean();
  model_.dense->MarkAllClean();
  return OkStatus();
}

Status PsCoreImpl::WriteSnapshot(const std::string& folder, proto::SnapshotReply* reply) {
  RETURN_IF_ERROR(FlushDirty(model_.tables, *model_.dense, slots_, *store_));
  RETURN_IF_ERROR(store_->Snapshot(folder));
  ASSIGN_OR_RETURN(const auto files, files_.List(folder));
  reply->Clear();
  for (const proto::FileEntry& file : files) *reply->add_file() = file;
  for (const proto::DenseTensorEntry& entry : model_.dense->Describe()) *reply->add_dense() = entry;
  proto::ShardEntry* const shard = reply->mutable_shard();
  shard->set_ps(options_.ps);
  shard->set_first_slot(slots_.first);
  shard->set_last_slot(slots_.first + slots_.count - 1);
  for (const auto& table : model_.tables) shard->add_rows(table->Counts().rows);
  shard->set_dense_chunks(model_.dense->ChunkCount());
  return OkStatus();
}

Status PsCoreImpl::Restore(const std::string& checkpoint, proto::RestoreReply* reply) {
  WriteLock lock(state_lock_);
  proto::CheckpointManifest manifest;
  LoadPlan plan;
  // Everything that can be refused is refused before the state goes.
  if (!checkpoint.empty()) {
    RETURN_IF_ERROR(ReadManifest(checkpoint, &manifest));
    ASSIGN_OR_RETURN(plan, PlanLoad(manifest, model_.tables, slots_));
    for (const std::size_t shard : plan.shards) {
      RETURN_IF_ERROR(VerifyFiles(checkpoint, manifest,
                                  manifest.shard(static_cast<int>(shard)).folder() + "/"));
    }
  }
  const auto layout = model_.dense->Layout();
  store_ = nullptr;
  ASSIGN_OR_RETURN(model_, MakeModel(job_, slots_));
  ledger_.Clear();
  files_.Forget();
  step_ = 0;
  reply->Clear();
  reply->set_rows(0);
  const Status loaded = LoadCheckpoint(checkpoint, manifest, plan, reply);
  if (!loaded.ok()) {
    store_ = nullptr;  // half a model serves nobody
    return loaded;
  }
  if (layout.empty()) return OkStatus();
  const Status registered = model_.dense->Register(layout);
  if (!registered.ok()) store_ = nullptr;
  return registered;
}

Status PsCoreImpl::LoadCheckpoint(const std::string& checkpoint,
                                  const proto::CheckpointManifest& manifest, const LoadPlan& plan,
                                  proto::RestoreReply* reply) {
  std::string stored;
  if (plan.identical.has_value()) {
    const std::string& folder = manifest.shard(static_cast<int>(*plan.identical)).folder();
    stored = JoinPath(checkpoint, folder);
    files_.Learn(manifest, folder + "/");
  }
  RETURN_IF_ERROR(ResetStore(stored));
  if (checkpoint.empty()) return OkStatus();
  ASSIGN_OR_RETURN(const LoadCounts counts,
                   LoadShards(checkpoint, manifest, plan, model_.tables, *model_.dense, slots_,
                              /*dirty=*/!plan.identical.has_value()));
  step_ = counts.last_step;
  reply->set_rows(counts.rows);
  return OkStatus();
}

Status PsCoreImpl::ResetStore(const std::string& copy_of) {
  store_ = nullptr;
  RETURN_IF_ERROR(RemoveTree(LiveFolder()));
  RETURN_IF_ERROR(MakeFolders(LiveFolder()));
  if (!copy_of.empty()) RETURN_IF_ERROR(LinkShard(copy_of, LiveFolder()));
  ASSIGN_OR_RETURN(store_, OpenRocksStore(LiveFolder(), {}));
  return OkStatus();
}

void PsCoreImpl::Stats(proto::PsStatsReply* reply) const {
  ReadLock lock(state_lock_);
  reply->Clear();
  reply->set_ps(options_.ps);
  for (const auto& table : model_.tables) {
    const TableCounts counts = table->Counts();
    proto::TableStats* const out = reply->add_table();
    out->set_name(table->name());
    out->set_rows(counts.rows);
    out->set_bytes(counts.bytes);
    out->set_pulled_rows(counts.pulled_rows);
    out->set_pulled_absent(counts.pulled_absent);
    out->set_pushed_rows(counts.pushed_rows);
  }
  reply->set_dense_floats(model_.dense->FloatCount());
  reply->set_pulls(pulls_.load(std::memory_order_relaxed));
  reply->set_pushes(pushes_.load(std::memory_order_relaxed));
  reply->set_refused(refused_.load(std::memory_order_relaxed));
  reply->set_duplicates(duplicates_.load(std::memory_order_relaxed));
  reply->set_rss_bytes(ProcessMemoryBytes());
}

}  // namespace

Result<std::unique_ptr<PsCore>> PsCore::Make(const proto::JobConfig& job,
                                             const PsOptions& options) {
  RETURN_IF_ERROR(CheckOptions(options));
  const SlotRange slots = OwnedSlots(options);
  ASSIGN_OR_RETURN(Model model, MakeModel(job, slots));
  if (const Status made = MakeFolders(options.folder); !made.ok()) {
    return absl::UnavailableError(made.message());
  }
  ASSIGN_OR_RETURN(FolderLock lock, FolderLock::Acquire(options.folder));
  return std::make_unique<PsCoreImpl>(job, options, std::move(lock), std::move(model));
}

}  // namespace cairn::ps
