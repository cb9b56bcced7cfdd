// Shared by the files of PsCore; nobody else includes it.
//   ps_core.cc         requests
//   ps_core_admission.cc  keys that get no row
//   ps_core_state.cc   snapshot, restore
//   ps_core_recovery.cc   recovery
//   ps_core_keeper.cc  the background thread: room in memory, length of the log, eviction
#pragma once

#include <atomic>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "common/io/file.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"
#include "ps/checkpoint/load.h"
#include "ps/checkpoint/shard_files.h"
#include "ps/dense/dense_parameters.h"
#include "ps/log/push_log.h"
#include "ps/server/group_pool.h"
#include "ps/server/order_gate.h"
#include "ps/server/ps_core.h"
#include "ps/server/push_ledger.h"
#include "ps/server/request_stats.h"
#include "ps/store/folder_lock.h"
#include "ps/store/rocks_store.h"
#include "ps/table/admission.h"
#include "ps/table/embedding_table.h"
#include "ps/tier/evictor.h"
#include "ps/tier/row_tier.h"
#include "ps/tier/store_rows.h"

namespace cairn::ps {

class NamedRows;
struct PushRecord;

// What Restore replaces as a whole.
struct Model {
  std::vector<std::unique_ptr<EmbeddingTable>> tables;
  std::vector<std::unique_ptr<Admission>> admissions;  // by table; null: every key gets a row
  std::unique_ptr<DenseParameters> dense;
};

// Adds advice to the error of a disk that has no room.
Status SayWhatToDo(const Status& status);
Result<Model> MakeModel(const proto::JobConfig& job, const SlotRange& slots);

struct DurabilityOptions {
  bool logged = false;
  bool synced = false;
};

class PsCoreImpl : public PsCore {
 public:
  // Of making room in memory; then the limit cannot be kept.
  static constexpr int kRoundsWithoutGain = 8;

  PsCoreImpl(const proto::JobConfig& job, const PsOptions& options, FolderLock lock, Model model);
  ~PsCoreImpl() override;

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
  Status Recover(proto::RestoreReply* reply) override;
  void SetJobEpoch(std::uint64_t job_epoch) override { job_epoch_ = job_epoch; }
  std::uint64_t PushCount() const override { return pushes_.load(std::memory_order_relaxed); }
  Status Health() const override {
    MutexLock lock(broken_mu_);
    return broken_;
  }
  void Stats(proto::PsStatsReply* reply) const override;

 private:
  // A RocksDB database has this file, or is none.
  static constexpr std::string_view kCurrent = "CURRENT";

  std::string LiveFolder() const { return JoinPath(options_.folder, "db"); }
  std::string LogFolder() const { return JoinPath(options_.folder, "log"); }

