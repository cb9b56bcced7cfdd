// JobControl over gRPC (proto/control.proto): every call is tried again until the coordinator
// answers, within a limit, and what is waited for is logged.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/base/status.h"
#include "worker/client/job_control.h"

namespace cairn::proto {
class JoinWorkerReply;
}

namespace cairn::worker {

struct GrpcJobControlOptions {
  std::string coordinator;  // host:port or unix:PATH
  std::uint32_t worker = 0;
  // How long to try: to join, parameter servers that are not there yet included, and each later
  // call.
  std::int64_t join_ms = 300'000;
  std::int64_t call_ms = 60'000;
  // Of one try, beside what the coordinator itself may wait.
  std::int64_t try_ms = 10'000;
};

// Errors name the coordinator and its address: Unavailable or DeadlineExceeded when it did not
// answer in time, Cancelled after Cancel, else what it said.
class GrpcJobControl : public JobControl {
 public:
  static std::unique_ptr<GrpcJobControl> Make(const GrpcJobControlOptions& options);

  // Enters the job; the reply tells job, servers, epoch and incarnation.
  virtual Status Join(proto::JoinWorkerReply* reply) = 0;

  // After Join. One try: Unavailable or DeadlineExceeded if it does not reach the coordinator;
  // Aborted when this worker has nothing more to do.
  virtual Status Heartbeat() = 0;

  // The job's vocabulary file, after Join. DataLoss if it arrives with another checksum.
  virtual Status FetchVocabulary(std::string* bytes) = 0;

  // Tells the coordinator about an error that ends the job. One try: there is nobody else to tell.
  virtual void ReportFailure(const Status& failure) = 0;

  // Ends waiting calls, and all later ones but ReportFailure, with Cancelled. From any thread.
  virtual void Cancel() = 0;
};

}  // namespace cairn::worker
