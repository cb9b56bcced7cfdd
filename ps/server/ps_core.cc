#include "ps/server/ps_core.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <glog/logging.h>

#include "common/metrics/distribution_proto.h"
#include "proto/ps_service.pb.h"
#include "ps/log/push_record.h"
#include "ps/optim/finite.h"
#include "ps/server/process_memory.h"
#include "ps/server/ps_core_impl.h"
#include "ps/tier/allocator.h"

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

// The loader of the job says the same with the line of the file.
Status CheckMemory(const proto::JobConfig& job) {
  if (job.server().memory_mib() == 0) return OkStatus();
  for (const proto::TableConfig& table : job.table()) {
    if (table.l2_rows() != proto::TableConfig::ALL) continue;
    return absl::InvalidArgumentError(
        StrCat("table ", table.name(), ": l2_rows is ALL, which needs every row in memory, and ",
               "server.memory_mib is ", job.server().memory_mib(), ", must be 0"));
  }
  return OkStatus();
}

DurabilityOptions DurabilityOf(const proto::JobConfig& job, const PsOptions& options) {
  const auto wanted = job.server().durability();
  const bool of_mode = wanted == proto::ServerConfig::OF_MODE;
  return {of_mode ? options.log_by_default : wanted != proto::ServerConfig::NONE,
          wanted == proto::ServerConfig::DISK};
}

}  // namespace

Result<Model> MakeModel(const proto::JobConfig& job, const SlotRange& slots) {
  if (static_cast<std::size_t>(job.table_size()) > kMaxTables) {
    return absl::InvalidArgumentError(
        StrCat("the job has ", job.table_size(), " tables, more than ", kMaxTables));
  }
  Model model;
  for (const proto::TableConfig& config : job.table()) {
    ASSIGN_OR_RETURN(auto table, EmbeddingTable::Make(config, job.seed()));
    model.tables.push_back(std::move(table));
    ASSIGN_OR_RETURN(
        auto admission,
        Admission::Make(config.admission(), job.seed(), TableSalt(config.name()), slots), "table ",
        config.name());
    if (admission->admits_all()) admission = nullptr;
    model.admissions.push_back(std::move(admission));
  }
  ASSIGN_OR_RETURN(model.dense, DenseParameters::Make(job.dense(), slots));
  return model;
}

Status SayWhatToDo(const Status& status) {
  if (status.code() != absl::StatusCode::kResourceExhausted) return status;
  return absl::ResourceExhaustedError(
      StrCat("refused until there is disk space: remove files, or lower server.disk_reserve_mib; ",
             status.message()));
}

PsCoreImpl::PsCoreImpl(const proto::JobConfig& job, const PsOptions& options, FolderLock lock,
                       Model model)
    : job_(job),
      options_(options),
      slots_(OwnedSlots(options)),
      durability_(DurabilityOf(job, options)),
      folder_lock_(std::move(lock)),
      job_epoch_(options.job_epoch),
      model_(std::move(model)),
      tier_(std::uint64_t{job.server().memory_mib()} << 20,
            options.owns_process ? RowTier::Scope::kProcess : RowTier::Scope::kTables),
      evictor_(slots_),
      slot_load_(slots_) {
  for (int i = 0; i <= job.table_size(); ++i) gates_.push_back(std::make_unique<OrderGate>());
  const bool evicts = std::ranges::any_of(
      model_.tables, [](const auto& table) { return table->eviction().evicts(); });
  if (tier_.is_bounded() && options.owns_process) ReturnFreedMemoryAtOnce();
  if (tier_.is_bounded() || durability_.logged || evicts)
    keeper_ = std::thread([this] { KeeperLoop(); });
}

PsCoreImpl::~PsCoreImpl() {
  if (keeper_.joinable()) {
    {
      MutexLock lock(keeper_mu_);
      keeper_stops_ = true;
    }
    keeper_wake_.NotifyAll();
    keeper_.join();
  }
  FinishCounting(/*is_wanted=*/false).IgnoreError();
}

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
  const auto begin = RequestTimes::Clock::now();
  Status status = PullRows(tables, absent);
  if (status.ok()) times_.Record(RequestKind::kPull, begin);
  return status;
}

