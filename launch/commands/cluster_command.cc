// `cairn cluster`, which `launch/cluster` runs: a job as processes on this host.
#include <gflags/gflags.h>

#include <chrono>
#include <filesystem>
#include <iostream>
#include <string>
#include <string_view>
#include <system_error>

#include "launch/commands/commands.h"
#include "launch/commands/flags.h"
#include "launch/supervise/job_status.h"
#include "launch/supervise/local_cluster.h"

DEFINE_string(backend, "local", "local: where the processes run");
DEFINE_bool(detach, false, "run in the background");
DEFINE_int32(max_restarts, 5,
             "how often in a row a server or worker that died is started again; 0: never");
DEFINE_int32(grace_s, 120, "SECONDS: how long a stop may take before processes are killed");

namespace cairn::launch {
namespace {

constexpr std::chrono::seconds kStatusLimit{5};

constexpr std::string_view kFlags[] = {"backend", "ps",     "workers", "config",       "set",
                                       "run_dir", "detach", "grace_s", "max_restarts", "format"};
constexpr Usage kUsage = {
    .command = "launch/cluster",
    .examples =
        "  launch/cluster up --ps=2 --workers=2 --config=launch/jobs/dlf_synth.textproto\n"
        "  launch/cluster up --ps=2 --workers=2 --config=JOB --detach\n"
        "  launch/cluster status --run_dir=runs/dlf_synth\n"
        "  launch/cluster stop --run_dir=runs/dlf_synth\n",
    .summary =
        "up:     starts a coordinator, N parameter servers and M workers and stays until the job\n"
        "        ends; the last line on stdout is its result. Ctrl-C stops it with a checkpoint;\n"
        "        the same command goes on from the last checkpoint.\n"
        "status: what the run is doing, or how it ended. Without --run_dir: the one under runs/\n"
        "        that runs, or the last one.\n"
        "stop:   stops the run with a checkpoint and waits for its end.\n",
    .arguments = "up|status|stop",
    .flags = kFlags,
};

// This very program.
Result<std::string> ProgramPath() {
  std::error_code error;
  const std::filesystem::path path = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return absl::InternalError(StrCat("cannot read /proc/self/exe: ", error.message()));
  return path.string();
}

int Up() {
  if (FLAGS_config.empty()) return UsageError(kUsage, "--config=JOB is missing");
  if (FLAGS_ps < 1 || FLAGS_workers < 1) {
    return UsageError(kUsage, "--ps and --workers must be 1 or more");
  }
  if (FLAGS_grace_s < 1) return UsageError(kUsage, "--grace_s must be 1 or more");
  if (FLAGS_max_restarts < 0) return UsageError(kUsage, "--max_restarts must be 0 or more");
  const Result<std::string> program = ProgramPath();
  if (!program.ok()) return ReportError(program.status());
  LocalClusterOptions options;
  options.program = *program;
  options.config = FLAGS_config;
  options.overrides.assign(Overrides().begin(), Overrides().end());
  options.run_dir = FLAGS_run_dir;
  options.ps = FLAGS_ps;
  options.workers = FLAGS_workers;
  options.grace = std::chrono::seconds(FLAGS_grace_s);
  options.max_restarts = FLAGS_max_restarts;
  options.detach = FLAGS_detach;
  options.messages = &std::cerr;
  options.results = &std::cout;
  const Result<int> code = UpLocalCluster(options);
  return code.ok() ? *code : ReportError(code.status());
}

Result<std::string> RunDir() {
  if (!FLAGS_run_dir.empty()) return FLAGS_run_dir;
  return PickRunDir("runs");
}

int PrintStatus() {
  if (FLAGS_format != "table" && FLAGS_format != "json") {
    return UsageError(kUsage, "status knows --format=table and --format=json");
  }
  const Result<std::string> run_dir = RunDir();
  if (!run_dir.ok()) return ReportError(run_dir.status());
  const Result<ClusterStatus> status = GetClusterStatus(*run_dir, kStatusLimit);
  if (!status.ok()) return ReportError(status.status());
  std::cout << (FLAGS_format == "json" ? ClusterStatusJson(*status) : ClusterStatusText(*status));
  return 0;
}

int Stop() {
  const Result<std::string> run_dir = RunDir();
  if (!run_dir.ok()) return ReportError(run_dir.status());
  const Status stopped =
      StopLocalCluster(*run_dir, std::chrono::seconds(FLAGS_grace_s) * 2, std::cerr);
  return stopped.ok() ? 0 : ReportError(stopped);
}

}  // namespace

int RunCluster(int argc, char** argv) {
  if (const std::optional<int> code = ParseFlags(kUsage, &argc, &argv)) return *code;
  if (FLAGS_backend != "local") {
    return UsageError(kUsage, StrCat("there is no backend ", FLAGS_backend, "; there is local"));
  }
  const std::string_view verb = argc == 2 ? argv[1] : "";
  if (verb == "up") return Up();
  if (verb == "status") return PrintStatus();
  if (verb == "stop") return Stop();
  return UsageError(kUsage, "say what to do: up, status or stop");
}

}  // namespace cairn::launch
