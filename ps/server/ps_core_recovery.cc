// The part of PsCore that brings a server back which died: the database as it was left, and the
// pushes of the log that it may lack.
#include <algorithm>
#include <future>
#include <limits>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "proto/ps_service.pb.h"
#include "ps/log/push_record.h"
#include "ps/server/ps_core_impl.h"
#include "ps/tier/bulk_load.h"
#include "ps/tier/named_rows.h"

namespace cairn::ps {
namespace {

constexpr std::size_t kIndexBytesOfRow = 16;

}  // namespace

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
  ReleaseCounting();
  is_cold_ = !tier_.is_bounded();
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

// A row depends on no other, so the log may be gone through several times, each time for the rows
// of other slots, as many as fit in memory. Then each row is read once, however large the log is.
Status PsCoreImpl::ReplayLog(std::uint64_t from) {
  if (log_->last_lsn() < from) return OkStatus();
  SlotRange rest = slots_;
  LastPushes last_pushes;
  int passes = 0;
  for (; rest.count > 0; ++passes) {
    NamedRows named = NamedRowsOf(rest);
    RETURN_IF_ERROR(NameRows(from, passes == 0 ? &last_pushes : nullptr, &named));
    const SlotRange slots = named.slots();
    // Else each push brings its own.
    if (named.fits()) RETURN_IF_ERROR(LoadNamed(&named));
    RETURN_IF_ERROR(ReplayPushes(from, slots, /*with_dense=*/passes == 0));
    rest.first += slots.count;
    rest.count -= slots.count;
  }
  for (const auto& [client, sequence] : last_pushes) ledger_.Restore(client, sequence);
  LOG(INFO) << "server " << options_.ps << " replayed pushes " << from << " to " << log_->last_lsn()
            << (passes == 1 ? "" : StrCat(" in ", passes, " passes"));
  return OkStatus();
}

NamedRows PsCoreImpl::NamedRowsOf(const SlotRange& slots) const {
  std::vector<std::size_t> row_bytes;
  for (const auto& table : model_.tables) {
    row_bytes.push_back(table->layout().RecordBytes() + kIndexBytesOfRow);
  }
  if (!tier_.is_bounded()) {
    return {slots, std::move(row_bytes), std::numeric_limits<std::uint64_t>::max()};
  }
  std::int64_t free = static_cast<std::int64_t>(tier_.bytes_for_rows() / 10 * 9);
  for (const auto& table : model_.tables) free -= table->memory_bytes();
  // At least half of the memory: there need not be many passes, and what earlier ones brought need
  // not leave at once.
  const std::uint64_t half = tier_.bytes_for_rows() / 2;
  return {slots, std::move(row_bytes),
          std::max(half, static_cast<std::uint64_t>(std::max<std::int64_t>(free, 0)))};
}

Status PsCoreImpl::NameRows(std::uint64_t from, LastPushes* last_pushes, NamedRows* named) {
  return log_->Replay(from,
                      [&](std::uint64_t step, std::span<const std::byte> payload)
                          NO_THREAD_SAFETY_ANALYSIS -> Status {
                            ASSIGN_OR_RETURN(const PushRecord push, DecodePush(payload));
                            if (last_pushes != nullptr) {
                              RETURN_IF_ERROR(CheckLogged(push), "push ", step, " of the log");
                              if (push.id.client != 0)
                                (*last_pushes)[push.id.client] = push.id.sequence;
                            }
                            for (const RowsUpdate& update : push.tables) {
                              named->Add(static_cast<std::uint16_t>(update.table), update.keys);
                            }
                            return OkStatus();
                          });
}

Status PsCoreImpl::CheckLogged(const PushRecord& push) {
  KeyGroups groups;
  for (std::size_t i = 0; i < push.tables.size(); ++i) {
    const RowsUpdate& update = push.tables[i];
    RETURN_IF_ERROR(GroupKeys(update.table, update.keys, &groups));
    const EmbeddingTable& table = *model_.tables[update.table];
    if (table.layout().dim() == push.dims[i]) continue;
    return absl::DataLossError(
        StrCat("it has rows of dim ", push.dims[i], " for table ", table.name()));
  }
  const Status dense = model_.dense->Check(push.dense);
  if (dense.ok()) return OkStatus();
  return absl::DataLossError(StrCat("it does not fit the database: ", dense.message()));
}

Status PsCoreImpl::LoadNamed(NamedRows* named) {
  if (tier_.is_bounded()) {
    tier_.SetAside(named->bytes(), model_.tables, *store_);
    const Status spilled = SpillIfFull();
    tier_.SetAside(0, model_.tables, *store_);
    RETURN_IF_ERROR(spilled);
  }
  return LoadNamedRows(*store_, model_.tables, slots_, named);
}

Status PsCoreImpl::ReplayPushes(std::uint64_t from, const SlotRange& slots, bool with_dense) {
  std::vector<KeyGroups> groups;
  return log_->Replay(
      from,
      [&](std::uint64_t step, std::span<const std::byte> payload)
          NO_THREAD_SAFETY_ANALYSIS -> Status {
            ASSIGN_OR_RETURN(const PushRecord push, DecodePush(payload));
            if (groups.size() < push.tables.size()) groups.resize(push.tables.size());
            for (std::size_t i = 0; i < push.tables.size(); ++i) {
              groups[i].BuildInside(push.tables[i].keys, slots);
              // Of those that were loaded some may have left memory already.
              if (!tier_.is_bounded()) continue;
              RETURN_IF_ERROR(model_.tables[push.tables[i].table]->MakeResident(groups[i]));
            }
            const auto dense = with_dense ? push.dense : std::vector<DenseChunkUpdate>();
            ResetGates(step);
            ApplyPush({push.tables, &groups, dense, static_cast<float>(push.learning_rate_scale),
                       step, /*is_replay=*/true});
            return SpillIfFull();
          });
}

Status PsCoreImpl::LoadTablesThatStepWhole() {
  const auto steps_whole = [](const auto& table) { return table->updates_all_rows(); };
  if (std::ranges::none_of(model_.tables, steps_whole)) return OkStatus();
  NamedRows named = NamedRowsOf(slots_);
  Status status;
  RETURN_IF_ERROR(
      store_->Scan(Family::kRows, {}, {}, [&](const StoreRecord& record) NO_THREAD_SAFETY_ANALYSIS {
        const auto row = DecodeRowKey(record.key);
        if (!row.has_value() || row->table >= model_.tables.size()) return true;
        const EmbeddingTable& table = *model_.tables[row->table];
        if (!table.updates_all_rows()) return true;
        if (slots_.HasMixed(MixedKey(row->key))) {
          named.Add(row->table, {&row->key, 1});
        } else {
          status = absl::DataLossError(
              StrCat("table ", table.name(), ": key ", row->key, " is stored on the wrong server"));
        }
        return status.ok();
      }));
  RETURN_IF_ERROR(status);
  return LoadNamedRows(*store_, model_.tables, slots_, &named);
}

void PsCoreImpl::StartCounting() {
  // Rows that are written later must not be counted: wait until the scan has its view.
  MutexLock lock(counting_mu_);
  std::promise<void> begun;
  std::future<void> has_begun = begun.get_future();
  counting_held_.emplace();
  const RowStore* const store = store_.get();
  const std::span<const std::unique_ptr<EmbeddingTable>> tables = model_.tables;
  stop_counting_ = false;
  is_counted_ = false;
  counted_ = OkStatus();
  counting_ = std::thread([this, store, tables, begun = std::move(begun),
                           released = counting_held_->get_future()]() mutable {
    std::vector<std::int64_t> rows(tables.size());
    bool first = true;
    const Status scanned = store->Scan(Family::kRows, {}, {}, [&](const StoreRecord& record) {
      if (std::exchange(first, false)) {
        begun.set_value();
        released.wait();
      }
      const auto key = DecodeRowKey(record.key);
      if (key.has_value() && key->table < rows.size()) ++rows[key->table];
      return !stop_counting_.load(std::memory_order_relaxed);
    });
    if (first) begun.set_value();
    counted_ = scanned;  // read after the join
    for (std::size_t t = 0; t < rows.size(); ++t) tables[t]->AddColdRows(rows[t]);
    is_counted_ = true;
  });
  has_begun.wait();
}

void PsCoreImpl::ReleaseCounting() {
  MutexLock lock(counting_mu_);
  if (counting_held_.has_value()) counting_held_->set_value();
  counting_held_.reset();
}

Status PsCoreImpl::FinishCounting(bool is_wanted) {
  if (!is_wanted) stop_counting_ = true;  // also for one who waits for it
  ReleaseCounting();
  MutexLock lock(counting_mu_);
  if (counting_.joinable()) counting_.join();
  if (!is_wanted) counted_ = OkStatus();
  return counted_;
}

}  // namespace cairn::ps
