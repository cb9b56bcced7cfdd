// The coordinator without transport: one object runs a job from its first row to its result. The
// gRPC service (control_service.h) and the single process (launch/local) are thin callers, so that
// both behave alike and read each other's checkpoints.
//
//   waiting for ps -> restore (LATEST, or nothing) -> [ train an epoch -> evaluate -> schedule ->
//   checkpoint ]* -> restore the best checkpoint -> evaluate the test set -> final checkpoint
//
// Make reads and verifies the run directory. Run, on a thread of the caller, is the script above;
// it waits for what servers and workers do through the other methods. Workers lease ranges of rows
// (lease_book.h). A checkpoint is taken when no lease is out: everything before its position is
// trained and acknowledged, nothing after it.
//
// The job's end is one of: finished; stopped (RequestStop: checkpoint, then everybody is told to
// leave); failed (the first failure is kept, later ones are its consequences).
//
// Thread-safety: all methods may be called from several threads at once; Run once. No thread of its
// own outlives a call. Everything that is waited for is bounded or named in a log line every 10 s.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "launch/coordinator/ps_admin.h"

namespace cairn::proto {
class AcquireTaskRequest;
class BeginStepReply;
class BeginStepRequest;
class CompleteTaskRequest;
class EndStepRequest;
class HeartbeatRequest;
class JobConfig;
class JobStatusReply;
class JoinPsReply;
class JoinPsRequest;
class JoinWorkerReply;
class JoinWorkerRequest;
class ReadVocabularyReply;
class ReadVocabularyRequest;
class Task;
}  // namespace cairn::proto

namespace cairn::launch {

// Evaluation of a data set; `auc` is empty where all rows have one label, gauc and pairwise
// (worker/metrics/group_metrics.h) without data.group or where no group has both labels.
struct Quality {
  std::uint64_t rows = 0;
  std::optional<double> auc;
  double logloss = 0;
  std::optional<double> gauc;
  std::optional<double> pairwise;
};

struct ServerReport;

struct JobProgress {
  std::string_view phase;        // "training" or "evaluating"
  std::uint64_t epoch = 0;       // from 0
  std::uint64_t epochs = 0;      // at most
  std::uint64_t rows = 0;        // of this pass so far
  std::uint64_t total_rows = 0;  // of this pass; 0: not known yet
  double rows_per_s = 0;         // since the last report
  double loss = 0;               // training: mean since the last report, NaN without rows
  double epoch_loss = 0;         // training: mean of the epoch so far, NaN without rows
};

struct EpochSummary {
  std::uint64_t epoch = 0;
  std::uint64_t rows = 0;
  double rows_per_s = 0;
  double train_loss = 0;
  std::optional<Quality> quality;  // nothing without data to evaluate on
  bool is_best = false;
  double learning_rate_scale = 1;  // of the next epoch
};

// Told what a person wants to see. Called from Run's thread, one call at a time, without locks.
class JobObserver {
 public:
  virtual ~JobObserver() = default;
  // Before the job starts: a line about what was counted in its training files.
  virtual void OnCounted(std::string_view /*text*/) {}
  virtual void OnStart(std::string_view resumed_from) = 0;  // a checkpoint's path; empty: fresh
  virtual void OnProgress(const JobProgress& progress) = 0;
  virtual void OnEpoch(const EpochSummary& epoch) = 0;
  virtual void OnCheckpoint(const std::string& path) = 0;
  // Once, behind everything else, when a job that trained has come to its end or was stopped: what
  // the servers told when the training had ended.
  virtual void OnServers(const ServerReport& /*report*/) {}
};

struct CoordinatorOptions {
  std::string run_dir;  // made when missing
  std::uint32_t ps_count = 1;
  std::uint32_t worker_count = 1;  // for messages only; more or fewer may join

  // Servers in this process, by index; they outlive the core. Empty: servers join, and `connect`
  // makes the way to each. It must not wait for the server.
  std::vector<PsAdmin*> ps;
  std::function<Result<std::unique_ptr<PsAdmin>>(std::uint32_t ps, const std::string& address)>
      connect;

  // Seconds of a clock that never goes back; by default the system's.
  std::function<double()> clock_s;
  JobObserver* observer = nullptr;  // outlives the core
  double progress_every_s = 10;
  // Content of the file of frequent values (worker/features/vocabulary.h), kept in the run
  // directory and in every checkpoint; empty: the job has none.
  std::string vocabulary = {};
  std::string program = {};  // name and version, for manifests; empty: this program's

