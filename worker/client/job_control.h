// Where a worker gets its work and reports it. Implementations: the coordinator's core in this
// process (launch/local) and the coordinator over gRPC (worker/client/grpc_job_control.h).
#pragma once

#include "common/base/status.h"

namespace cairn::proto {
class AcquireTaskRequest;
class BeginStepReply;
class BeginStepRequest;
class CompleteTaskRequest;
class EndStepRequest;
class Task;
}  // namespace cairn::proto

namespace cairn::worker {

// Thread-safety: all methods may be called from several threads at once.
// Errors: Unavailable when the coordinator does not answer (after retries); Aborted when the job
// has ended with an error.
class JobControl {
 public:
  virtual ~JobControl() = default;

  // Fills `task`; waits for at most request.wait_ms() and then gives WAIT. A worker may hold
  // several tasks.
  virtual Status AcquireTask(const proto::AcquireTaskRequest& request, proto::Task* task) = 0;

  // See proto/control.proto: for jobs whose consistency is not ASYNC.
  virtual Status BeginStep(const proto::BeginStepRequest& request,
                           proto::BeginStepReply* reply) = 0;
  virtual Status EndStep(const proto::EndStepRequest& request) = 0;

  // The task's pushes are acknowledged (or its scores are in the request).
  virtual Status CompleteTask(const proto::CompleteTaskRequest& request) = 0;
};

}  // namespace cairn::worker
