#include "launch/supervise/event_wait.h"

#include <glog/logging.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace cairn::launch {

EventWait::EventWait() {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  sigaction(SIGINT, &action, &old_int_);
  sigaction(SIGTERM, &action, &old_term_);
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, &old_pipe_);
  sigset_t mask;
  sigemptyset(&mask);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) sigaddset(&mask, signal);
  PCHECK(pthread_sigmask(SIG_BLOCK, &mask, &old_mask_) == 0);
  signal_fd_ = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
  PCHECK(signal_fd_ >= 0) << "signalfd";
  watch_fd_ = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);  // may fail: then there are time-outs
}

EventWait::~EventWait() {
  close(signal_fd_);
  if (watch_fd_ >= 0) close(watch_fd_);
  sigaction(SIGINT, &old_int_, nullptr);
  sigaction(SIGTERM, &old_term_, nullptr);
  sigaction(SIGPIPE, &old_pipe_, nullptr);
  pthread_sigmask(SIG_SETMASK, &old_mask_, nullptr);
}

void EventWait::WatchFile(const std::string& path) {
  if (watch_fd_ >= 0) inotify_add_watch(watch_fd_, path.c_str(), IN_MODIFY);
}

void EventWait::WatchFolder(const std::string& path) {
  if (watch_fd_ >= 0) {
    inotify_add_watch(watch_fd_, path.c_str(), IN_CREATE | IN_MOVED_TO | IN_CLOSE_WRITE);
  }
}

std::vector<int> EventWait::Wait(std::chrono::milliseconds limit) {
  pollfd ready[2] = {{signal_fd_, POLLIN, 0}, {watch_fd_, POLLIN, 0}};
  poll(ready, watch_fd_ >= 0 ? 2 : 1, static_cast<int>(limit.count()));
  std::vector<int> signals;
  signalfd_siginfo info;
  while (read(signal_fd_, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    if (info.ssi_signo != SIGCHLD) signals.push_back(static_cast<int>(info.ssi_signo));
  }
  char events[4096];
  while (watch_fd_ >= 0 && read(watch_fd_, events, sizeof events) > 0) {
  }
  return signals;
}

}  // namespace cairn::launch