  double silent_s = 10;        // a worker that has not called for so long is named in the log,
  double lost_s = -1;          // and for so long: its leases are handed out again; 0: never;
                               // negative: 120 where servers join, never where they are built in
  double member_wait_s = 300;  // the job fails when servers, or any worker, are missing for so long
  double stop_wait_s = 60;     // RequestStop gives up on leases that are out after so long
};

struct JobResult {
  bool stopped = false;          // by RequestStop, before the end; the rest is of the job so far
  bool was_finished = false;     // before this run: nothing was trained now
  std::optional<Quality> test;   // with the best weights
  std::optional<Quality> valid;  // of the best epoch; without data.valid: nothing
  std::uint64_t epochs = 0;      // trained to their end
  std::uint64_t best_epoch = 0;  // from 0
  double rows_per_s = 0;         // training rows over seconds of training, all runs of the job
  double bayes_auc = 0;          // 0: not known
  std::string run_dir;
  std::string checkpoint;  // path of the latest one; empty: none yet
};

class CoordinatorCore {
 public:
  // `job` is effective and valid. Locks the run directory and looks for a checkpoint to go on from.
  // DataLoss, naming file and remedy, when the latest one is damaged. FailedPrecondition when it is
  // of another job (the first difference is told) or another process runs in the directory.
  // Unavailable when the directory cannot be written.
  static Result<std::unique_ptr<CoordinatorCore>> Make(const proto::JobConfig& job,
                                                       const CoordinatorOptions& options);
  virtual ~CoordinatorCore() = default;

  // True if the run directory holds the job's result: Run only reports it, needing nobody.
  virtual bool was_finished() const = 0;

  // Runs the job to its end. An error is the job's first failure. Afterwards every AcquireTask says
  // LEAVE, or Aborted if the job failed.
  virtual Status Run(JobResult* result) = 0;

  // See proto/control.proto. JoinPs: InvalidArgument for an index that the job does not have. A
  // server that was given state and joins again, as another process, is told to recover; it must be
  // where it was (FailedPrecondition for another address). With durability NONE it has lost that
  // state, which fails the job.
  virtual Status JoinPs(const proto::JoinPsRequest& request, proto::JoinPsReply* reply) = 0;
  // Waits at most wait_ms for the servers to be there and restored, then Unavailable names what is
  // missing. A worker number that joins again takes over from its earlier incarnation. With
  // train.deterministic a second number is InvalidArgument, and the job fails with Unavailable when
  // a worker that goes away had rows to train in hand.
  virtual Status JoinWorker(const proto::JoinWorkerRequest& request, std::uint32_t wait_ms,
                            proto::JoinWorkerReply* reply) = 0;

  // A piece of options.vocabulary; nothing behind its end. NotFound if the job has none.
  virtual Status ReadVocabulary(const proto::ReadVocabularyRequest& request,
                                proto::ReadVocabularyReply* reply) const = 0;

  // As worker::JobControl; AcquireTask waits at most 10 s. Aborted for an incarnation that is not
  // the worker's latest, or was given up as lost.
  virtual Status AcquireTask(const proto::AcquireTaskRequest& request, proto::Task* task) = 0;
  virtual Status CompleteTask(const proto::CompleteTaskRequest& request) = 0;

  // As worker::JobControl; BeginStep waits at most 10 s.
  virtual Status BeginStep(const proto::BeginStepRequest& request,
                           proto::BeginStepReply* reply) = 0;
  virtual Status EndStep(const proto::EndStepRequest& request) = 0;

  // See proto/control.proto. A worker that is silent for options.lost_s is given up.
  virtual Status Heartbeat(const proto::HeartbeatRequest& request) = 0;

  // The job fails with this error, if nothing failed before. who: "worker 1", "ps 0", put before
  // the message; empty in a single process.
  // incarnation: of a worker that joined; ignored if it is not the worker's latest, or given up. 0:
  // of nobody who joined.
  virtual void ReportFailure(std::string_view who, std::uint64_t incarnation,
                             const Status& status) = 0;

  // Orderly stop: no more leases, a checkpoint, everybody leaves. Returns at once; from any thread,
  // but not from a signal handler.
  virtual void RequestStop() = 0;

  virtual void GetStatus(proto::JobStatusReply* reply) const = 0;

  // Waits until Run has ended; false if it has not within wait_ms.
  virtual bool WaitUntilOver(std::uint32_t wait_ms) = 0;
  // Waits until every worker that joined was told to leave; false if not within wait_ms. After Run.
  virtual bool WaitUntilWorkersLeft(std::uint32_t wait_ms) = 0;
};

}  // namespace cairn::launch
