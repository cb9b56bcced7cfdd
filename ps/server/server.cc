#include "ps/server/server.h"

#include <glog/logging.h>
#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "common/rpc/grpc_status.h"
#include "common/rpc/listen_address.h"
#include "proto/ps_service.grpc.pb.h"
#include "ps/server/executor.h"

namespace cairn::ps {
namespace {

constexpr rlim_t kFewOpenFiles = 4096;
constexpr std::size_t kIdleBufferBytes = std::size_t{256} << 20;

// The calls of proto/ps_service.proto. Snapshot and Restore take long: gRPC's own threads for
// synchronous calls run them, beside the executor's.
class ControlService final : public proto::PsControl::Service {
 public:
  explicit ControlService(RequestHandler* handler) : handler_(handler) {}
  grpc::Status Snapshot(grpc::ServerContext*, const proto::SnapshotRequest* request,
                        proto::SnapshotReply* reply) override {
    return ToGrpc(handler_->Snapshot(request->folder(), reply));
  }
  grpc::Status Restore(grpc::ServerContext*, const proto::RestoreRequest* request,
                       proto::RestoreReply* reply) override {
    return ToGrpc(handler_->Restore(request->checkpoint(), request->job_epoch(), reply));
  }
  grpc::Status Stats(grpc::ServerContext*, const proto::PsStatsRequest*,
                     proto::PsStatsReply* reply) override {
    return ToGrpc(handler_->Stats(reply));
  }

 private:
  RequestHandler* const handler_;
};

int ThreadsFor(const PsServerOptions& options) {
  if (options.threads > 0) return options.threads;
  return std::max(2, static_cast<int>(std::thread::hardware_concurrency()));
}

class GrpcPsServer final : public PsServer {
 public:
  explicit GrpcPsServer(const PsServerOptions& options)
      : options_(options),
        handler_(options.frame_limits,
                 rpc::BufferPool::Make(options.max_reply_bytes, kIdleBufferBytes)),
        executor_(ThreadsFor(options),
                  // One task for each of a stream's two lanes: Run never waits.
                  2 * static_cast<std::size_t>(options.stream_limits.max_streams) + 2),
        data_(&handler_, rpc::BufferPool::Make(options.max_request_bytes, kIdleBufferBytes),
              &executor_, options.stream_limits),
        control_(&handler_) {}
  ~GrpcPsServer() override { Stop(); }

  Status Start() override;
  const std::string& address() const override { return address_; }
  void Serve(PsCore* core, const PsIdentity& identity) override;
  void Stop() override;

 private:
  const PsServerOptions options_;
  std::string address_;
  RequestHandler handler_;
  Executor executor_;
  PsDataService data_;
  ControlService control_;
  std::unique_ptr<grpc::Server> server_;
};

void SetArguments(grpc::ServerBuilder& builder) {
  // A second server on a port must fail, not share it.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 128);  // of one connection
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 5000);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 8 << 10);
  // Clients ping every 10 s; a silent one is noticed by our own pings.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 10000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  builder.SetMaxReceiveMessageSize(static_cast<int>(rpc::kMaxMessageBytes));
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 2);
}

// gRPC stops listening for good once it may open no more files. Raises this process's limit as far
// as it may.
void RaiseOpenFileLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_max < kFewOpenFiles) {
    LOG(WARNING) << "this process may open only " << limit.rlim_max
                 << " files; a server wants 65536 (ulimit -n)";
  }
}

Status GrpcPsServer::Start() {
  CHECK(server_ == nullptr) << "started twice";
  RaiseOpenFileLimit();
  RETURN_IF_ERROR(rpc::CheckListenAddress(options_.address, options_.insecure_network));
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  SetArguments(builder);
  int port = 0;
  builder.AddListeningPort(options_.address, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&control_);
  builder.RegisterCallbackGenericService(&data_);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) return rpc::CannotListen(options_.address, "taken by another");
  address_ = rpc::WithPort(options_.address, port);
  server_->GetHealthCheckService()->SetServingStatus(false);
  return OkStatus();
}

void GrpcPsServer::Serve(PsCore* core, const PsIdentity& identity) {
  CHECK(server_ != nullptr) << "Serve before Start";
  handler_.Serve(core, identity);
  server_->GetHealthCheckService()->SetServingStatus(true);
}

void GrpcPsServer::Stop() {
  if (server_ != nullptr) {
    server_->GetHealthCheckService()->Shutdown();
    // Streams last as long as the job: there is nothing to wait for before they are cancelled.
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }
  executor_.Stop();
  server_.reset();
}

}  // namespace

Result<std::unique_ptr<PsServer>> PsServer::Make(const PsServerOptions& options) {
  if (options.threads < 0 || options.stream_limits.max_streams < 1 ||
      options.stream_limits.max_in_hand < 1 || options.stream_limits.max_unfinished < 1) {
    return absl::InvalidArgumentError("server options: threads and stream limits must be positive");
  }
  return std::unique_ptr<PsServer>(std::make_unique<GrpcPsServer>(options));
}

}  // namespace cairn::ps
