// One worker: takes tasks, reads their rows, pulls, runs the model, pushes, and reports.
//
//   reader thread   task -> window -> Batch                     (bounded queue)
//   pull thread     Batch -> rows and dense parameters          (at most `prefetch_batches` ahead
//   of the model) Run()'s thread  forward, loss, backward, on the graph's thread pool push thread
//   gradients -> servers; the task is complete once its last push is acknowledged
//
// With prefetch_batches = 0 there are no pull and push threads: a step is pulled after the step
// before it was pushed, and the same job gives the same numbers in every run.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "common/base/status.h"
#include "worker/client/job_control.h"
#include "worker/client/ps_client.h"

namespace cairn::proto {
class JobConfig;
}  // namespace cairn::proto

namespace cairn::worker {

class Vocabulary;

struct WorkerOptions {
  std::uint32_t worker = 0;
  std::uint64_t incarnation = 0;
  int threads = 1;
  int prefetch_batches = 0;
  // Needed where a feature has a min_count above 1.
  std::shared_ptr<const Vocabulary> vocabulary = nullptr;
};

class Worker {
 public:
  // `job` is effective. `servers` and `control` are borrowed for the life of the worker.
  // InvalidArgument when the job does not fit its data or its model, naming the field.
  static Result<std::unique_ptr<Worker>> Make(const proto::JobConfig& job,
                                              const WorkerOptions& options, PsClient* servers,
                                              JobControl* control);
  virtual ~Worker() = default;

  // Works until the coordinator says LEAVE, Stop() is called or an error ends it. Call once.
  virtual Status Run() = 0;

  // Makes Run() return soon with OK, leaving its tasks uncompleted. From any thread, also from a
  // signal-handling one.
  virtual void Stop() = 0;
};

}  // namespace cairn::worker
