// The part of PsCore that saves the state of a server and restores it from checkpoints.
#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/ps_service.pb.h"
#include "ps/checkpoint/flush.h"
#include "ps/checkpoint/manifest.h"
#include "ps/checkpoint/reader.h"
#include "ps/server/ps_core_impl.h"

namespace cairn::ps {
namespace {

constexpr std::uint64_t kMiB = 1u << 20;

}  // namespace

Status PsCoreImpl::Snapshot(const std::string& folder, proto::SnapshotReply* reply) {
  // The snapshot says how many rows it has. Most of the wait is without the lock.
  FinishCounting(/*is_wanted=*/true).IgnoreError();
  WriteLock lock(state_lock_);
  RETURN_IF_ERROR(CheckReady());
  RETURN_IF_ERROR(FinishCounting(/*is_wanted=*/true), "counting the rows of the database");
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
  dense_saved_ = OkStatus();
  if (log_ == nullptr) return OkStatus();
  const Status dropped = log_->DropThrough(flushed_step_);  // else the keeper does it later
  if (!dropped.ok()) LOG(WARNING) << "server " << options_.ps << ": after a snapshot: " << dropped;
  return OkStatus();
}

void PsCoreImpl::Close() {
  FinishCounting(/*is_wanted=*/false).IgnoreError();  // it reads the database
  store_ = nullptr;
  log_ = nullptr;
  is_cold_ = false;
  MutexLock lock(broken_mu_);
  broken_ = OkStatus();
  is_broken_.store(false, std::memory_order_release);
  dense_saved_ = OkStatus();
}

Status PsCoreImpl::WriteSnapshot(const std::string& folder, proto::SnapshotReply* reply) {
  RETURN_IF_ERROR(FlushDirty(model_.tables, *model_.dense, slots_, *store_));
  RETURN_IF_ERROR(SaveAdmissions());
  RETURN_IF_ERROR(store_->Flush());
  flushed_step_ = step_;
  RETURN_IF_ERROR(WriteState());
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
  ++generation_;
  Close();
  ASSIGN_OR_RETURN(model_, MakeModel(job_, slots_));
  ledger_.Clear();
  files_.Forget();
  step_ = 0;
  reply->Clear();
  reply->set_rows(0);
  Status loaded = LoadCheckpoint(checkpoint, manifest, plan, reply);
  if (loaded.ok()) LoadAdmissions(checkpoint, manifest, plan);
  if (loaded.ok() && !layout.empty()) loaded = model_.dense->Register(layout);
  if (loaded.ok()) loaded = OpenLog();
  if (!loaded.ok()) Close();  // half a model serves nobody
  return loaded;
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
  if (tier_.is_bounded() && plan.identical.has_value()) {
    // A checkpoint of an older version has no state: it is read as a whole.
    proto::ServerState state;
    const Status read = ReadState(&state);
    if (!read.ok() && read.code() != absl::StatusCode::kNotFound) return read;
    if (read.ok()) {
      const proto::ShardEntry& shard = manifest.shard(static_cast<int>(*plan.identical));
      RETURN_IF_ERROR(AdoptShard(manifest, shard, state));
      for (const std::uint64_t rows : shard.rows()) reply->set_rows(reply->rows() + rows);
      return OkStatus();
    }
  }
  ASSIGN_OR_RETURN(const LoadCounts counts,
                   LoadShards(checkpoint, manifest, plan, model_.tables, *model_.dense, slots_,
                              /*dirty=*/!plan.identical.has_value(),
                              [this]() NO_THREAD_SAFETY_ANALYSIS { return SpillIfFull(); }));
  step_ = counts.last_step;
  reply->set_rows(counts.rows);
  return OkStatus();
}

Status PsCoreImpl::AdoptShard(const proto::CheckpointManifest& manifest,
                              const proto::ShardEntry& shard, const proto::ServerState& state) {
  for (std::size_t t = 0; t < model_.tables.size(); ++t) {
    model_.tables[t]->AddColdRows(static_cast<std::int64_t>(shard.rows(static_cast<int>(t))));
  }
  step_ = state.step();
  RETURN_IF_ERROR(LoadTablesThatStepWhole());
  return LoadDense(manifest.dense());
}

Status PsCoreImpl::ResetStore(const std::string& copy_of) {
  // Whatever moment the process dies at, Recover must find a whole state or none: without CURRENT
  // there is none, and without a log neither. So this goes first, and the log comes last (OpenLog).
  RETURN_IF_ERROR(RemoveTree(JoinPath(LiveFolder(), kCurrent)));
  if (PathExists(LiveFolder())) RETURN_IF_ERROR(SyncFolder(LiveFolder()));
  RETURN_IF_ERROR(RemoveTree(LogFolder()));
  RETURN_IF_ERROR(SyncFolder(options_.folder));
  RETURN_IF_ERROR(RemoveTree(LiveFolder()));
  RETURN_IF_ERROR(MakeFolders(LiveFolder()));
  if (!copy_of.empty()) RETURN_IF_ERROR(LinkShard(copy_of, LiveFolder()));
  return OpenStore();
}

Status PsCoreImpl::OpenStore() {
  RocksStoreOptions options;
  options.reserve_bytes = job_.server().disk_reserve_mib() * kMiB;
  if (tier_.is_bounded()) options.FitTo(job_.server().memory_mib() * kMiB);
  ASSIGN_OR_RETURN(store_, OpenRocksStore(LiveFolder(), options));
  tier_.MeasureRest(model_.tables, *store_);
  store_rows_.clear();
  for (std::size_t t = 0; t < model_.tables.size(); ++t) {
    store_rows_.push_back(
        std::make_unique<StoreRows>(store_.get(), static_cast<std::uint16_t>(t), slots_));
    // Without a limit no row leaves memory, and an absent one need not be looked for.
    if (tier_.is_bounded()) model_.tables[t]->SetStore(store_rows_.back().get(), 0);
  }
  return OkStatus();
}

// The log goes on behind step_, and what it will not hold is made durable.
Status PsCoreImpl::OpenLog() {
  flushed_step_ = step_;
  ResetGates(step_ + 1);
  if (!durability_.logged) return OkStatus();
  RETURN_IF_ERROR(FlushDirty(model_.tables, *model_.dense, slots_, *store_));
  RETURN_IF_ERROR(SaveAdmissions());
  for (const auto& table : model_.tables) table->MarkAllClean();
  model_.dense->MarkAllClean();
  RETURN_IF_ERROR(store_->Flush());
  RETURN_IF_ERROR(WriteState());
  ASSIGN_OR_RETURN(log_, PushLog::Open(LogFolder(), LogOptions()));
  return log_->AdvanceTo(step_ + 1);
}

PushLogOptions PsCoreImpl::LogOptions() const {
  PushLogOptions options;
  options.sync = durability_.synced;
  options.segment_bytes = job_.server().log_mib() * kMiB / 4;
  options.reserve_bytes = job_.server().disk_reserve_mib() * kMiB;
  return options;
}

Status PsCoreImpl::SpillIfFull() {
  // Where nothing can leave, a server that has too much in memory is better than none.
  for (int idle = 0; idle < kRoundsWithoutGain && tier_.IsFull(model_.tables);) {
    RETURN_IF_ERROR(tier_.WriteBack(model_.tables, slots_, *store_, step_));
    idle = tier_.Drop(model_.tables) > 0 ? 0 : idle + 1;
  }
  return OkStatus();
}

Status PsCoreImpl::LoadDense(
    const google::protobuf::RepeatedPtrField<proto::DenseTensorEntry>& entries) {
  std::vector<const proto::DenseTensorEntry*> expected;
  for (const proto::DenseTensorEntry& entry : entries) expected.push_back(&entry);
  model_.dense->Expect(expected);
  Status status;
  RETURN_IF_ERROR(store_->Scan(Family::kDense, {}, {}, [&](const StoreRecord& stored) {
    status = LoadDenseChunk(stored);
    return status.ok();
  }));
  return status;
}

Status PsCoreImpl::LoadDenseChunk(const StoreRecord& stored) {
  ASSIGN_OR_RETURN(const DenseKey key, DecodeDenseKey(stored.key));
  ASSIGN_OR_RETURN(const DenseRecord record, DecodeDenseRecord(stored.value));
  return model_.dense->Load(key, record, /*dirty=*/false);
}

Status PsCoreImpl::ReadState(proto::ServerState* state) {
  std::string bytes;
  RETURN_IF_ERROR(store_->Get(Family::kMeta, kServerStateKey, &bytes));
  if (state->ParseFromString(bytes)) return OkStatus();
  return absl::DataLossError(StrCat("the state of the server in ", LiveFolder(), " is damaged"));
}

Status PsCoreImpl::WriteState() {
  proto::ServerState state;
  state.set_job_epoch(job_epoch_.load(std::memory_order_relaxed));
  state.set_step(flushed_step_);
  state.set_slot_bits(static_cast<std::uint32_t>(slots_.bits));
  state.set_first_slot(slots_.first);
  state.set_last_slot(slots_.first + slots_.count - 1);
  for (const auto& table : model_.tables) {
    proto::TableEntry* const entry = state.add_table();
    entry->set_name(table->name());
    entry->set_dim(static_cast<std::uint32_t>(table->layout().dim()));
    entry->set_optimizer(std::string(table->optimizer().name()));
    entry->set_state_floats(static_cast<std::uint32_t>(table->layout().state_floats()));
    SetStorage(table->layout().storage(), entry);
  }
  for (const proto::DenseTensorEntry& entry : model_.dense->Describe()) *state.add_dense() = entry;
  if (durability_.logged) {
    for (const DenseTensorSpec& spec : model_.dense->Layout()) {
      proto::DenseLayoutEntry* const entry = state.add_layout();
      entry->set_name(spec.name);
      for (const std::uint32_t dim : spec.dims) entry->add_dim(dim);
      entry->set_is_weight(spec.is_weight);
      entry->set_is_statistic(spec.is_statistic);
      entry->set_momentum(spec.momentum);
    }
    for (const auto& [client, sequence] : ledger_.Save()) {
      proto::ClientState* const entry = state.add_client();
      entry->set_client(client);
      entry->set_sequence(sequence);
    }
  }
  const std::string bytes = state.SerializeAsString();
  std::string stored;  // a snapshot of what did not change brings no new file
  const Status read = store_->Get(Family::kMeta, kServerStateKey, &stored);
  if (!read.ok() && read.code() != absl::StatusCode::kNotFound) return read;
  if (!read.ok() || stored != bytes) {
    RETURN_IF_ERROR(store_->PutSorted(Family::kMeta, 1, kServerStateKey.size() + bytes.size(),
                                      [&](std::size_t) {
                                        return StoreRecord{kServerStateKey, bytes};
                                      }));
    RETURN_IF_ERROR(store_->Flush());
  }
  written_step_ = flushed_step_;
  return OkStatus();
}

Status PsCoreImpl::WriteDense() {
  const auto write = [this]() REQUIRES(state_lock_) -> Status {
    RETURN_IF_ERROR(FlushDense(*model_.dense, *store_));
    RETURN_IF_ERROR(store_->Flush());
    RETURN_IF_ERROR(WriteState());
    model_.dense->MarkAllClean();
    return OkStatus();
  };
  dense_saved_ = SayWhatToDo(Annotate(write(), "writing dense parameters"));
  return dense_saved_;
}

void PsCoreImpl::ResetGates(std::uint64_t next) {
  for (const auto& gate : gates_) gate->Reset(next);
}

}  // namespace cairn::ps
