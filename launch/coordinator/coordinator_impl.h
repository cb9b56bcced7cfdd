// The one implementation of CoordinatorCore. Internal to launch/coordinator.
//   coordinator_core.cc        Make: the run directory and the state to go on from; result
//   coordinator_members.cc     what servers and workers call
//   coordinator_run.cc         Run: the script of the job
//   coordinator_checkpoint.cc  what the script has the servers do
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "launch/coordinator/coordinator_core.h"
#include "launch/coordinator/lease_book.h"
#include "launch/coordinator/run_folder.h"
#include "launch/coordinator/score_book.h"
#include "launch/coordinator/server_report.h"
#include "launch/coordinator/step_clock.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"
#include "proto/control.pb.h"

namespace cairn::launch {

Quality QualityOf(const proto::Metrics& metrics);

class CoordinatorImpl final : public CoordinatorCore {
 public:
  CoordinatorImpl(const proto::JobConfig& job, const CoordinatorOptions& options,
                  std::string run_folder, RunLock lock);

  // Finds the checkpoint to go on from, checks it, and makes the run directory ours.
  Status Load();

  bool was_finished() const override { return was_finished_; }
  Status Run(JobResult* result) override;
  Status JoinPs(const proto::JoinPsRequest& request, proto::JoinPsReply* reply) override;
  Status JoinWorker(const proto::JoinWorkerRequest& request, std::uint32_t wait_ms,
                    proto::JoinWorkerReply* reply) override;
  Status ReadVocabulary(const proto::ReadVocabularyRequest& request,
                        proto::ReadVocabularyReply* reply) const override;
  Status AcquireTask(const proto::AcquireTaskRequest& request, proto::Task* task) override;
  Status CompleteTask(const proto::CompleteTaskRequest& request) override;
  Status BeginStep(const proto::BeginStepRequest& request, proto::BeginStepReply* reply) override;
  Status EndStep(const proto::EndStepRequest& request) override;
  Status Heartbeat(const proto::HeartbeatRequest& request) override;
  void ReportFailure(std::string_view who, std::uint64_t incarnation,
                     const Status& status) override;
  void RequestStop() override;
  void GetStatus(proto::JobStatusReply* reply) const override;
  bool WaitUntilOver(std::uint32_t wait_ms) override;
  bool WaitUntilWorkersLeft(std::uint32_t wait_ms) override;

 private:
  enum class Phase { kWaiting, kRestoring, kTraining, kEvaluating, kCheckpoint, kOver };
  enum class Wake { kReady, kStop, kFailed };
  // Whether the script goes on or ends early in order.
  enum class Next { kGoOn, kStop };

  struct Server {
    PsAdmin* admin = nullptr;  // null until it joined
    std::unique_ptr<PsAdmin> owned;
    std::string address;
    std::int64_t pid = 0;
    double last_call_s = 0;
    bool holds_state = false;   // it has answered the latest Restore
    std::uint32_t returns = 0;  // how often it was started again
  };
  struct Worker {
    std::uint64_t incarnation = 0;
    std::int64_t pid = 0;
    double last_call_s = 0;
    std::uint64_t rows = 0;
    std::uint64_t steps = 0;    // of training that this incarnation has done
    std::uint32_t returns = 0;  // how often another process took over
    bool is_waiting = false;    // in AcquireTask now
    bool was_told_silent = false;
    bool is_lost = false;
    bool has_left = false;
    // Tasks that are out, by the call that got them; for calls that may be sent again.
    std::map<std::uint64_t, proto::Task> task_of_call;
  };
  // One walk over a data set.
  struct Pass {
    Pass(proto::Task::Kind k, proto::DataSplit s, const LeaseBook::Options& options)
        : kind(k), split(s), book(options) {}
    proto::Task::Kind kind;
    proto::DataSplit split;
    LeaseBook book;
    ScoreBook scores;
    std::uint64_t rows = 0;
    std::uint64_t bad_rows = 0;
  };
  struct ReportMark {  // of the latest progress report
    double at_s = 0;
    std::uint64_t rows = 0;
    double loss_sum = 0;
  };

  // coordinator_core.cc
  double Now() const { return options_.clock_s(); }
  std::string CheckpointPath(std::string_view name) const;  // absolute
  std::string ShownPath(std::string_view name) const;  // of a checkpoint, below run_dir as given
  void FillResult(JobResult* result) const REQUIRES(mu_);

