#include "launch/local/local_job.h"

#include <sched.h>

#include <thread>
#include <utility>
#include <vector>

#include "launch/local/local_control.h"
#include "launch/local/local_ps_client.h"
#include "launch/local/prepare_job.h"
#include "proto/config.pb.h"
#include "proto/control.pb.h"
#include "ps/server/ps_core.h"
#include "worker/features/vocabulary.h"
#include "worker/train/worker.h"

namespace cairn::launch {
namespace {

constexpr std::uint32_t kJoinWaitMs = 300000;

class LocalJobImpl : public LocalJob {
 public:
  LocalJobImpl(const proto::JobConfig& job, std::unique_ptr<ps::PsCore> server)
      : job_(job), server_(std::move(server)), admin_(MakeLocalPsAdmin(server_.get())) {}

  Status Init(const std::string& run_dir, const std::string& vocabulary, JobObserver* observer) {
    CoordinatorOptions options;
    options.run_dir = run_dir;
    options.vocabulary = vocabulary;
    options.ps = {admin_.get()};
    options.observer = observer;
    options.progress_every_s = job_.train().progress_every_s();
    ASSIGN_OR_RETURN(coordinator_, CoordinatorCore::Make(job_, options));
    if (!vocabulary.empty()) {  // now that the checkpoint it may come from is known to be sound
      ASSIGN_OR_RETURN(worker::Vocabulary parsed, worker::Vocabulary::Parse(vocabulary),
                       "vocabulary");
      RETURN_IF_ERROR(worker::CheckVocabulary(parsed, job_), "vocabulary");
      vocabulary_ = std::make_shared<worker::Vocabulary>(std::move(parsed));
    }
    control_ = MakeLocalJobControl(coordinator_.get());
    client_ = MakeLocalPsClient(job_, {server_.get()}, ps::PsOptions{}.slot_bits);
    return OkStatus();
  }

  Status Run(JobResult* result) override {
    if (coordinator_->was_finished()) return coordinator_->Run(result);
    Status job_status;
    std::thread coordinator(
        [this, result, &job_status] { job_status = coordinator_->Run(result); });
    const Status worker_status = RunWorker();
    if (!worker_status.ok()) coordinator_->ReportFailure("worker", 0, worker_status);
    coordinator.join();
    // The coordinator reports the first failure, whoever had it.
    return job_status;
  }

  void RequestStop() override { coordinator_->RequestStop(); }

 private:
  Status RunWorker() {
    proto::JoinWorkerRequest join;
    proto::JoinWorkerReply joined;
    RETURN_IF_ERROR(coordinator_->JoinWorker(join, kJoinWaitMs, &joined));
    worker::WorkerOptions options;
    options.incarnation = joined.incarnation();
    options.threads = ComputeThreads(job_);
    options.vocabulary = vocabulary_;
    options.prefetch_batches =
        job_.train().has_prefetch_batches() ? static_cast<int>(job_.train().prefetch_batches()) : 0;
    ASSIGN_OR_RETURN(const std::unique_ptr<worker::Worker> worker,
                     worker::Worker::Make(job_, options, client_.get(), control_.get()));
    return worker->Run();
  }

  const proto::JobConfig job_;
  std::shared_ptr<const worker::Vocabulary> vocabulary_;  // null if the job needs none
  const std::unique_ptr<ps::PsCore> server_;
  const std::unique_ptr<PsAdmin> admin_;
  std::unique_ptr<CoordinatorCore> coordinator_;
  std::unique_ptr<worker::JobControl> control_;
  std::unique_ptr<worker::PsClient> client_;
};

}  // namespace

Result<std::unique_ptr<LocalJob>> LocalJob::Make(const proto::JobConfig& job,
                                                 const std::string& run_dir,
                                                 JobObserver* observer) {
  proto::JobConfig prepared = job;
  std::string vocabulary;
  RETURN_IF_ERROR(PrepareJob(run_dir, observer, &prepared, &vocabulary));
  ps::PsOptions options;
  options.folder = StrCat(run_dir, "/ps/0000");
  ASSIGN_OR_RETURN(std::unique_ptr<ps::PsCore> server, ps::PsCore::Make(prepared, options));
  auto local = std::make_unique<LocalJobImpl>(prepared, std::move(server));
  RETURN_IF_ERROR(local->Init(run_dir, vocabulary, observer));
  return local;
}

int ComputeThreads(const proto::JobConfig& job) {
  if (job.train().threads() > 0) return static_cast<int>(job.train().threads());
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof cores, &cores) == 0) return CPU_COUNT(&cores);
  return std::max(1u, std::thread::hardware_concurrency());
}

}  // namespace cairn::launch
