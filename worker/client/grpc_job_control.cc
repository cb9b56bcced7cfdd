#include "worker/client/grpc_job_control.h"

#include <glog/logging.h>
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "common/io/checksum.h"
#include "common/rpc/channel.h"
#include "common/rpc/grpc_status.h"
#include "common/rpc/retry.h"
#include "proto/control.grpc.pb.h"

namespace cairn::worker {
namespace {

// The job text and the addresses of all servers fit easily.
constexpr int kMaxReplyBytes = 16 << 20;

class Control final : public GrpcJobControl {
 public:
  explicit Control(const GrpcJobControlOptions& options)
      : options_(options),
        stub_(proto::Control::NewStub(rpc::MakeChannel(options.coordinator, kMaxReplyBytes))) {}

  Status Join(proto::JoinWorkerReply* reply) override {
    proto::JoinWorkerRequest request;
    request.set_worker(options_.worker);
    request.set_pid(::getpid());
    RETURN_IF_ERROR(Call("join", options_.join_ms, options_.try_ms,
                         &proto::Control::Stub::JoinWorker, request, reply));
    incarnation_ = reply->incarnation();
    return OkStatus();
  }
  Status Heartbeat() override {
    proto::HeartbeatRequest request;
    request.set_worker(options_.worker);
    request.set_incarnation(incarnation_);
    proto::HeartbeatReply reply;
    grpc::ClientContext context;
    rpc::SetDeadline(&context, options_.try_ms);
    return FromGrpc(stub_->Heartbeat(&context, request, &reply));
  }
  Status FetchVocabulary(std::string* bytes) override {
    bytes->clear();
    proto::ReadVocabularyReply reply;
    do {
      proto::ReadVocabularyRequest request;
      request.set_offset(bytes->size());
      RETURN_IF_ERROR(Call("vocabulary", options_.call_ms, options_.try_ms,
                           &proto::Control::Stub::ReadVocabulary, request, &reply));
      bytes->append(reply.bytes());
    } while (!reply.bytes().empty() && bytes->size() < reply.total_bytes());
    if (bytes->size() == reply.total_bytes() && ChecksumOfBytes(*bytes) == reply.xxh3())
      return OkStatus();
    return absl::DataLossError(
        StrCat("the vocabulary of the coordinator at ", options_.coordinator, " arrived damaged"));
  }
  Status AcquireTask(const proto::AcquireTaskRequest& request, proto::Task* task) override {
    // Numbered, so that a try whose answer was lost is answered with the same task again.
    proto::AcquireTaskRequest numbered = request;
    numbered.set_call(calls_.fetch_add(1) + 1);
    return Call("task", options_.call_ms, options_.try_ms + request.wait_ms(),
                &proto::Control::Stub::AcquireTask, numbered, task);
  }
  Status CompleteTask(const proto::CompleteTaskRequest& request) override {
    proto::CompleteTaskReply reply;
    return Call("task done", options_.call_ms, options_.try_ms, &proto::Control::Stub::CompleteTask,
                request, &reply);
  }
  Status BeginStep(const proto::BeginStepRequest& request, proto::BeginStepReply* reply) override {
    return Call("step", options_.call_ms, options_.try_ms + request.wait_ms(),
                &proto::Control::Stub::BeginStep, request, reply);
  }
  Status EndStep(const proto::EndStepRequest& request) override {
    proto::EndStepReply reply;
    return Call("step done", options_.call_ms, options_.try_ms, &proto::Control::Stub::EndStep,
                request, &reply);
  }
  void ReportFailure(const Status& failure) override {
    proto::ReportFailureRequest request;
    request.set_who(StrCat("worker ", options_.worker));
    request.set_incarnation(incarnation_);
    request.set_code(static_cast<int>(failure.code()));
    request.set_message(std::string(failure.message()));
    proto::ReportFailureReply reply;
    grpc::ClientContext context;
    rpc::SetDeadline(&context, options_.try_ms);
    const grpc::Status status = stub_->ReportFailure(&context, request, &reply);
    if (!status.ok()) LOG(WARNING) << "could not report to the coordinator: " << FromGrpc(status);
  }
  void Cancel() override { cancel_.Cancel(); }

 private:
  template <typename Request, typename Reply>
  Status Call(const char* what, std::int64_t total_ms, std::int64_t try_ms,
              grpc::Status (proto::Control::Stub::*method)(grpc::ClientContext*, const Request&,
                                                           Reply*),
              const Request& request, Reply* reply) {
    RetryPolicy policy;
    policy.total_ms = total_ms;
    policy.deadline_ms = try_ms;
    policy.seed = options_.worker;
    policy.cancel = &cancel_;
    return CallWithRetry(policy, StrCat(what, ": coordinator at ", options_.coordinator),
                         [&](std::int64_t deadline_ms) {
                           grpc::ClientContext context;
                           rpc::SetDeadline(&context, deadline_ms);
                           return FromGrpc((stub_.get()->*method)(&context, request, reply));
                         });
  }

  const GrpcJobControlOptions options_;
  const std::unique_ptr<proto::Control::Stub> stub_;
  CancelToken cancel_;
  std::atomic<std::uint64_t> calls_{0};
  std::atomic<std::uint64_t> incarnation_{0};  // of the latest Join
};

}  // namespace

std::unique_ptr<GrpcJobControl> GrpcJobControl::Make(const GrpcJobControlOptions& options) {
  return std::make_unique<Control>(options);
}

}  // namespace cairn::worker
