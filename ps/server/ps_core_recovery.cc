// The part of PsCore that brings a server back which died: the database as it was left, and the
// pushes of the log that it may lack.
#include <algorithm>
#include <future>
#include <utility>

#include <glog/logging.h>

#include "proto/ps_service.pb.h"
#include "ps/log/push_record.h"
#include "ps/server/ps_core_impl.h"

namespace cairn::ps {

Status PsCoreImpl::Recover(proto::RestoreReply* reply) {
  WriteLock lock(state_lock_);
  if (!durability_.logged) {
    return absl::FailedPreconditionError(
        "with durability NONE nothing outlives the process but checkpoints");
  }
  if (!PathExists(JoinPath(LiveFolder(), kCurrent)) || !PathExists(LogFolder())) {
    return absl::FailedPreconditionError(StrCat(
        options_.folder, " holds no whole state of a server, of database and log of pushes"));
  }
  ++generation_;
  Close();
  ASSIGN_OR_RETURN(model_, MakeModel(job_, slots_));
  ledger_.Clear();
  files_.Forget();
  reply->Clear();
  const Status recovered = RecoverState();
  if (!recovered.ok()) Close();
  return Annotate(recovered, StrCat("recovery of server ", options_.ps));
}

Status PsCoreImpl::RecoverState() {
  RETURN_IF_ERROR(OpenStore());
  proto::ServerState state;
  const Status read = ReadState(&state);
  if (read.code() == absl::StatusCode::kNotFound) {
    return absl::FailedPreconditionError(
        StrCat(options_.folder, " holds no complete state: a restore was cut off"));
  }
  RETURN_IF_ERROR(read);
  RETURN_IF_ERROR(CheckState(state));
  for (std::size_t t = 0; t < model_.tables.size(); ++t) {
    model_.tables[t]->SetStore(store_rows_[t].get(), 0);
  }
  RETURN_IF_ERROR(LoadDense(state.dense()));
  RETURN_IF_ERROR(RegisterStored(state));
  for (const proto::ClientState& client : state.client()) {
    ledger_.Restore(client.client(), client.sequence());
  }
  StartCounting();
  RETURN_IF_ERROR(LoadTablesThatStepWhole());
  ASSIGN_OR_RETURN(log_, PushLog::Open(LogFolder(), LogOptions()));
  flushed_step_ = state.step();
  written_step_ = flushed_step_;
  step_ = flushed_step_;  // the filters are about as old
  LoadAdmissions(*store_, LiveFolder());
  admissions_saved_at_ = flushed_step_;
  step_ = std::max(state.step(), log_->last_lsn());
  RETURN_IF_ERROR(log_->AdvanceTo(step_ + 1));
  RETURN_IF_ERROR(ReplayLog(flushed_step_ + 1));
  ResetGates(step_ + 1);
  return OkStatus();
}

Status PsCoreImpl::CheckState(const proto::ServerState& state) const {
  const bool same_slots = static_cast<int>(state.slot_bits()) == slots_.bits &&
                          state.first_slot() == slots_.first &&
                          state.last_slot() - state.first_slot() + 1 == slots_.count;
  const bool same_tables = std::ranges::equal(
      state.table(), model_.tables, [](const proto::TableEntry& stored, const auto& table) {
        return stored.name() == table->name() && stored.dim() == table->layout().dim() &&
               stored.optimizer() == table->optimizer().name() &&
               stored.state_floats() == table->layout().state_floats() &&
               StorageOf(stored) == table->layout().storage();
      });
  if (same_slots && same_tables) {
    if (state.job_epoch() == job_epoch_.load(std::memory_order_relaxed)) return OkStatus();
    return absl::FailedPreconditionError(
        StrCat(options_.folder, " holds the state of another run of the job"));
  }
  return absl::FailedPreconditionError(StrCat(options_.folder,
                                              " holds the state of a server of another job: other ",
                                              same_slots ? "tables" : "slots"));
}

Status PsCoreImpl::RegisterStored(const proto::ServerState& state) {
  if (state.layout().empty()) return OkStatus();
  std::vector<DenseTensorSpec> layout;
  for (const proto::DenseLayoutEntry& entry : state.layout()) {
    layout.push_back({.name = entry.name(),
                      .dims = {entry.dim().begin(), entry.dim().end()},
                      .is_weight = entry.is_weight(),
                      .is_statistic = entry.is_statistic(),
                      .momentum = entry.momentum()});
  }
  return model_.dense->Register(layout);
}

Status PsCoreImpl::ReplayLog(std::uint64_t from) {
  std::uint64_t records = 0;
  RETURN_IF_ERROR(log_->Replay(from,
                               [&](std::uint64_t lsn, std::span<const std::byte> payload)
                                   NO_THREAD_SAFETY_ANALYSIS -> Status {
                                     ++records;
                                     return ReplayPush(lsn, payload);
                                   }));
  if (records > 0) LOG(INFO) << "server " << options_.ps << " replayed " << records << " pushes";
  return OkStatus();
}

Status PsCoreImpl::ReplayPush(std::uint64_t step, std::span<const std::byte> payload) {
  ASSIGN_OR_RETURN(const PushRecord push, DecodePush(payload));
  std::vector<KeyGroups> groups(push.tables.size());
  for (std::size_t i = 0; i < push.tables.size(); ++i) {
    const RowsUpdate& update = push.tables[i];
    RETURN_IF_ERROR(GroupKeys(update.table, update.keys, &groups[i]), "push ", step, " of the log");
    EmbeddingTable& table = *model_.tables[update.table];
    if (table.layout().dim() != push.dims[i]) {
      return absl::DataLossError(StrCat("push ", step, " of the log has rows of dim ", push.dims[i],
                                        " for table ", table.name()));
    }
    RETURN_IF_ERROR(table.MakeResident(groups[i]));
  }
  if (const Status dense = model_.dense->Check(push.dense); !dense.ok()) {
    return absl::DataLossError(
        StrCat("push ", step, " of the log does not fit the database: ", dense.message()));
  }
  ResetGates(step);
  ApplyPush({push.tables, &groups, push.dense, static_cast<float>(push.learning_rate_scale), step,
             /*is_replay=*/true});
  if (push.id.client != 0) ledger_.Restore(push.id.client, push.id.sequence);
  return SpillIfFull();
}

void PsCoreImpl::StartCounting() {
  // Rows that are written later must not be counted: wait until the scan has its view.
  MutexLock lock(counting_mu_);
  std::promise<void> begun;
  std::future<void> has_begun = begun.get_future();
  const RowStore* const store = store_.get();
  const std::span<const std::unique_ptr<EmbeddingTable>> tables = model_.tables;
  stop_counting_ = false;
  counted_ = OkStatus();
  counting_ = std::thread([this, store, tables, begun = std::move(begun)]() mutable {
    std::vector<std::int64_t> rows(tables.size());
    bool first = true;
    const Status scanned = store->Scan(Family::kRows, {}, {}, [&](const StoreRecord& record) {
      if (std::exchange(first, false)) begun.set_value();
      const auto key = DecodeRowKey(record.key);
      if (key.has_value() && key->table < rows.size()) ++rows[key->table];
      return !stop_counting_.load(std::memory_order_relaxed);
    });
    if (first) begun.set_value();
    counted_ = scanned;  // read after the join
    for (std::size_t t = 0; t < rows.size(); ++t) tables[t]->AddColdRows(rows[t]);
  });
  has_begun.wait();
}

Status PsCoreImpl::FinishCounting(bool is_wanted) {
  if (!is_wanted) stop_counting_ = true;  // also for one who waits for it
  MutexLock lock(counting_mu_);
  if (counting_.joinable()) counting_.join();
  if (!is_wanted) counted_ = OkStatus();
  return counted_;
}

}  // namespace cairn::ps
