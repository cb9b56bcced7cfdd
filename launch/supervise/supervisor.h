// Runs one job as processes on this host: a coordinator, parameter servers and workers.
//
// The coordinator starts first and writes its address to a file; then everybody else is started
// with that address. The job ends when the coordinator ends. Rules:
//   - A server or worker that was killed, crashed or left without being told to is started again
//     where its spec allows that, at most max_restarts times in a row; later tries wait longer.
//   - Any other process that fails ends the job: the failures of the next moment are gathered, the
//     first one is named with the end of its log, everything else is stopped.
//   - The first SIGINT, SIGTERM or SIGHUP asks the coordinator for an orderly stop with a
//     checkpoint (SIGTERM to it), then everybody else leaves. After the grace period, or at a
//     second signal, everything is killed.
//   - No process stays behind: each is in its own process group that is killed as a whole at the
//     end, and the kernel kills the processes when this one dies, also by kill -9.
// Output: progress lines of the coordinator and messages go to `messages`, the RESULT line to
// `results`; the state to <run_dir>/cluster.json.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "launch/supervise/process.h"

namespace cairn::launch {

struct SupervisorOptions {
  std::string run_dir;  // exists
  std::string job;      // name, for messages and cluster.json
  std::string job_file;

  // role "coordinator". It writes "host:port\n" to `address_file` once it listens.
  ProcessSpec coordinator;
  std::string address_file;
  // The servers and workers of a coordinator at `address`, in the order in which they start.
  std::function<std::vector<ProcessSpec>(const std::string& address)> others;

  // How often in a row a process is started again. A process that ran for `steady` begins anew.
  int max_restarts = 5;
  std::chrono::milliseconds steady{60'000};
  // Before the second return in a row; doubled for each further one.
  std::chrono::milliseconds first_pause{1'000};

  // For the coordinator to listen.
  std::chrono::milliseconds start_limit{30'000};
  // For the orderly stop with a checkpoint.
  std::chrono::milliseconds grace{120'000};
  // After the coordinator's end, for workers to leave on their own.
  std::chrono::milliseconds leave_grace{2'000};
  // From SIGTERM to SIGKILL; the second one after a failure, when nothing is left to be saved.
  std::chrono::milliseconds kill_grace{10'000};
  std::chrono::milliseconds failed_grace{2'000};
  // From the first failure to the stop of the others, to see who else failed on its own.
  std::chrono::milliseconds settle{1'000};
  // Signals within this time of the first count as the same wish (`timeout` sends two).
  std::chrono::milliseconds same_signal{500};

  std::ostream* messages = nullptr;
  std::ostream* results = nullptr;
  // Called once when every process has been started, before the job runs.
  std::function<void()> started;
};

// Runs the job to its end and returns its exit code: the coordinator's own; 130, 143 or 129 after
// a stop by a signal with a checkpoint; 138 when a stop had to be forced; for a failure the code
// of the first one (see JobExitCode).
// Call it from the main thread of a process without other threads and children; signals are
// blocked in it while it runs and restored afterwards.
int SuperviseCluster(const SupervisorOptions& options);

}  // namespace cairn::launch