  // ---- requests
  Status PullRows(std::span<const RowsRead> tables, AbsentRow absent) EXCLUDES(state_lock_);
  Status PushOnce(std::span<const RowsUpdate> tables, std::span<const DenseChunkUpdate> dense,
                  PushId id, double learning_rate_scale) EXCLUDES(state_lock_);
  Status CheckReady() const REQUIRES_SHARED(state_lock_) {
    if (is_broken_.load(std::memory_order_acquire)) {
      MutexLock lock(broken_mu_);
      return broken_;
    }
    if (store_ != nullptr) return OkStatus();
    return absl::FailedPreconditionError(
        "the server has no state yet: call Restore or Recover first");
  }
  // After a failed commit: memory holds a push that the log may have lost. Everything is refused
  // from now on.
  void Break(const Status& commit) REQUIRES_SHARED(state_lock_);
  // Log_'s Commit of everything that was appended.
  Status CommitLog(std::uint64_t lsn) REQUIRES_SHARED(state_lock_);
  // Counts a refusal.
  Status Refuse(Status status) {
    refused_.fetch_add(1, std::memory_order_relaxed);
    return status;
  }
  // Groups the keys of one table's part of a request.
  Status GroupKeys(std::uint32_t table, std::span<const std::uint64_t> keys, KeyGroups* groups)
      REQUIRES_SHARED(state_lock_);
  Status CheckPush(std::span<const RowsUpdate> tables, std::span<const DenseChunkUpdate> dense,
                   double learning_rate_scale, std::vector<KeyGroups>* groups)
      REQUIRES_SHARED(state_lock_);
  // What is left of a push when some keys get no row.
  struct AdmittedRows {
    std::vector<RowsUpdate> tables;  // empty: nothing was left out
    std::vector<std::vector<std::uint64_t>> keys;
    std::vector<std::vector<float>> gradients;
  };
  // The push without the keys that have no row and get none; `groups` are then of what is left.
  // Rows that lie in the store have been brought to memory. The result borrows from `admitted`.
  std::span<const RowsUpdate> LeaveOutRefused(std::span<const RowsUpdate> tables,
                                              std::vector<KeyGroups>* groups,
                                              AdmittedRows* admitted) REQUIRES_SHARED(state_lock_);
  // Gives the push its number; in the log, if there is one.
  Result<std::uint64_t> NumberPush(std::span<const RowsUpdate> tables,
                                   std::span<const DenseChunkUpdate> dense, PushId id,
                                   double learning_rate_scale) REQUIRES_SHARED(state_lock_);
  struct PushToApply {
    std::span<const RowsUpdate> tables;
    const std::vector<KeyGroups>* groups;  // [tables]
    std::span<const DenseChunkUpdate> dense;
    float learning_rate_scale;
    std::uint64_t step;
    bool is_replay = false;
  };
  void ApplyPush(const PushToApply& push) REQUIRES_SHARED(state_lock_);
  void ApplyToTable(std::size_t table, const PushToApply& push) REQUIRES_SHARED(state_lock_);

  // ---- state
  // Lets go of database and log.
  void Close() REQUIRES(state_lock_);
  Status WriteSnapshot(const std::string& folder, proto::SnapshotReply* reply)
      REQUIRES(state_lock_);
  // Makes the live database empty, or a copy of a stored one.
  Status ResetStore(const std::string& copy_of) REQUIRES(state_lock_);
  // Opens the database in the live folder and tells the tables of it.
  Status OpenStore() REQUIRES(state_lock_);
  Status OpenLog() REQUIRES(state_lock_);
  Status LoadCheckpoint(const std::string& checkpoint, const proto::CheckpointManifest& manifest,
                        const LoadPlan& plan, proto::RestoreReply* reply) REQUIRES(state_lock_);
  // The rows of the identical shard stay in its database; only dense chunks are loaded.
  Status AdoptShard(const proto::CheckpointManifest& manifest, const proto::ShardEntry& shard,
                    const proto::ServerState& state) REQUIRES(state_lock_);
  Status LoadDense(const google::protobuf::RepeatedPtrField<proto::DenseTensorEntry>& entries)
      REQUIRES(state_lock_);
  // Puts what admission has counted into the database, if it changed since it was last put.
  Status SaveAdmissions() REQUIRES_SHARED(state_lock_);
  // What cannot be loaded is a warning: its keys are counted anew.
  void LoadAdmissions(const RowStore& store, const std::string& source) REQUIRES(state_lock_);
  void LoadAdmissions(const std::string& checkpoint, const proto::CheckpointManifest& manifest,
                      const LoadPlan& plan) REQUIRES(state_lock_);
  // NotFound when the database has none.
  Status ReadState(proto::ServerState* state) REQUIRES(state_lock_);
  Status CheckState(const proto::ServerState& state) const REQUIRES(state_lock_);
  // Says, durably, that every push up to flushed_step_ is in the database; it must be.
  Status WriteState() REQUIRES(state_lock_);
  // Writes changed dense chunks, durably, and the state.
  Status WriteDense() REQUIRES(state_lock_);
  PushLogOptions LogOptions() const;
  Status RecoverState() REQUIRES(state_lock_);
  // The layout that was registered when the state was written.
  Status RegisterStored(const proto::ServerState& state) REQUIRES(state_lock_);
  Status LoadDenseChunk(const StoreRecord& stored) REQUIRES(state_lock_);
  // Of records `from` to the last one.
  Status ReplayLog(std::uint64_t from) REQUIRES(state_lock_);
  // For rows of those of the slots that fit in memory.
  NamedRows NamedRowsOf(const SlotRange& slots) const REQUIRES(state_lock_);
  using LastPushes = std::unordered_map<std::uint64_t, std::uint64_t>;  // client -> sequence
  // The first time over the log, when `last_pushes` is given, records are checked.
  Status NameRows(std::uint64_t from, LastPushes* last_pushes, NamedRows* named)
      REQUIRES(state_lock_);
  // Whether the push is one of this server.
  Status CheckLogged(const PushRecord& push) REQUIRES(state_lock_);
  Status LoadNamed(NamedRows* named) REQUIRES(state_lock_);
  Status ReplayPushes(std::uint64_t from, const SlotRange& slots, bool with_dense)
      REQUIRES(state_lock_);
  // Rows must never be missing from memory: every push changes all of them.
  Status LoadTablesThatStepWhole() REQUIRES(state_lock_);
  // For rows that come in bulk, while nothing else runs.
  Status SpillIfFull() REQUIRES(state_lock_);
  void ResetGates(std::uint64_t next) REQUIRES(state_lock_);
  // Counts the rows of the database as it is now, in a thread of its own that waits for
  // ReleaseCounting or FinishCounting: recovery wants all cores.
  void StartCounting() REQUIRES(state_lock_);
  void ReleaseCounting() EXCLUDES(counting_mu_);
  // Waits for the count, or ends it when it is not wanted: its tables go. Errors: of the scan.
  Status FinishCounting(bool is_wanted) EXCLUDES(counting_mu_);

