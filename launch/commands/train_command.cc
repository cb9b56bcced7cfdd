// `cairn train`: the whole job in one process.
#include <iostream>
#include <string_view>

#include "common/config/config.h"
#include "launch/commands/commands.h"
#include "launch/commands/console.h"
#include "launch/commands/flags.h"
#include "launch/commands/signals.h"
#include "launch/local/local_job.h"
#include "proto/config.pb.h"

namespace cairn::launch {
namespace {

constexpr std::string_view kFlags[] = {"config", "set", "run_dir"};
constexpr Usage kUsage = {
    .command = "cairn train",
    .examples =
        "  cairn train --config=launch/jobs/dlf_synth.textproto\n"
        "  cairn train --config=job.textproto --run_dir=runs/today --set train.epochs=3\n",
    .summary =
        "Trains a job in one process: parameter server, coordinator and worker threads, no "
        "network.\n"
        "The same command again goes on from the last checkpoint, or prints the result of a "
        "finished job.\n"
        "Without --run_dir it is runs/<name of the job>. The last line on stdout is the result.\n",
    .arguments = "",
    .flags = kFlags,
};

Status Train(const proto::JobConfig& job, const std::string& run_dir, JobResult* result,
             int* signal) {
  StopSignals signals;
  const std::unique_ptr<JobObserver> console = MakeConsole();
  ASSIGN_OR_RETURN(const std::unique_ptr<LocalJob> local,
                   LocalJob::Make(job, run_dir, console.get()));
  signals.OnStop([&local] { local->RequestStop(); });
  const Status status = local->Run(result);
  signals.OnStop({});
  RETURN_IF_ERROR(status);
  *signal = signals.received();
  return OkStatus();
}

}  // namespace

int RunTrain(int argc, char** argv) {
  if (const std::optional<int> code = ParseFlags(kUsage, &argc, &argv)) return *code;
  if (FLAGS_config.empty()) return UsageError(kUsage, "--config=JOB is missing");
  const Result<proto::JobConfig> job = LoadJob(FLAGS_config, Overrides());
  if (!job.ok()) return ReportError(job.status());
  const std::string run_dir = FLAGS_run_dir.empty() ? StrCat("runs/", job->name()) : FLAGS_run_dir;
  std::cerr << "training " << FLAGS_config << " in " << run_dir << "\n";
  JobResult result;
  int signal = 0;
  if (const Status status = Train(*job, run_dir, &result, &signal); !status.ok())
    return ReportError(status);
  if (result.stopped) {
    std::cerr << "stopped; the same command goes on from " << result.checkpoint << "\n";
    return 128 + signal;
  }
  if (result.was_finished) std::cerr << FinishedLine(result) << "\n";
  std::cout << ResultLine(result) << std::endl;
  return 0;
}

}  // namespace cairn::launch
