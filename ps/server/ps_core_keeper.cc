// The background thread of PsCore: makes room in memory, cuts the log, evicts rows, and brings rows
// to memory after a recovery.
#include <chrono>
#include <utility>

#include <glog/logging.h>

#include "ps/checkpoint/flush.h"
#include "ps/server/ps_core_impl.h"
#include "ps/tier/bulk_load.h"

namespace cairn::ps {
namespace {

constexpr std::chrono::milliseconds kLookEvery{100};
constexpr std::chrono::milliseconds kNoWait{0};
constexpr std::chrono::milliseconds kWaitStep{1000};
constexpr std::chrono::seconds kLongestWait{60};  // then a request that waits for room is refused
constexpr std::chrono::seconds kSayAfter{5};      // until a wait is told in the log
constexpr std::size_t kWarmRows = 16 * 1024;      // at once: some ms, for which a snapshot waits

}  // namespace

void PsCoreImpl::WakeKeeper() {
  {
    MutexLock lock(keeper_mu_);
    if (keeper_wanted_) return;
    keeper_wanted_ = true;
  }
  keeper_wake_.NotifyOne();
}

bool PsCoreImpl::KeeperStops() const {
  MutexLock lock(keeper_mu_);
  return keeper_stops_;
}

void PsCoreImpl::KeeperLoop() {
  for (bool is_warm = true;;) {
    {
      MutexLock lock(keeper_mu_);
      (void)keeper_wake_.WaitFor(
          keeper_mu_, is_warm ? kLookEvery : kNoWait,
          [this]() NO_THREAD_SAFETY_ANALYSIS { return keeper_wanted_ || keeper_stops_; });
      if (keeper_stops_) return;
      keeper_wanted_ = false;
    }
    Status status = SaveDense();
    if (status.ok()) status = MakeRoom();
    if (status.ok() && LogIsLong()) status = CutLog();
    if (status.ok()) status = EvictRows();
    {
      MutexLock lock(keeper_mu_);
      if (keeper_stops_) return;
      if (!status.ok() && keeper_status_.ok()) {
        LOG(ERROR) << "server " << options_.ps << ": " << status << "; trying again";
      } else if (status.ok() && !keeper_status_.ok()) {
        LOG(WARNING) << "server " << options_.ps << ": goes on";
      }
      if (!status.ok()) ++keeper_failures_;
      keeper_status_ = status;
    }
    TellRound();
    WarmUp(&is_warm);
  }
}

void PsCoreImpl::TellRound() {
  {
    MutexLock lock(keeper_mu_);
    ++keeper_rounds_;
  }
  room_made_.NotifyAll();
}

bool PsCoreImpl::IsFull() const {
  if (!tier_.is_bounded()) return false;
  ReadLock lock(state_lock_);
  return store_ != nullptr && tier_.IsFull(model_.tables);
}

// Locks: whoever holds state_lock_ may ask for keeper_mu_ (WakeKeeper), so it is never asked for
// the other way round. A round that ends between the look at the memory and the wait shows in the
// count.
Status PsCoreImpl::WaitForRoom() {
  if (!IsFull()) return OkStatus();
  waits_for_room_.fetch_add(1, std::memory_order_relaxed);
  const auto began = std::chrono::steady_clock::now();
  bool told = false;
  for (auto waited = kWaitStep.zero(); waited < kLongestWait;) {
    std::uint64_t rounds = 0, failures = 0;
    {
      MutexLock lock(keeper_mu_);
      rounds = keeper_rounds_;
      failures = keeper_failures_;
    }
    if (!IsFull()) return OkStatus();
    WakeKeeper();
    Status failed;
    {
      MutexLock lock(keeper_mu_);
      (void)room_made_.WaitFor(keeper_mu_, kWaitStep, [this, rounds]() NO_THREAD_SAFETY_ANALYSIS {
        return keeper_rounds_ != rounds;
      });
      if (keeper_failures_ != failures) failed = keeper_status_;
    }
    if (!IsFull()) return OkStatus();
    if (!failed.ok()) return SayWhatToDo(failed);
    waited = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - began);
    if (waited > kSayAfter && !std::exchange(told, true)) {
      LOG(WARNING) << "server " << options_.ps << ": a request waits until rows have left memory";
    }
  }
  return absl::ResourceExhaustedError(StrCat("server ", options_.ps,
                                             ": no room for rows in memory after ",
                                             kLongestWait.count(), " s (server.memory_mib)"));
}

Status PsCoreImpl::MakeRoom() {
  for (int idle = 0; idle < kRoundsWithoutGain && !KeeperStops();) {
    std::uint64_t generation = 0;
    {
      ReadLock lock(state_lock_);
      if (!CheckReady().ok() || !tier_.NeedsRoom(model_.tables)) return OkStatus();
      generation = generation_;
      RETURN_IF_ERROR(tier_.WriteBack(model_.tables, slots_, *store_, step_,
                                      [this]() NO_THREAD_SAFETY_ANALYSIS { return LogFirst(); }),
                      "writing rows that leave memory");
    }
    {
      WriteLock lock(state_lock_);
      if (generation != generation_) return OkStatus();
      idle = tier_.Drop(model_.tables) > 0 ? 0 : idle + 1;
    }
    TellRound();
  }
  return OkStatus();
}

Status PsCoreImpl::SaveDense() {
  {
    ReadLock lock(state_lock_);
    if (dense_saved_.ok() || !CheckReady().ok()) return OkStatus();
  }
  WriteLock lock(state_lock_);
  return dense_saved_.ok() || !CheckReady().ok() ? OkStatus() : WriteDense();
}

Status PsCoreImpl::LogFirst() { return log_ == nullptr ? OkStatus() : CommitLog(log_->last_lsn()); }

