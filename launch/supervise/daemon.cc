#include "launch/supervise/daemon.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "common/io/file.h"
#include "launch/supervise/log_follower.h"

namespace cairn::launch {
namespace {

constexpr int kUp = -1;  // sent in place of an exit code

// In the daemon's own process.
int RunBody(int log_fd, int report_fd,
            const std::function<int(const std::function<void()>& is_up)>& body) {
  const int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  dup2(null_fd, STDIN_FILENO);
  dup2(log_fd, STDOUT_FILENO);
  dup2(log_fd, STDERR_FILENO);
  int report = report_fd;
  const auto send = [&report](int value) {
    if (report < 0) return;
    // The caller may be gone; then nobody waits for it.
    [[maybe_unused]] const ssize_t sent = write(report, &value, sizeof value);
    close(report);
    report = -1;
  };
  const int code = body([&send] { send(kUp); });
  std::fflush(nullptr);
  send(code);
  return code;
}

int ReadReport(int fd) {
  int value = 1;  // a daemon that crashed
  ssize_t got;
  do {
    got = read(fd, &value, sizeof value);
  } while (got < 0 && errno == EINTR);
  return got == static_cast<ssize_t>(sizeof value) ? value : 1;
}

}  // namespace

Result<int> RunDaemon(const std::string& log,
                      const std::function<int(const std::function<void()>& is_up)>& body,
                      std::ostream& messages) {
  const int log_fd = open(log.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (log_fd < 0) return ErrnoStatus("write", log, errno);
  LogFollower follower(log, FileSize(log).value_or(0));
  int report[2];
  if (pipe2(report, O_CLOEXEC) != 0) {
    const int error = errno;
    close(log_fd);
    return ErrnoStatus("make a pipe for", log, error);
  }
  const pid_t session = fork();
  if (session == 0) {
    close(report[0]);
    // Session leader first; its child has no way to get a terminal again.
    if (setsid() < 0 || fork() != 0) _exit(0);
    _exit(RunBody(log_fd, report[1], body));
  }
  const int error = errno;
  close(log_fd);
  close(report[1]);
  if (session < 0) {
    close(report[0]);
    return ErrnoStatus("start a daemon for", log, error);
  }
  waitpid(session, nullptr, 0);
  const int value = ReadReport(report[0]);
  close(report[0]);
  if (value == kUp) return 0;
  for (const std::string& line : follower.NewLines()) messages << line << "\n";
  messages << follower.Rest() << std::flush;
  return value;
}

}  // namespace cairn::launch
