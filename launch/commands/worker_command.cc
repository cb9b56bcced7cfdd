// `cairn worker`: the cluster role that reads, computes, pulls and pushes.
#include <gflags/gflags.h>

#include <chrono>
#include <iostream>
#include <string_view>
#include <thread>

#include "common/base/mutex.h"
#include "common/config/config.h"
#include "launch/commands/commands.h"
#include "launch/commands/flags.h"
#include "launch/commands/signals.h"
#include "launch/local/local_job.h"
#include "proto/config.pb.h"
#include "proto/control.pb.h"
#include "ps/server/ps_core.h"
#include "worker/client/grpc_job_control.h"
#include "worker/client/grpc_ps_client.h"
#include "worker/features/vocabulary.h"
#include "worker/train/worker.h"

DEFINE_string(coordinator, "", "ADDRESS: host:port or unix:PATH of the coordinator");
DEFINE_int32(worker, 0, "J: number of this worker, from 0");

namespace cairn::launch {
namespace {

constexpr std::string_view kFlags[] = {"coordinator", "worker"};
constexpr Usage kUsage = {
    .command = "cairn worker",
    .examples = "  cairn worker --coordinator=10.0.0.1:7000 --worker=3\n",
    .summary =
        "Works for a coordinator until the job is over; launch/cluster starts it. It keeps no "
        "state of its own.\n",
    .arguments = "",
    .flags = kFlags,
};

constexpr std::chrono::milliseconds kBeat{2000};
// A server that is started again recovers first, which takes seconds for each GiB.
constexpr std::chrono::minutes kServerReturns{10};

// Tells the coordinator that this worker lives, and stops the worker when it has nothing more to
// do: it may be waiting for a server that nobody starts again.
class Heartbeats {
 public:
  explicit Heartbeats(worker::GrpcJobControl* control)
      : thread_([this, control] { Loop(control); }) {}
  ~Heartbeats() { (void)End(); }

  // From now on there is a worker to stop; it outlives this. At once if the end was told already.
  void Watch(worker::Worker* worker) EXCLUDES(mu_) {
    MutexLock lock(mu_);
    worker_ = worker;
    if (!end_.ok()) worker_->Stop();
  }

  // The coordinator's last word, if it ended the work.
  Status End() EXCLUDES(mu_) {
    {
      MutexLock lock(mu_);
      is_over_ = true;
      changed_.NotifyAll();
    }
    if (thread_.joinable()) thread_.join();
    MutexLock lock(mu_);
    return end_;
  }

 private:
  void Loop(worker::GrpcJobControl* control) EXCLUDES(mu_) {
    for (;;) {
      {
        MutexLock lock(mu_);
        if (changed_.WaitFor(mu_, kBeat, [this]() NO_THREAD_SAFETY_ANALYSIS { return is_over_; })) {
          return;
        }
      }
      const Status status = control->Heartbeat();
      // Other errors show in the worker's own calls, which are tried again for long.
      if (!absl::IsAborted(status)) continue;
      MutexLock lock(mu_);
      end_ = status;
      if (worker_ != nullptr) worker_->Stop();
      return;
    }
  }

  Mutex mu_;
  CondVar changed_;
  bool is_over_ GUARDED_BY(mu_) = false;
  Status end_ GUARDED_BY(mu_);
  worker::Worker* worker_ GUARDED_BY(mu_) = nullptr;
  std::thread thread_;
};

Status Work(const proto::JoinWorkerReply& joined, worker::GrpcJobControl* control,
            StopSignals* signals) {
  ASSIGN_OR_RETURN(const proto::JobConfig job,
                   LoadJobText(joined.job(), "job of the coordinator", {}));
  worker::GrpcPsClientOptions servers;
  servers.addresses.assign(joined.ps_address().begin(), joined.ps_address().end());
  servers.job_epoch = joined.job_epoch();
  servers.worker = static_cast<std::uint32_t>(FLAGS_worker);
  servers.incarnation = joined.incarnation();
  servers.first_connect = servers.reconnect = servers.request = kServerReturns;
  servers.slot_bits = ps::PsOptions{}.slot_bits;
  for (const proto::TableConfig& table : job.table()) servers.table_dims.push_back(table.dim());
  // Servers may be recovering, for long: this worker lives meanwhile.
  Heartbeats heartbeats(control);
  ASSIGN_OR_RETURN(const std::unique_ptr<worker::PsClient> client,
                   worker::MakeGrpcPsClient(servers));

  worker::WorkerOptions options;
  options.worker = servers.worker;
  options.incarnation = joined.incarnation();
  options.threads = ComputeThreads(job);
  if (worker::NeedsVocabulary(job)) {
    std::string bytes;
    RETURN_IF_ERROR(control->FetchVocabulary(&bytes));
    ASSIGN_OR_RETURN(worker::Vocabulary vocabulary, worker::Vocabulary::Parse(bytes));
    options.vocabulary = std::make_shared<worker::Vocabulary>(std::move(vocabulary));
  }
  options.prefetch_batches =
      job.train().has_prefetch_batches() ? static_cast<int>(job.train().prefetch_batches()) : 1;
  ASSIGN_OR_RETURN(const std::unique_ptr<worker::Worker> worker,
                   worker::Worker::Make(job, options, client.get(), control));
  signals->OnStop([&worker, control] {
    worker->Stop();
    control->Cancel();
  });
  std::cerr << "worker " << FLAGS_worker << " works with " << options.threads << " threads\n";
  heartbeats.Watch(worker.get());
  Status status = worker->Run();
  status.Update(heartbeats.End());
  signals->OnStop({});
  return status;
}

}  // namespace

int RunWorker(int argc, char** argv) {
  if (const std::optional<int> code = ParseFlags(kUsage, &argc, &argv)) return *code;
  if (FLAGS_coordinator.empty()) return UsageError(kUsage, "--coordinator=ADDRESS is missing");
  if (FLAGS_worker < 0) return UsageError(kUsage, "--worker must be at least 0");
  StopSignals signals;
  worker::GrpcJobControlOptions options;
  options.coordinator = FLAGS_coordinator;
  options.worker = static_cast<std::uint32_t>(FLAGS_worker);
  const std::unique_ptr<worker::GrpcJobControl> control = worker::GrpcJobControl::Make(options);
  signals.OnStop([&control] { control->Cancel(); });
  proto::JoinWorkerReply joined;
  Status status = control->Join(&joined);
  signals.OnStop({});
  if (status.ok() && joined.is_over()) {
    std::cerr << "the job is over\n";
    return 0;
  }
  if (status.ok()) {
    status = Work(joined, control.get(), &signals);
    // Aborted is the coordinator's own word, or that of servers which serve others now.
    const bool is_news = !status.ok() && !absl::IsAborted(status);
    if (is_news && signals.received() == 0) control->ReportFailure(status);
  }
  if (signals.received() != 0) return 128 + signals.received();
  return status.ok() ? 0 : ReportError(status);
}

}  // namespace cairn::launch