bool PsCoreImpl::LogIsLong() const {
  ReadLock lock(state_lock_);
  return log_ != nullptr && log_->Bytes() > (std::uint64_t{job_.server().log_mib()} << 20) / 2;
}

Status PsCoreImpl::CutLog() {
  std::uint64_t generation = 0, step = 0;
  {
    WriteLock lock(state_lock_);  // no push is under way
    if (log_ == nullptr || !CheckReady().ok()) return OkStatus();
    generation = generation_;
    step = step_;
  }
  RETURN_IF_ERROR(WriteDirtyRows(generation), "cutting the log");
  {
    ReadLock lock(state_lock_);
    if (generation != generation_ || !CheckReady().ok()) return OkStatus();
    RETURN_IF_ERROR(SaveAdmissions(), "cutting the log");
  }
  WriteLock lock(state_lock_);
  if (generation != generation_ || !CheckReady().ok()) return OkStatus();
  RETURN_IF_ERROR(FlushDense(*model_.dense, *store_), "cutting the log");
  RETURN_IF_ERROR(store_->Flush(), "cutting the log");
  model_.dense->MarkAllClean();
  flushed_step_ = std::max(flushed_step_, step);
  RETURN_IF_ERROR(WriteState(), "cutting the log");
  RETURN_IF_ERROR(log_->DropThrough(step));
  log_cuts_.fetch_add(1, std::memory_order_relaxed);
  return OkStatus();
}

Status PsCoreImpl::EvictRows() {
  for (bool found_all = false; !found_all && !KeeperStops();) {
    std::uint64_t generation = 0;
    {
      ReadLock lock(state_lock_);
      generation = generation_;
    }
    evictor_.Forget();
    RETURN_IF_ERROR(FindEvictable(generation, &found_all), "looking for rows to evict");
    if (evictor_.found() == 0) continue;
    {
      // What lies in the store's memory is written before everything waits for the removal.
      ReadLock lock(state_lock_);
      if (generation != generation_) return OkStatus();
      if (log_ != nullptr) RETURN_IF_ERROR(store_->Flush(), "evicting rows");
    }
    WriteLock lock(state_lock_);
    if (generation != generation_) return OkStatus();
    RETURN_IF_ERROR(
        evictor_.Remove(model_.tables, *store_, TimeOfEviction(), /*durably=*/log_ != nullptr),
        "evicting rows");
  }
  return OkStatus();
}

void PsCoreImpl::WarmUp(bool* ended) {
  const Status status = WarmUpSome(ended);
  if (status.ok()) return;
  // Requests look for the rows themselves.
  LOG(ERROR) << "server " << options_.ps << ": bringing rows to memory: " << status;
  WriteLock lock(state_lock_);
  if (warm_generation_ == generation_) is_cold_ = false;
  *ended = true;
}

// Rows leave neither memory nor database meanwhile: there is no limit, and who evicts is the keeper
// itself. What is put into the database is in memory.
Status PsCoreImpl::WarmUpSome(bool* ended) {
  {
    ReadLock lock(state_lock_);
    *ended = !is_cold_ || !is_counted_ || !CheckReady().ok();
    if (*ended) return OkStatus();
    if (warm_generation_ != generation_) warm_next_.clear();
    warm_generation_ = generation_;
    if (warm_next_.empty()) {
      for (const auto& table : model_.tables) {
        const TableCounts counts = table->Counts();
        table->ReserveIndex(counts.rows - counts.resident_rows);
      }
    }
    RETURN_IF_ERROR(LoadNextRows(*store_, model_.tables, slots_, kWarmRows, &warm_next_));
    if (!warm_next_.empty()) return OkStatus();
  }
  RETURN_IF_ERROR(FinishCounting(/*is_wanted=*/true));
  *ended = true;
  WriteLock lock(state_lock_);
  if (warm_generation_ != generation_ || !is_cold_) return OkStatus();
  for (const auto& table : model_.tables) table->SetStore(nullptr, 0);
  is_cold_ = false;
  return OkStatus();
}

Status PsCoreImpl::FindEvictable(std::uint64_t generation, bool* found_all) {
  while (evictor_.found() < Evictor::kRowsAtOnce) {
    ReadLock lock(state_lock_);
    *found_all = true;
    if (KeeperStops() || generation != generation_ || store_ == nullptr) return OkStatus();
    if (tier_.NeedsRoom(model_.tables) || !evictor_.IsDue(model_.tables, step_)) return OkStatus();
    *found_all = false;
    RETURN_IF_ERROR(evictor_.Look(model_.tables, *store_, TimeOfEviction()));
  }
  return OkStatus();
}

Status PsCoreImpl::WriteDirtyRows(std::uint64_t generation) {
  RowBatch& batch = tier_.batch();
  for (std::size_t t = 0; t < static_cast<std::size_t>(job_.table_size()); ++t) {
    for (std::uint32_t stripe = 0; stripe < kStripes;) {
      if (KeeperStops()) return absl::CancelledError("the server ends");
      // Let go of the lock after each batch: a snapshot need not wait for all of them.
      ReadLock lock(state_lock_);
      if (generation != generation_ || !CheckReady().ok()) return OkStatus();
      while (stripe < kStripes && batch.bytes() < tier_.BatchBytes()) {
        model_.tables[t]->WriteBack(stripe++, nullptr, static_cast<std::uint16_t>(t), slots_,
                                    &batch);
      }
      RETURN_IF_ERROR(WriteRows(model_.tables, slots_, *store_, &batch,
                                [this]() NO_THREAD_SAFETY_ANALYSIS { return LogFirst(); }));
    }
  }
  return OkStatus();
}

}  // namespace cairn::ps