  // ---- keeper
  void KeeperLoop();
  void WakeKeeper() EXCLUDES(keeper_mu_);
  // Tells those who wait that there may be room now.
  void TellRound() EXCLUDES(keeper_mu_);
  // Waits, without locks, until rows may come to memory.
  Status WaitForRoom() EXCLUDES(state_lock_, keeper_mu_);
  bool IsFull() const EXCLUDES(state_lock_);
  Status MakeRoom() EXCLUDES(state_lock_);
  bool LogIsLong() const EXCLUDES(state_lock_);
  Status CutLog() EXCLUDES(state_lock_);
  // To be called between the copying of rows and their writing: a row must not be durable before
  // the pushes that it contains.
  Status LogFirst() REQUIRES_SHARED(state_lock_);
  // Tries again what RegisterDense or InitDense could not.
  Status SaveDense() EXCLUDES(state_lock_);
  // Writes the dirty rows of all tables as of about now. Aborted when the state was replaced.
  Status WriteDirtyRows(std::uint64_t generation) EXCLUDES(state_lock_);
  // Removes rows for good, as far as the pushes since the last time allow.
  Status EvictRows() EXCLUDES(state_lock_);
  // After a recovery without a limit of memory: brings rows to memory until all are there, some at
  // a time. Sets *ended when there is nothing more to do now.
  void WarmUp(bool* ended) EXCLUDES(state_lock_);
  Status WarmUpSome(bool* ended) EXCLUDES(state_lock_);
  // Sets *found_all when there is nothing more to look at now.
  Status FindEvictable(std::uint64_t generation, bool* found_all) EXCLUDES(state_lock_);
  // Rows that the log may tell of again are too young.
  EvictionTime TimeOfEviction() const REQUIRES_SHARED(state_lock_) {
    const std::uint64_t now = step_.load(std::memory_order_relaxed);
    return {now, log_ == nullptr ? now : written_step_};
  }
  bool KeeperStops() const EXCLUDES(keeper_mu_);

