// Telling the user which process failed first, and how.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "launch/supervise/process.h"

namespace cairn::launch {

// A process that ended without having been asked to, and not with exit code 0.
struct Failure {
  std::string name;  // "ps 1"
  pid_t pid = 0;
  double at_s = 0;   // after the cluster's start
  double ran_s = 0;  // how long it ran
  ProcessExit exit;
  std::string log;
  std::uint64_t log_offset = 0;  // where this process's lines begin
  std::string what;              // instead of the exit, for a process that failed while alive
};

// Index of the failure that the others follow from, in a list in order of time. The first one,
// except where an early exit is known to be a consequence: a process that gave up on a peer (exit
// code 138) or the coordinator, which ends the job when a worker or server reports an error, yields
// to a process that failed by itself right behind it. The list is not empty.
std::size_t FirstFailure(const std::vector<Failure>& failures);

// "ps 1 (pid 4711) killed by SIGKILL (...) after 12.3 s".
std::string FailureLine(const Failure& failure);

// The table of all failures with the first one marked, and the last 20 lines of its log.
std::string FailureReport(const std::vector<Failure>& failures);

}  // namespace cairn::launch
