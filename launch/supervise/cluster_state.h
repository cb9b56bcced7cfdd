// What `<run_dir>/cluster.json` says about a cluster: written by the supervisor at each change,
// read by `launch/cluster status` and `stop` and by scripts.
//
//   {"format": 1, "state": "running", "job": "dlf", "job_file": "...", "run_dir": "...",
//    "host": "...", "supervisor": {"pid": 1, "start_ticks": 2}, "coordinator": "127.0.0.1:4711",
//    "started_unix_s": 1, "ended_unix_s": 0, "exit_code": 0, "result": "", "failure": "",
//    "process": [{"role": "ps", "index": 0, "pid": 3, "start_ticks": 4, "log": "...",
//                 "started_unix_s": 1, "ended": "", "seconds": 0}]}
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace cairn::launch {

struct ProcessState {
  std::string role;
  int index = 0;
  pid_t pid = 0;
  std::uint64_t start_ticks = 0;  // see process.h
  std::string log;
  std::int64_t started_unix_s = 0;
  std::string ended;   // empty while it runs; "exit code 0", "killed by SIGKILL ..."
  double seconds = 0;  // how long it ran, once ended
};

// "starting", "running", "stopping", and at the end "done", "stopped" (by a signal, after a
// checkpoint), "failed" or "killed" (by a second signal, at the end of the grace period, or a stop
// that failed).
struct ClusterState {
  std::string state;
  std::string job;
  std::string job_file;  // as the user gave it
  std::string run_dir;
  std::string host;
  pid_t supervisor_pid = 0;
  std::uint64_t supervisor_start_ticks = 0;
  std::string coordinator;  // host:port, empty until it listens
  std::int64_t started_unix_s = 0;
  std::int64_t ended_unix_s = 0;  // 0 while it runs
  int exit_code = 0;
  std::string result;   // the RESULT line
  std::string failure;  // the first failure in one line
  std::vector<ProcessState> process;
};

std::string ClusterStateJson(const ClusterState& state);

// Atomic; not synced to disk, the file only describes live processes. Unavailable if it cannot be
// written.
Status WriteClusterState(const ClusterState& state);

// NotFound when the run directory has none; DataLoss when the file cannot be understood.
Result<ClusterState> ReadClusterState(const std::string& run_dir);

}  // namespace cairn::launch