  const proto::JobConfig job_;
  const PsOptions options_;
  const SlotRange slots_;
  const DurabilityOptions durability_;
  const FolderLock folder_lock_;
  std::atomic<std::uint64_t> job_epoch_;

  // Shared by everything that reads or changes rows; held alone by Snapshot, Restore, Recover, and
  // for a moment by the keeper when rows leave memory.
  mutable StripeLock state_lock_;
  Model model_ GUARDED_BY(state_lock_);
  std::unique_ptr<RowStore> store_ GUARDED_BY(state_lock_);  // null before Restore
  std::vector<std::unique_ptr<StoreRows>> store_rows_ GUARDED_BY(state_lock_);  // by table
  std::unique_ptr<PushLog> log_ GUARDED_BY(state_lock_);  // null with durability NONE
  // Of the last attempt to save dense chunks that are in no push. Until it succeeds a push must not
  // name them: its record would tell of chunks that a recovered server has no values of.
  Status dense_saved_ GUARDED_BY(state_lock_);
  ShardFileLister files_ GUARDED_BY(state_lock_);
  std::uint64_t generation_ GUARDED_BY(state_lock_) = 0;    // of the state: Restore, Recover
  std::uint64_t flushed_step_ GUARDED_BY(state_lock_) = 0;  // see ServerState.step
  // The push as of which the database has what admission has counted. Set under state_lock_, and
  // by the keeper while it is shared.
  std::atomic<std::uint64_t> admissions_saved_at_{0};
  std::uint64_t written_step_ GUARDED_BY(state_lock_) = 0;  // of the state in the database
  // Rows may lie in the database that are not in memory, though there is room for all.
  bool is_cold_ GUARDED_BY(state_lock_) = false;
  // How far the keeper is in the database, of which state.
  std::string warm_next_;
  std::uint64_t warm_generation_ = 0;
  RowTier tier_;
  Evictor evictor_;  // the keeper's

  PushLedger ledger_;
  GroupPool group_pool_;
  std::vector<std::unique_ptr<OrderGate>> gates_;  // by table; the last one is of the dense chunks
  std::atomic<std::uint64_t> step_{0};             // pushes applied, over all lives of the model
  std::atomic<std::uint64_t> pulls_{0}, pushes_{0}, refused_{0}, duplicates_{0};
  std::atomic<std::uint64_t> waits_for_room_{0}, log_cuts_{0};
  RequestTimes times_;
  SlotLoad slot_load_;

  // Memory and log may differ: only Restore or Recover help.
  std::atomic<bool> is_broken_{false};
  mutable Mutex broken_mu_;
  Status broken_ GUARDED_BY(broken_mu_);

  Mutex counting_mu_;  // after state_lock_; two snapshots may wait for one count
  std::thread counting_ GUARDED_BY(counting_mu_);
  std::optional<std::promise<void>> counting_held_ GUARDED_BY(counting_mu_);
  Status counted_;  // written by counting_
  std::atomic<bool> stop_counting_{false};
  std::atomic<bool> is_counted_{false};  // the tables know of their cold rows

  mutable Mutex keeper_mu_;  // state_lock_ may be held when it is taken, never the other way
  CondVar keeper_wake_;
  CondVar room_made_;
  bool keeper_wanted_ GUARDED_BY(keeper_mu_) = false;
  bool keeper_stops_ GUARDED_BY(keeper_mu_) = false;
  std::uint64_t keeper_rounds_ GUARDED_BY(keeper_mu_) = 0;  // after which there may be room
  std::uint64_t keeper_failures_ GUARDED_BY(keeper_mu_) = 0;
  Status keeper_status_ GUARDED_BY(keeper_mu_);  // of its last round
  std::thread keeper_;                           // last: it uses everything above
};

}  // namespace cairn::ps