  // coordinator_members.cc
  Status TakeBack(const proto::JoinPsRequest& request, Server* server) REQUIRES(mu_);
  Status CheckIncarnation(std::uint32_t worker, std::uint64_t incarnation) REQUIRES(mu_);
  bool TryAssign(const proto::AcquireTaskRequest& request, proto::Task* task) REQUIRES(mu_);
  Status TakeScores(const proto::CompleteTaskRequest& request, const Lease& lease) REQUIRES(mu_);
  void CountTrained(const proto::CompleteTaskRequest& request) REQUIRES(mu_);
  Status CheckBadRows() REQUIRES(mu_);
  void Fail(std::string_view who, const Status& status) REQUIRES(mu_);
  void Changed() REQUIRES(mu_);
  // The leases of a worker that is no more; returns how many. Ends a deterministic job if rows
  // would be trained twice.
  int HandBack(std::uint32_t index, const Worker& worker) REQUIRES(mu_);
  void WatchMembers() REQUIRES(mu_);
  void WatchWorker(std::uint32_t index, Worker& worker) REQUIRES(mu_);
  std::string MissingServers() const REQUIRES(mu_);
  std::string PhaseText() const REQUIRES(mu_);
  bool HasLiveWorker() const REQUIRES(mu_);

  // coordinator_run.cc
  Result<Next> RunScript();
  Result<Next> AwaitServers();
  Result<Next> TrainEpoch();
  Result<Next> EndTrainPass() REQUIRES(mu_);
  Result<Next> PauseAndCheckpoint(bool is_stopping);
  Result<Next> EvaluateEpoch();
  Result<Next> Evaluate(proto::DataSplit split, proto::Metrics* metrics);
  Result<Next> StopWithCheckpoint();
  Result<Next> FinishJob();
  EpochSummary CloseEpoch(const proto::Metrics* metrics) REQUIRES(mu_);
  void StartPass(proto::Task::Kind kind, proto::DataSplit split, std::uint64_t start,
                 std::uint64_t total_rows);
  void SavePosition() REQUIRES(mu_);
  void StopTrainClock() REQUIRES(mu_);
  bool CheckpointIsDue() const REQUIRES(mu_);
  void SetPhase(Phase phase);
  template <typename Ready>
  Wake Await(Ready ready, bool ends_on_stop);
  std::optional<JobProgress> ProgressIfDue() REQUIRES(mu_);

  // coordinator_checkpoint.cc
  bool ServersRecover() const;
  // Calls `attempt` again for as long as a server that may come back is the reason why it fails.
  template <typename Attempt>
  Status Persist(const std::string& what, Attempt attempt);
  Status RestoreServers(const std::string& checkpoint);
  Status WriteCheckpoint(const std::string& name, bool is_best);
  Status WriteCheckpointFiles(const std::string& name, bool is_best,
                              const proto::TrainState& state);
  Status WriteMetricsFile() const;
  // Notes what the servers tell about themselves; where one does not, that is a warning.
  void AskServers();
  template <typename Call>
  Status OnAllServers(Call call);

  const proto::JobConfig job_;
  const CoordinatorOptions options_;
  const std::string run_folder_;          // absolute
  const std::string checkpoints_folder_;  // absolute
  const RunLock lock_;
  const std::uint64_t job_epoch_;  // distinguishes this run of the job from others
  const std::string job_text_;
  const std::string vocabulary_xxh3_;
  bool was_finished_ = false;  // constant after Load
  std::string resume_from_;    // path; constant after Load

  mutable Mutex mu_;
  CondVar changed_;
  std::uint64_t events_ GUARDED_BY(mu_) = 0;
  Phase phase_ GUARDED_BY(mu_) = Phase::kWaiting;
  Status failure_ GUARDED_BY(mu_);
  bool stop_requested_ GUARDED_BY(mu_) = false;
  bool was_stopped_ GUARDED_BY(mu_) = false;
  bool serves_workers_ GUARDED_BY(mu_) = false;  // servers hold the state to go on from
  bool is_over_ GUARDED_BY(mu_) = false;
  std::vector<Server> servers_ GUARDED_BY(mu_);
  std::map<std::uint32_t, Worker> workers_ GUARDED_BY(mu_);
  std::uint64_t joins_ GUARDED_BY(mu_) = 0;
  double without_worker_since_s_ GUARDED_BY(mu_) = 0;
  double told_waiting_at_s_ GUARDED_BY(mu_) = 0;
  proto::TrainState state_ GUARDED_BY(mu_);
  std::optional<Pass> pass_ GUARDED_BY(mu_);
  StepClock clock_ GUARDED_BY(mu_);
  std::uint64_t next_task_id_ GUARDED_BY(mu_) = 1;
  std::map<int, std::uint64_t> rows_of_split_ GUARDED_BY(mu_);  // once evaluated
  std::optional<double> train_clock_start_s_ GUARDED_BY(mu_);
  ReportMark last_report_ GUARDED_BY(mu_);
  // Of the latest checkpoint.
  std::string latest_checkpoint_ GUARDED_BY(mu_);  // name
  double checkpoint_at_s_ GUARDED_BY(mu_) = 0;
  std::uint64_t checkpoint_steps_ GUARDED_BY(mu_) = 0;
  bool is_dirty_ GUARDED_BY(mu_) = false;  // something was trained since
  // Of the end of the latest epoch's training; empty when a server did not tell.
  std::optional<ServerReport> server_report_ GUARDED_BY(mu_);
};

}  // namespace cairn::launch
