// `cairn coordinator`: the cluster role that runs a job.
#include <gflags/gflags.h>
#include <glog/logging.h>

#include <csignal>
#include <iostream>
#include <string_view>

#include "common/config/config.h"
#include "common/io/file.h"
#include "launch/commands/commands.h"
#include "launch/commands/console.h"
#include "launch/commands/flags.h"
#include "launch/commands/signals.h"
#include "launch/coordinator/control_service.h"
#include "launch/coordinator/grpc_ps_admin.h"
#include "launch/local/prepare_job.h"
#include "proto/config.pb.h"

DECLARE_int32(ps);
DECLARE_int32(workers);
DEFINE_string(address, "127.0.0.1:0",
              "HOST:PORT or unix:PATH to listen on; port 0 takes a free one");
DEFINE_bool(insecure_network, false,
            "listen on a network address although traffic is neither encrypted nor authenticated");

namespace cairn::launch {
namespace {

constexpr std::string_view kFlags[] = {"config",  "set",     "run_dir",         "ps",
                                       "workers", "address", "insecure_network"};
constexpr Usage kUsage = {
    .command = "cairn coordinator",
    .examples =
        "  cairn coordinator --config=job.textproto --run_dir=runs/job --ps=2 --workers=4\n"
        "  cairn coordinator --config=job.textproto --run_dir=runs/job --ps=2 --workers=4 "
        "--address=10.0.0.1:7000 --insecure_network\n",
    .summary =
        "Runs a job on parameter servers and workers that join it; launch/cluster starts all of "
        "them.\n"
        "Writes its address to RUN_DIR/coordinator.address. The last line on stdout is the "
        "result.\n",
    .arguments = "",
    .flags = kFlags,
};

// How long a finished job waits for its workers to hear of it.
constexpr std::uint32_t kGoodbyeMs = 15000;

Status RunCore(proto::JobConfig job, StopSignals* signals, JobResult* result) {
  const std::unique_ptr<JobObserver> console = MakeConsole();
  CoordinatorOptions options;
  RETURN_IF_ERROR(PrepareJob(FLAGS_run_dir, console.get(), &job, &options.vocabulary));
  options.run_dir = FLAGS_run_dir;
  options.ps_count = static_cast<std::uint32_t>(FLAGS_ps);
  options.worker_count = static_cast<std::uint32_t>(FLAGS_workers);
  options.connect = [](std::uint32_t ps,
                       const std::string& address) -> Result<std::unique_ptr<PsAdmin>> {
    return MakeGrpcPsAdmin(ps, address);
  };
  options.observer = console.get();
  options.progress_every_s = job.train().progress_every_s();
  ASSIGN_OR_RETURN(const std::unique_ptr<CoordinatorCore> core,
                   CoordinatorCore::Make(job, options));

  ControlServerOptions server_options;
  server_options.address = FLAGS_address;
  server_options.insecure_network = FLAGS_insecure_network;
  const std::unique_ptr<ControlServer> server = ControlServer::Make(server_options, core.get());
  RETURN_IF_ERROR(server->Start());
  RETURN_IF_ERROR(
      WriteFileAtomically(StrCat(FLAGS_run_dir, "/coordinator.address"), server->address() + "\n"));
  std::cerr << "coordinator listens on " << server->address() << ", waits for " << FLAGS_ps
            << " ps and " << FLAGS_workers << " workers\n";
  signals->OnStop([&core] { core->RequestStop(); });
  const Status status = core->Run(result);
  signals->OnStop({});
  // Workers and servers learn of the end from their own calls.
  if (!core->WaitUntilWorkersLeft(kGoodbyeMs))
    LOG(WARNING) << "not every worker has left; going all the same";
  server->Stop();
  return status;
}

}  // namespace

int RunCoordinator(int argc, char** argv) {
  if (const std::optional<int> code = ParseFlags(kUsage, &argc, &argv)) return *code;
  if (FLAGS_config.empty()) return UsageError(kUsage, "--config=JOB is missing");
  if (FLAGS_run_dir.empty()) return UsageError(kUsage, "--run_dir=DIR is missing");
  if (FLAGS_ps < 1 || FLAGS_ps > 1024) return UsageError(kUsage, "--ps must be 1 to 1024");
  if (FLAGS_workers < 1) return UsageError(kUsage, "--workers must be at least 1");
  const Result<proto::JobConfig> job = LoadJob(FLAGS_config, Overrides());
  if (!job.ok()) return ReportError(job.status());
  StopSignals signals;
  JobResult result;
  if (const Status status = RunCore(*job, &signals, &result); !status.ok())
    return ReportError(status);
  if (result.stopped) {
    std::cerr << "stopped; the same command goes on from " << result.checkpoint << "\n";
    // Stopped by a call (StopJob) is stopped as by SIGTERM.
    return 128 + (signals.received() != 0 ? signals.received() : SIGTERM);
  }
  if (result.was_finished) std::cerr << FinishedLine(result) << "\n";
  std::cout << ResultLine(result) << std::endl;
  return 0;
}

}  // namespace cairn::launch
