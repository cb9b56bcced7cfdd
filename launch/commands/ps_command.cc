// `cairn ps`: the cluster role that holds a part of the parameters.
#include <gflags/gflags.h>
#include <glog/logging.h>
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <chrono>
#include <iostream>
#include <string_view>

#include "common/base/mutex.h"
#include "common/config/config.h"
#include "common/rpc/grpc_status.h"
#include "common/rpc/retry.h"
#include "launch/commands/commands.h"
#include "launch/commands/flags.h"
#include "launch/commands/signals.h"
#include "proto/config.pb.h"
#include "proto/control.grpc.pb.h"
#include "proto/ps_service.pb.h"
#include "ps/server/ps_core.h"
#include "ps/server/server.h"

DECLARE_string(coordinator);
DECLARE_int32(ps);
DECLARE_string(address);
DECLARE_bool(insecure_network);

namespace cairn::launch {
namespace {

constexpr std::string_view kFlags[] = {"coordinator", "ps", "run_dir", "address",
                                       "insecure_network"};
constexpr Usage kUsage = {
    .command = "cairn ps",
    .examples = "  cairn ps --coordinator=10.0.0.1:7000 --ps=0 --run_dir=runs/job\n",
    .summary =
        "Serves a part of the parameters until the coordinator is gone; launch/cluster starts it.\n"
        "Its database is RUN_DIR/ps/<index>, on the same file system as the checkpoints.\n",
    .arguments = "",
    .flags = kFlags,
};

// How often the coordinator is asked whether the job goes on, and for how long it may be silent.
constexpr std::chrono::milliseconds kLookEvery{2000};
constexpr std::chrono::seconds kCoordinatorGone{60};

// Waits for the end of the job, or a signal.
class Presence {
 public:
  void End() {
    MutexLock lock(mu_);
    over_ = true;
    changed_.NotifyAll();
  }
  // True if End was called within the time.
  bool WaitFor(std::chrono::milliseconds time) {
    MutexLock lock(mu_);
    return changed_.WaitFor(mu_, time, [this] { return over_; });
  }

