// `cairn config`: check or print a job file, print every default.
#include <google/protobuf/descriptor.h>

#include <iostream>
#include <string_view>

#include "common/config/config.h"
#include "launch/commands/commands.h"
#include "launch/commands/flags.h"
#include "proto/config.pb.h"
#include "worker/data/readers.h"
#include "worker/train/model_runner.h"

namespace cairn::launch {
namespace {

constexpr std::string_view kFlags[] = {"config", "set"};
constexpr Usage kUsage = {
    .command = "cairn config",
    .examples =
        "  cairn config check --config=launch/jobs/dlf_synth.textproto\n"
        "  cairn config print --config=job.textproto --set train.epochs=3\n"
        "  cairn config defaults\n",
    .summary =
        "check: names every mistake in a job file and exits with 2, or prints one line.\n"
        "print: shows the job as it will run, with everything filled in.\n"
        "defaults: shows every field of a job with its default, range and meaning.\n",
    .arguments = "check|print|defaults",
    .flags = kFlags,
};

std::string_view ModelName(const proto::ModelConfig& model) {
  return proto::ModelConfig::descriptor()->FindFieldByNumber(model.kind_case())->name();
}

}  // namespace

int RunConfig(int argc, char** argv) {
  if (const std::optional<int> code = ParseFlags(kUsage, &argc, &argv)) return *code;
  const std::string_view verb = argc == 2 ? argv[1] : "";
  if (verb == "defaults") {
    std::cout << PrintDefaults();
    return 0;
  }
  if (verb != "check" && verb != "print") {
    return UsageError(kUsage, "say what to do: check, print or defaults");
  }
  if (FLAGS_config.empty()) return UsageError(kUsage, "--config=JOB is missing");
  const Result<proto::JobConfig> job = LoadJob(FLAGS_config, Overrides());
  if (!job.ok()) return ReportError(job.status());
  const auto reader = worker::FindReader(job->data().format());
  if (!reader.ok()) return ReportError(reader.status());
  if (const Status status = worker::CheckModel(*job); !status.ok()) return ReportError(status);
  if (verb == "print") {
    std::cout << PrintJob(*job);
  } else {
    std::cout << "ok: job \"" << job->name() << "\", model " << ModelName(job->model()) << ", "
              << job->feature_size() << " features, " << job->table_size() << " tables\n";
  }
  return 0;
}

}  // namespace cairn::launch
