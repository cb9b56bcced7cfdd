// The verbs of `launch/cluster` for processes on this host.
//
// Files of a run directory that belong to the cluster:
//   cluster.lock             held by the supervisor while it lives
//   cluster.json             see cluster_state.h
//   cluster.job.textproto    the effective job that the processes were started with
//   coordinator.address      host:port
//   sockets/                 where servers listen, while the cluster runs
//   logs/<role>-<index>.log  stdout and stderr of each process, appended to
//   logs/supervisor.log      messages of a detached supervisor
#pragma once

#include <chrono>
#include <ostream>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace cairn::launch {

struct LocalClusterOptions {
  std::string program;  // the cairn executable that the processes run
  std::string config;
  std::vector<std::string> overrides;  // "a.b=c"
  std::string run_dir;                 // empty: runs/<job name>
  int ps = 1;
  int workers = 1;
  std::chrono::seconds grace{120};
  int max_restarts = 5;  // see SupervisorOptions
  bool detach = false;
  std::ostream* messages = nullptr;
  std::ostream* results = nullptr;
};

// The job's exit code once it ended (with `detach`: 0 once all processes run). An error before
// anything was started: what LoadJob says of the job; AlreadyExists when a cluster runs in the
// directory; Unavailable when the directory cannot be written.
Result<int> UpLocalCluster(const LocalClusterOptions& options);

// The run directory that a command without --run_dir means: of the runs under `runs`, the one that
// runs, or else the one that was started last. NotFound when there is none, InvalidArgument when
// several run (they are listed).
Result<std::string> PickRunDir(const std::string& runs);

// Orderly stop with a checkpoint of the cluster in `run_dir`: returns when it has ended, telling
// `messages` how. OK if none runs. DeadlineExceeded if it has not ended within `limit`,
// FailedPrecondition if it runs on another host.
Status StopLocalCluster(const std::string& run_dir, std::chrono::seconds limit,
                        std::ostream& messages);

}  // namespace cairn::launch
