// Child processes that cannot outlive their parent, and processes of other programs by pid.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace cairn::launch {

// One process of a cluster.
struct ProcessSpec {
  std::string role;               // "coordinator", "ps", "worker"
  int index = 0;                  // within the role
  std::vector<std::string> argv;  // argv[0]: path of the program, or a name found by PATH
  std::string log;                // file that takes stdout and stderr, appended to
  bool may_return = false;        // the job goes on if it is started again after it died
};

// "ps 1"; "coordinator" without an index, there is only one.
std::string ProcessName(std::string_view role, int index);

// The words as one line that a shell would take apart again into the same words.
std::string ShellQuote(std::span<const std::string> words);

// Starts the program in a process group of its own (pid = group) with an empty signal mask, the
// default disposition of all signals and /dev/null as stdin. The kernel kills it (SIGKILL) as soon
// as the calling thread ends, however that comes about: call it from the main thread.
// Writes a line with the time and the exact command to the log first.
// Errors: Unavailable when the log cannot be written or there are no processes left; NotFound or
// InvalidArgument, naming the program, when it cannot be run.
Result<pid_t> StartProcess(const ProcessSpec& spec);

// What became of a process, from waitpid's status.
struct ProcessExit {
  int code = 0;    // exit code; 0 if killed
  int signal = 0;  // signal that killed it; 0 if it exited
};
ProcessExit ExitFromWaitStatus(int wait_status);

// "exit code 138 (peer, disk or time-out: try again)", "killed by SIGKILL (kill -9, or the system
// ran out of memory)".
std::string DescribeExit(const ProcessExit& exit);

// Exit code of a job that ended because of this: the code itself where it is one of Cairn's (0 to
// 4, 138); 138 for a process that was killed or stopped from outside; 1 for a crash and all else.
int JobExitCode(const ProcessExit& exit);

// Clock ticks from boot to the process's start; with the pid it names one process for good. 0 if
// there is no such process, or only its zombie.
std::uint64_t ProcessStartTicks(pid_t pid);

// Whether the process that had this pid and start is still there (a zombie is not).
bool IsAlive(pid_t pid, std::uint64_t start_ticks);

// Waits until it is gone; false if it is still there after `limit`. Not for own children.
bool WaitUntilGone(pid_t pid, std::uint64_t start_ticks, std::chrono::milliseconds limit);

}  // namespace cairn::launch
