#include "launch/local/local_control.h"

#include <string>

#include "launch/coordinator/coordinator_core.h"
#include "proto/ps_service.pb.h"
#include "ps/server/ps_core.h"

namespace cairn::launch {
namespace {

class LocalPsAdmin final : public PsAdmin {
 public:
  explicit LocalPsAdmin(ps::PsCore* core) : core_(core) {}

  const std::string& address() const override { return address_; }
  Status Snapshot(const std::string& folder, proto::SnapshotReply* reply) override {
    return core_->Snapshot(folder, reply);
  }
  Status Restore(const std::string& checkpoint, std::uint64_t /*job_epoch*/,
                 proto::RestoreReply* reply) override {
    return core_->Restore(checkpoint, reply);
  }
  Status Stats(proto::PsStatsReply* reply) override {
    core_->Stats(reply);
    return OkStatus();
  }

 private:
  ps::PsCore* const core_;
  const std::string address_ = "local";
};

class LocalJobControl final : public worker::JobControl {
 public:
  explicit LocalJobControl(CoordinatorCore* coordinator) : coordinator_(coordinator) {}

  Status AcquireTask(const proto::AcquireTaskRequest& request, proto::Task* task) override {
    return coordinator_->AcquireTask(request, task);
  }
  Status CompleteTask(const proto::CompleteTaskRequest& request) override {
    return coordinator_->CompleteTask(request);
  }
  Status BeginStep(const proto::BeginStepRequest& request, proto::BeginStepReply* reply) override {
    return coordinator_->BeginStep(request, reply);
  }
  Status EndStep(const proto::EndStepRequest& request) override {
    return coordinator_->EndStep(request);
  }

 private:
  CoordinatorCore* const coordinator_;
};

}  // namespace

std::unique_ptr<PsAdmin> MakeLocalPsAdmin(ps::PsCore* core) {
  return std::make_unique<LocalPsAdmin>(core);
}

std::unique_ptr<worker::JobControl> MakeLocalJobControl(CoordinatorCore* coordinator) {
  return std::make_unique<LocalJobControl>(coordinator);
}

}  // namespace cairn::launch
