#include "launch/coordinator/control_service.h"

#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/resource_quota.h>

#include <chrono>
#include <utility>

#include "common/rpc/grpc_status.h"
#include "common/rpc/listen_address.h"
#include "glog/logging.h"
#include "launch/coordinator/coordinator_core.h"
#include "proto/control.grpc.pb.h"

namespace cairn::launch {
namespace {

// The scores of a lease are the largest message: 13 bytes for each of at most 262144 rows.
constexpr int kMaxReceiveBytes = 8 << 20;

class ControlService final : public proto::Control::Service {
 public:
  ControlService(CoordinatorCore* core, std::uint32_t join_wait_ms)
      : core_(core), join_wait_ms_(join_wait_ms) {}

  grpc::Status JoinPs(grpc::ServerContext*, const proto::JoinPsRequest* request,
                      proto::JoinPsReply* reply) override {
    return ToGrpc(core_->JoinPs(*request, reply));
  }
  grpc::Status JoinWorker(grpc::ServerContext*, const proto::JoinWorkerRequest* request,
                          proto::JoinWorkerReply* reply) override {
    return ToGrpc(core_->JoinWorker(*request, join_wait_ms_, reply));
  }
  grpc::Status ReadVocabulary(grpc::ServerContext*, const proto::ReadVocabularyRequest* request,
                              proto::ReadVocabularyReply* reply) override {
    return ToGrpc(core_->ReadVocabulary(*request, reply));
  }
  grpc::Status AcquireTask(grpc::ServerContext*, const proto::AcquireTaskRequest* request,
                           proto::Task* task) override {
    return ToGrpc(core_->AcquireTask(*request, task));
  }
  grpc::Status CompleteTask(grpc::ServerContext*, const proto::CompleteTaskRequest* request,
                            proto::CompleteTaskReply*) override {
    return ToGrpc(core_->CompleteTask(*request));
  }
  grpc::Status BeginStep(grpc::ServerContext*, const proto::BeginStepRequest* request,
                         proto::BeginStepReply* reply) override {
    return ToGrpc(core_->BeginStep(*request, reply));
  }
  grpc::Status EndStep(grpc::ServerContext*, const proto::EndStepRequest* request,
                       proto::EndStepReply*) override {
    return ToGrpc(core_->EndStep(*request));
  }
  grpc::Status Heartbeat(grpc::ServerContext*, const proto::HeartbeatRequest* request,
                         proto::HeartbeatReply*) override {
    return ToGrpc(core_->Heartbeat(*request));
  }
  grpc::Status ReportFailure(grpc::ServerContext*, const proto::ReportFailureRequest* request,
                             proto::ReportFailureReply*) override {
    core_->ReportFailure(
        request->who(), request->incarnation(),
        FromGrpc({static_cast<grpc::StatusCode>(request->code()), request->message()}));
    return grpc::Status::OK;
  }
  grpc::Status GetJobStatus(grpc::ServerContext*, const proto::JobStatusRequest*,
                            proto::JobStatusReply* reply) override {
    core_->GetStatus(reply);
    return grpc::Status::OK;
  }
  grpc::Status StopJob(grpc::ServerContext* context, const proto::StopJobRequest*,
                       proto::StopJobReply* reply) override {
    core_->RequestStop();
    while (!core_->WaitUntilOver(/*wait_ms=*/100)) {
      if (context->IsCancelled()) return grpc::Status::CANCELLED;
    }
    proto::JobStatusReply status;
    core_->GetStatus(&status);
    reply->set_checkpoint(status.latest_checkpoint());
    return grpc::Status::OK;
  }

 private:
  CoordinatorCore* const core_;
  const std::uint32_t join_wait_ms_;
};

class GrpcControlServer final : public ControlServer {
 public:
  GrpcControlServer(const ControlServerOptions& options, CoordinatorCore* core)
      : options_(options), service_(core, options.join_wait_ms) {}
  ~GrpcControlServer() override { Stop(); }

  Status Start() override;
  const std::string& address() const override { return address_; }
  void Stop() override;

 private:
  const ControlServerOptions options_;
  std::string address_;
  ControlService service_;
  std::unique_ptr<grpc::Server> server_;
};

void SetArguments(const ControlServerOptions& options, grpc::ServerBuilder& builder) {
  // A second server on a port must fail, not share it.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 5000);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 8 << 10);
  // Members ping every 10 s; a silent one is noticed by our own pings.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 10000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  builder.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 2);
  // Most calls wait for a task, each on a thread of its own.
  grpc::ResourceQuota quota("control");
  quota.SetMaxThreads(options.max_threads);
  builder.SetResourceQuota(quota);
}

Status GrpcControlServer::Start() {
  CHECK(server_ == nullptr) << "started twice";
  RETURN_IF_ERROR(rpc::CheckListenAddress(options_.address, options_.insecure_network));
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  SetArguments(options_, builder);
  int port = 0;
  builder.AddListeningPort(options_.address, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service_);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) return rpc::CannotListen(options_.address, "taken by another");
  address_ = rpc::WithPort(options_.address, port);
  return OkStatus();
}

void GrpcControlServer::Stop() {
  if (server_ == nullptr) return;
  // Waits of calls in hand are bounded by themselves; they are answered while the grace lasts.
  server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
  server_->Wait();
  server_.reset();
}

}  // namespace

std::unique_ptr<ControlServer> ControlServer::Make(const ControlServerOptions& options,
                                                   CoordinatorCore* core) {
  return std::make_unique<GrpcControlServer>(options, core);
}

}  // namespace cairn::launch