Status PsCoreImpl::PullRows(std::span<const RowsRead> tables, AbsentRow absent) {
  // Evaluation brings no rows to memory.
  if (absent != AbsentRow::kZero) RETURN_IF_ERROR(WaitForRoom());
  ReadLock lock(state_lock_);
  if (Status ready = CheckReady(); !ready.ok()) return Refuse(std::move(ready));
  GroupPool::Lease groups = group_pool_.Take(tables.size());
  for (std::size_t i = 0; i < tables.size(); ++i) {
    Status grouped = GroupKeys(tables[i].table, tables[i].keys, &(*groups)[i]);
    if (!grouped.ok()) return Refuse(std::move(grouped));
  }
  for (std::size_t i = 0; i < tables.size(); ++i) {
    RETURN_IF_ERROR(model_.tables[tables[i].table]->Pull(
        (*groups)[i], absent == AbsentRow::kZero ? AbsentValue::kZero : AbsentValue::kInitial,
        tables[i].values));
  }
  for (const RowsRead& read : tables) slot_load_.Count(RequestKind::kPull, read.keys);
  if (tier_.NeedsRoom(model_.tables)) WakeKeeper();
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

Result<std::uint64_t> PsCoreImpl::NumberPush(std::span<const RowsUpdate> tables,
                                             std::span<const DenseChunkUpdate> dense, PushId id,
                                             double learning_rate_scale) {
  if (log_ == nullptr) return step_.fetch_add(1, std::memory_order_relaxed) + 1;
  std::vector<std::uint32_t> dims;
  dims.reserve(model_.tables.size());
  for (const auto& table : model_.tables) {
    dims.push_back(static_cast<std::uint32_t>(table->layout().dim()));
  }
  const EncodedPush record(tables, dims, dense, id, learning_rate_scale);
  ASSIGN_OR_RETURN(const std::uint64_t step, log_->Append(record.parts()));
  std::uint64_t last = step_.load(std::memory_order_relaxed);
  while (last < step && !step_.compare_exchange_weak(last, step, std::memory_order_relaxed)) {
  }
  return step;
}

Status PsCoreImpl::Push(std::span<const RowsUpdate> tables, std::span<const DenseChunkUpdate> dense,
                        PushId id, double learning_rate_scale) {
  const auto begin = RequestTimes::Clock::now();
  Status status = PushOnce(tables, dense, id, learning_rate_scale);
  if (status.ok()) times_.Record(RequestKind::kPush, begin);
  return status;
}

Status PsCoreImpl::PushOnce(std::span<const RowsUpdate> tables,
                            std::span<const DenseChunkUpdate> dense, PushId id,
                            double learning_rate_scale) {
  RETURN_IF_ERROR(WaitForRoom());
  ReadLock lock(state_lock_);
  if (Status ready = CheckReady(); !ready.ok()) return Refuse(std::move(ready));
  Result<PushLedger::Entry> entry = ledger_.Begin(id);
  if (!entry.ok()) return Refuse(entry.status());
  if (entry->is_repeat()) {
    duplicates_.fetch_add(1, std::memory_order_relaxed);
    // Acknowledged only when it is as durable as the first acknowledgement, which may have been
    // lost on its way to the log.
    return log_ == nullptr ? OkStatus() : CommitLog(log_->last_lsn());
  }
  if (!dense.empty() && !dense_saved_.ok()) return Refuse(dense_saved_);
  GroupPool::Lease groups = group_pool_.Take(tables.size());
  Status checked = CheckPush(tables, dense, learning_rate_scale, &*groups);
  if (!checked.ok()) return Refuse(std::move(checked));
  // Nothing leaves memory while state_lock_ is shared.
  for (std::size_t i = 0; i < tables.size(); ++i) {
    RETURN_IF_ERROR(model_.tables[tables[i].table]->MakeResident((*groups)[i]));
  }
  AdmittedRows admitted;
  tables = LeaveOutRefused(tables, &*groups, &admitted);
  const Result<std::uint64_t> step = NumberPush(tables, dense, id, learning_rate_scale);
  if (!step.ok()) return Refuse(SayWhatToDo(step.status()));
  // From here on the push cannot fail.
  ApplyPush({tables, &*groups, dense, static_cast<float>(learning_rate_scale), *step});
  entry->Commit();
  for (const RowsUpdate& update : tables) slot_load_.Count(RequestKind::kPush, update.keys);
  pushes_.fetch_add(1, std::memory_order_relaxed);
  if (tier_.NeedsRoom(model_.tables)) WakeKeeper();
  return log_ == nullptr ? OkStatus() : CommitLog(*step);
}

Status PsCoreImpl::CommitLog(std::uint64_t lsn) {
  Status committed = log_->Commit(lsn);
  if (!committed.ok()) Break(committed);
  return committed;
}

void PsCoreImpl::Break(const Status& commit) {
  MutexLock lock(broken_mu_);
  if (!broken_.ok()) return;
  broken_ = absl::UnavailableError(
      StrCat("server ", options_.ps, " serves no more until it is restarted: ", commit.message()));
  LOG(ERROR) << broken_;
  is_broken_.store(true, std::memory_order_release);
}

void PsCoreImpl::ApplyPush(const PushToApply& push) {
  if (log_ == nullptr) {
    for (std::size_t t = 0; t < model_.tables.size(); ++t) ApplyToTable(t, push);
    model_.dense->Apply(push.dense, push.learning_rate_scale, push.step);
    return;
  }
  // In the order of the log, table by table.
  for (std::size_t t = 0; t < model_.tables.size(); ++t) {
    const OrderGate::Pass pass(gates_[t].get(), push.step);
    ApplyToTable(t, push);
  }
  const OrderGate::Pass pass(gates_.back().get(), push.step);
  if (push.is_replay) {
    model_.dense->Replay(push.dense, push.learning_rate_scale, push.step);
  } else {
    model_.dense->Apply(push.dense, push.learning_rate_scale, push.step);
  }
}

// Tables whose rows take part in every push do so also when it does not name them.
void PsCoreImpl::ApplyToTable(std::size_t table, const PushToApply& push) {
  const auto named = std::ranges::find(push.tables, table, &RowsUpdate::table);
  EmbeddingTable& rows = *model_.tables[table];
  static const KeyGroups kNone;
  const bool is_named = named != push.tables.end();
  if (!is_named && !rows.updates_all_rows()) return;
  const KeyGroups& groups =
      is_named ? (*push.groups)[static_cast<std::size_t>(named - push.tables.begin())] : kNone;
  const float* const gradients = is_named ? named->gradients : nullptr;
  if (push.is_replay) {
    rows.Replay(groups, gradients, push.learning_rate_scale, push.step);
  } else {
    rows.Push(groups, gradients, push.learning_rate_scale, push.step);
  }
}

Status PsCoreImpl::RegisterDense(std::span<const DenseTensorSpec> layout) {
  if (!durability_.logged) {
    ReadLock lock(state_lock_);
    RETURN_IF_ERROR(CheckReady());
    return model_.dense->Register(layout);
  }
  WriteLock lock(state_lock_);
  RETURN_IF_ERROR(CheckReady());
  RETURN_IF_ERROR(model_.dense->Register(layout));
  return WriteDense();
}

Status PsCoreImpl::InitDense(std::span<const DenseChunkUpdate> chunks) {
  if (!durability_.logged) {
    ReadLock lock(state_lock_);
    RETURN_IF_ERROR(CheckReady());
    return model_.dense->Init(chunks);
  }
  // First values are in no push: they go to the database at once.
  WriteLock lock(state_lock_);
  RETURN_IF_ERROR(CheckReady());
  RETURN_IF_ERROR(model_.dense->Init(chunks));
  return WriteDense();
}

Status PsCoreImpl::PullDense(std::span<const DenseChunkRead> chunks) {
  ReadLock lock(state_lock_);
  RETURN_IF_ERROR(CheckReady());
  return model_.dense->Pull(chunks);
}

void PsCoreImpl::Stats(proto::PsStatsReply* reply) const {
  ReadLock lock(state_lock_);
  reply->Clear();
  reply->set_ps(options_.ps);
  for (std::size_t t = 0; t < model_.tables.size(); ++t) {
    const TableCounts counts = model_.tables[t]->Counts();
    proto::TableStats* const out = reply->add_table();
    out->set_name(model_.tables[t]->name());
    out->set_rows(counts.rows);
    out->set_bytes(counts.bytes);
    out->set_pulled_rows(counts.pulled_rows);
    out->set_pulled_absent(counts.pulled_absent);
    out->set_pushed_rows(counts.pushed_rows);
    out->set_resident_rows(counts.resident_rows);
    out->set_fetched_rows(counts.fetched_rows);
    out->set_spilled_rows(counts.spilled_rows);
    out->set_evicted_age(counts.evicted_age);
    out->set_evicted_count(counts.evicted_count);
    out->set_evicted_norm(counts.evicted_norm);
    const Admission* const admission = model_.admissions[t].get();
    if (admission == nullptr) continue;
    out->set_admitted(admission->counts().admitted);
    out->set_not_admitted(admission->counts().refused);
  }
  reply->set_dense_floats(model_.dense->FloatCount());
  reply->set_pulls(pulls_.load(std::memory_order_relaxed));
  reply->set_pushes(pushes_.load(std::memory_order_relaxed));
  reply->set_refused(refused_.load(std::memory_order_relaxed));
  reply->set_duplicates(duplicates_.load(std::memory_order_relaxed));
  reply->set_rss_bytes(ProcessMemoryBytes());
  if (store_ != nullptr) reply->set_store_bytes(store_->MemoryBytes());
  if (log_ != nullptr) reply->set_log_bytes(log_->Bytes());
  reply->set_log_cuts(log_cuts_.load(std::memory_order_relaxed));
  reply->set_waits_for_room(waits_for_room_.load(std::memory_order_relaxed));
  ToProto(times_.pulls().Read(), reply->mutable_pull_times()->mutable_in_core());
  ToProto(times_.pushes().Read(), reply->mutable_push_times()->mutable_in_core());
  slot_load_.Tell(reply->mutable_slots());
}

Result<std::unique_ptr<PsCore>> PsCore::Make(const proto::JobConfig& job,
                                             const PsOptions& options) {
  RETURN_IF_ERROR(CheckOptions(options));
  RETURN_IF_ERROR(CheckMemory(job));
  const SlotRange slots = OwnedSlots(options);
  ASSIGN_OR_RETURN(Model model, MakeModel(job, slots));
  if (const Status made = MakeFolders(options.folder); !made.ok()) {
    return absl::UnavailableError(made.message());
  }
  ASSIGN_OR_RETURN(FolderLock lock, FolderLock::Acquire(options.folder));
  return std::make_unique<PsCoreImpl>(job, options, std::move(lock), std::move(model));
}

}  // namespace cairn::ps