 private:
  Mutex mu_;
  CondVar changed_;
  bool over_ GUARDED_BY(mu_) = false;
};

Status Join(proto::Control::Stub* coordinator, const std::string& address,
            proto::JoinPsReply* reply, const CancelToken* cancel) {
  proto::JoinPsRequest request;
  request.set_ps(static_cast<std::uint32_t>(FLAGS_ps));
  request.set_address(address);
  request.set_pid(getpid());
  RetryPolicy policy;
  policy.cancel = cancel;
  return CallWithRetry(policy, StrCat("joining the coordinator at ", FLAGS_coordinator),
                       [&](std::int64_t deadline_ms) {
                         grpc::ClientContext context;
                         context.set_deadline(std::chrono::system_clock::now() +
                                              std::chrono::milliseconds(deadline_ms));
                         return FromGrpc(coordinator->JoinPs(&context, request, reply));
                       });
}

// What an earlier process acknowledged comes back, or the job fails: nobody else has it.
Status Recover(ps::PsCore* core, proto::Control::Stub* coordinator) {
  const auto began = std::chrono::steady_clock::now();
  proto::RestoreReply ignored;
  const Status recovered = core->Recover(&ignored);
  if (!recovered.ok()) {
    proto::ReportFailureRequest report;
    report.set_who(StrCat("ps ", FLAGS_ps));
    report.set_code(static_cast<int>(recovered.code()));
    report.set_message(std::string(recovered.message()));
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kLookEvery);
    proto::ReportFailureReply reply;
    (void)coordinator->ReportFailure(&context, report, &reply);  // this process's end says it too
    return recovered;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  std::cerr << "ps " << FLAGS_ps << " has recovered what it acknowledged, in " << took.count()
            << " s\n";
  return OkStatus();
}

// Serves until the job is over, or the server must be started again. The coordinator's end is the
// job's end: it stays for as long as anybody works.
Status ServeUntilOver(const ps::PsCore& core, proto::Control::Stub* coordinator,
                      Presence* presence) {
  auto last_answer = std::chrono::steady_clock::now();
  while (!presence->WaitFor(kLookEvery)) {
    RETURN_IF_ERROR(core.Health());
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kLookEvery);
    proto::JobStatusReply status;
    const Status answer = FromGrpc(coordinator->GetJobStatus(&context, {}, &status));
    const auto now = std::chrono::steady_clock::now();
    if (answer.ok()) {
      last_answer = now;
      if (status.phase() == "done" || status.phase() == "stopped" || status.phase() == "failed")
        return OkStatus();
    } else if (now - last_answer > kCoordinatorGone) {
      return absl::UnavailableError(StrCat("the coordinator at ", FLAGS_coordinator,
                                           " has not answered for ", kCoordinatorGone.count(),
                                           " s: ", answer.message()));
    }
  }
  return OkStatus();
}

Status Serve(StopSignals* signals) {
  ps::PsServerOptions options;
  options.address = FLAGS_address;
  options.insecure_network = FLAGS_insecure_network;
  ASSIGN_OR_RETURN(const std::unique_ptr<ps::PsServer> server, ps::PsServer::Make(options));
  RETURN_IF_ERROR(server->Start(), "ps ", FLAGS_ps);

  const auto stub = proto::Control::NewStub(
      grpc::CreateChannel(FLAGS_coordinator, grpc::InsecureChannelCredentials()));
  CancelToken cancel;
  signals->OnStop([&cancel] { cancel.Cancel(); });
  proto::JoinPsReply joined;
  const Status join_status = Join(stub.get(), server->address(), &joined, &cancel);
  signals->OnStop({});
  RETURN_IF_ERROR(join_status);
  ASSIGN_OR_RETURN(const proto::JobConfig job,
                   LoadJobText(joined.job(), "job of the coordinator", {}));

  ps::PsOptions core_options;
  core_options.ps = static_cast<std::uint32_t>(FLAGS_ps);
  core_options.ps_count = joined.ps_count();
  core_options.folder = StrCat(FLAGS_run_dir, "/ps/",
                               std::string(FLAGS_ps < 10     ? 3
                                           : FLAGS_ps < 100  ? 2
                                           : FLAGS_ps < 1000 ? 1
                                                             : 0,
                                           '0'),
                               FLAGS_ps);
  core_options.log_by_default = true;
  core_options.job_epoch = joined.job_epoch();
  core_options.owns_process = true;
  ASSIGN_OR_RETURN(const std::unique_ptr<ps::PsCore> core, ps::PsCore::Make(job, core_options));
  if (joined.recover()) RETURN_IF_ERROR(Recover(core.get(), stub.get()));
  ps::PsIdentity identity;
  identity.ps = core_options.ps;
  identity.ps_count = core_options.ps_count;
  identity.slot_bits = core_options.slot_bits;
  identity.job_epoch = joined.job_epoch();
  for (const proto::TableConfig& table : job.table()) identity.table_dims.push_back(table.dim());
  for (const proto::WorkerIncarnation& worker : joined.worker()) {
    identity.incarnations[worker.worker()] = worker.incarnation();
  }
  server->Serve(core.get(), identity);
  std::cerr << "ps " << FLAGS_ps << " serves on " << server->address() << "\n";

  Presence presence;
  signals->OnStop([&presence] { presence.End(); });
  const Status status = ServeUntilOver(*core, stub.get(), &presence);
  signals->OnStop({});
  server->Stop();
  return status;
}

}  // namespace

int RunPs(int argc, char** argv) {
  if (const std::optional<int> code = ParseFlags(kUsage, &argc, &argv)) return *code;
  if (FLAGS_coordinator.empty()) return UsageError(kUsage, "--coordinator=ADDRESS is missing");
  if (FLAGS_run_dir.empty()) return UsageError(kUsage, "--run_dir=DIR is missing");
  if (FLAGS_ps < 0) return UsageError(kUsage, "--ps must be at least 0");
  StopSignals signals;
  const Status status = Serve(&signals);
  if (signals.received() != 0) return 128 + signals.received();
  return status.ok() ? 0 : ReportError(status);
}

}  // namespace cairn::launch
