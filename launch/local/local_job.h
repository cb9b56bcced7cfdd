// The whole job in one process: one parameter server's core, the coordinator's core and one worker
// with its threads.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "common/base/status.h"
#include "launch/coordinator/coordinator_core.h"

namespace cairn::proto {
class JobConfig;
}  // namespace cairn::proto

namespace cairn::launch {

class LocalJob {
 public:
  // `job` is effective. Prepares it (prepare_job.h), makes `run_dir`, looks for a checkpoint to go
  // on from. Errors as PrepareJob, CoordinatorCore::Make and worker::Worker::Make. `observer` may
  // be null; it outlives the job.
  static Result<std::unique_ptr<LocalJob>> Make(const proto::JobConfig& job,
                                                const std::string& run_dir, JobObserver* observer);
  virtual ~LocalJob() = default;

  // Runs to the end. Call once.
  virtual Status Run(JobResult* result) = 0;
  // Orderly stop; from any thread.
  virtual void RequestStop() = 0;
};

// Compute threads of a process: train.threads, or the cores that it may use.
int ComputeThreads(const proto::JobConfig& job);

}  // namespace cairn::launch
