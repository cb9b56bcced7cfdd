#include "launch/coordinator/grpc_ps_admin.h"

#include <grpcpp/grpcpp.h>

#include <functional>
#include <utility>

#include "common/rpc/channel.h"
#include "common/rpc/grpc_status.h"
#include "common/rpc/retry.h"
#include "proto/ps_service.grpc.pb.h"

namespace cairn::launch {
namespace {

// A snapshot's reply lists its files.
constexpr int kMaxReplyBytes = 64 << 20;

class GrpcPsAdmin final : public PsAdmin {
 public:
  GrpcPsAdmin(std::uint32_t ps, const std::string& address, const GrpcPsAdminOptions& options)
      : options_(options),
        address_(address),
        name_(StrCat("ps ", ps, " at ", address)),
        channel_(rpc::MakeChannel(address, kMaxReplyBytes)),
        stub_(proto::PsControl::NewStub(channel_)) {}

  const std::string& address() const override { return address_; }

  Status Snapshot(const std::string& folder, proto::SnapshotReply* reply) override {
    proto::SnapshotRequest request;
    request.set_folder(folder);
    RETURN_IF_ERROR(Find());
    grpc::ClientContext context;
    rpc::SetDeadline(&context, options_.snapshot_ms);
    return Annotate(FromGrpc(stub_->Snapshot(&context, request, reply)),
                    StrCat("snapshot: ", name_));
  }

  Status Restore(const std::string& checkpoint, std::uint64_t job_epoch,
                 proto::RestoreReply* reply) override {
    proto::RestoreRequest request;
    request.set_checkpoint(checkpoint);
    request.set_job_epoch(job_epoch);
    RETURN_IF_ERROR(Find());
    grpc::ClientContext context;
    rpc::SetDeadline(&context, options_.restore_ms);
    return Annotate(FromGrpc(stub_->Restore(&context, request, reply)), StrCat("restore: ", name_));
  }

  Status Stats(proto::PsStatsReply* reply) override { return Stats(options_.stats_ms, reply); }

 private:
  Status Stats(std::int64_t total_ms, proto::PsStatsReply* reply) {
    RetryPolicy policy;
    policy.total_ms = total_ms;
    policy.deadline_ms = options_.stats_ms;
    return CallWithRetry(policy, StrCat("stats: ", name_), [&](std::int64_t deadline_ms) {
      grpc::ClientContext context;
      rpc::SetDeadline(&context, deadline_ms);
      return FromGrpc(stub_->Stats(&context, proto::PsStatsRequest(), reply));
    });
  }
  // Waits until the server answers: what cannot be repeated is begun with a server that is there.
  Status Find() {
    proto::PsStatsReply ignored;
    return Stats(options_.connect_ms, &ignored);
  }

  const GrpcPsAdminOptions options_;
  const std::string address_;
  const std::string name_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<proto::PsControl::Stub> stub_;
};

}  // namespace

std::unique_ptr<PsAdmin> MakeGrpcPsAdmin(std::uint32_t ps, const std::string& address,
                                         const GrpcPsAdminOptions& options) {
  return std::make_unique<GrpcPsAdmin>(ps, address, options);
}

}  // namespace cairn::launch
