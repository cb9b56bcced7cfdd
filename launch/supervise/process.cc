#include "launch/supervise/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/io/file.h"
#include "launch/text/human.h"

namespace cairn::launch {
namespace {

constexpr int kCannotRun = 127;

std::string QuoteWord(const std::string& word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%^";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string quoted = "'";
  for (const char c : word) {
    if (c == '\'') {
      quoted += "'\\''";
    } else {
      quoted += c;
    }
  }
  return quoted + "'";
}

// An open log with its first line written.
Result<int> OpenLog(const ProcessSpec& spec) {
  const int fd = open(spec.log.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return ErrnoStatus("write", spec.log, errno);
  const std::string line = StrCat("---- ", LocalTimeNow(), " ", ProcessName(spec.role, spec.index),
                                  " starts: ", ShellQuote(spec.argv), "\n");
  if (write(fd, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    const int error = errno;
    close(fd);
    return ErrnoStatus("write", spec.log, error);
  }
  return fd;
}

// Runs in the child, between fork and exec: async-signal-safe calls only.
[[noreturn]] void BecomeProgram(char* const* argv, int log_fd, int error_fd, pid_t parent) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(kCannotRun);  // the parent died before the line above
  for (int sig = 1; sig < NSIG; ++sig) signal(sig, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int null_fd = open("/dev/null", O_RDONLY);
  dup2(null_fd, STDIN_FILENO);
  dup2(log_fd, STDOUT_FILENO);
  dup2(log_fd, STDERR_FILENO);
  execvp(argv[0], argv);
  const int error = errno;
  if (write(error_fd, &error, sizeof error) < 0) _exit(kCannotRun);
  _exit(kCannotRun);
}

Status CannotRun(const std::string& program, int error) {
  const std::string message = StrCat("cannot run ", program, ": ", std::strerror(error));
  return error == ENOENT ? absl::NotFoundError(message) : absl::InvalidArgumentError(message);
}

}  // namespace

std::string ProcessName(std::string_view role, int index) {
  return role == "coordinator" ? std::string(role) : StrCat(role, " ", index);
}

std::string ShellQuote(std::span<const std::string> words) {
  std::string line;
  for (const std::string& word : words) {
    if (!line.empty()) line += ' ';
    line += QuoteWord(word);
  }
  return line;
}

Result<pid_t> StartProcess(const ProcessSpec& spec) {
  ASSIGN_OR_RETURN(const int log_fd, OpenLog(spec));
  int error_pipe[2];  // closed by a successful exec
  if (pipe2(error_pipe, O_CLOEXEC) != 0) {
    close(log_fd);
    return ErrnoStatus("make a pipe for", spec.argv.front(), errno);
  }
  std::vector<char*> argv;
  for (const std::string& word : spec.argv) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);

  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) BecomeProgram(argv.data(), log_fd, error_pipe[1], parent);
  const int fork_error = errno;
  close(log_fd);
  close(error_pipe[1]);
  if (pid < 0) {
    close(error_pipe[0]);
    return ErrnoStatus("start", spec.argv.front(), fork_error);
  }
  setpgid(pid, pid);  // as in the child: whoever comes first, the group is there on return
  int exec_error = 0;
  ssize_t got;
  do {
    got = read(error_pipe[0], &exec_error, sizeof exec_error);
  } while (got < 0 && errno == EINTR);
  close(error_pipe[0]);
  if (got == 0) return pid;
  waitpid(pid, nullptr, 0);
  return CannotRun(spec.argv.front(), exec_error);
}

ProcessExit ExitFromWaitStatus(int wait_status) {
  ProcessExit exit;
  if (WIFSIGNALED(wait_status)) {
    exit.signal = WTERMSIG(wait_status);
  } else {
    exit.code = WEXITSTATUS(wait_status);
  }
  return exit;
}

std::string DescribeExit(const ProcessExit& exit) {
  if (exit.signal != 0) {
    const char* name = sigabbrev_np(exit.signal);
    std::string text = "killed by ";
    text += name == nullptr ? StrCat("signal ", exit.signal) : StrCat("SIG", name);
    switch (exit.signal) {
      case SIGKILL:
        return text + " (kill -9, or the system ran out of memory)";
      case SIGSEGV:
      case SIGBUS:
      case SIGILL:
      case SIGFPE:
        return text + " (crash)";
      case SIGABRT:
        return text + " (a failed check, or the disk is full)";
      default:
        return text;
    }
  }
  std::string text = StrCat("exit code ", exit.code);
  switch (exit.code) {
    case 0:
      return text;
    case 1:
      return text + " (internal error)";
    case 2:
      return text + " (usage, configuration or data)";
    case 3:
      return text + " (integrity: damaged or missing stored bytes)";
    case 4:
      return text + " (refused)";
    case 130:
      return text + " (stopped by SIGINT)";
    case 138:
      return text + " (peer, disk or time-out: try again)";
    case 143:
      return text + " (stopped by SIGTERM)";
    default:
      return text;
  }
}

int JobExitCode(const ProcessExit& exit) {
  constexpr int kTryAgain = 138;
  switch (exit.signal) {
    case 0:
      break;
    case SIGKILL:
    case SIGTERM:
    case SIGINT:
    case SIGHUP:
      return kTryAgain;
    default:
      return 1;
  }
  if ((exit.code >= 0 && exit.code <= 4) || exit.code == kTryAgain) return exit.code;
  return exit.code == 130 || exit.code == 143 ? kTryAgain : 1;
}

std::uint64_t ProcessStartTicks(pid_t pid) {
  const Result<std::string> stat = ReadFile(StrCat("/proc/", pid, "/stat"));
  if (!stat.ok()) return 0;
  // "pid (command) state ppid ..."; the command may hold anything, also ") ". Start is field 22.
  const std::size_t command_end = stat->rfind(')');
  if (command_end == std::string::npos || command_end + 2 >= stat->size()) return 0;
  const char state = (*stat)[command_end + 2];
  if (state == 'Z' || state == 'X') return 0;
  std::size_t at = command_end + 2;  // field 3
  for (int field = 3; field < 22; ++field) {
    at = stat->find(' ', at);
    if (at == std::string::npos) return 0;
    ++at;
  }
  return std::strtoull(stat->c_str() + at, nullptr, 10);
}

bool IsAlive(pid_t pid, std::uint64_t start_ticks) {
  return pid > 0 && start_ticks != 0 && ProcessStartTicks(pid) == start_ticks;
}

bool WaitUntilGone(pid_t pid, std::uint64_t start_ticks, std::chrono::milliseconds limit) {
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  // Looked up after the pidfd was made: the fd then names this process or a later one's absence.
  if (!IsAlive(pid, start_ticks)) {
    if (fd >= 0) close(fd);
    return true;
  }
  if (fd < 0) return false;
  pollfd ready{fd, POLLIN, 0};
  const auto deadline = std::chrono::steady_clock::now() + limit;
  int found = 0;
  do {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    found = poll(&ready, 1, static_cast<int>(std::max<std::int64_t>(0, left.count())));
  } while (found < 0 && errno == EINTR);
  close(fd);
  return found > 0;
}

}  // namespace cairn::launch
