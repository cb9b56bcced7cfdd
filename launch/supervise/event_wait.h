// Waiting for signals and file changes in one place.
#pragma once

#include <signal.h>

#include <chrono>
#include <string>
#include <vector>

namespace cairn::launch {

// From construction to destruction SIGINT, SIGTERM, SIGHUP and SIGCHLD of the calling thread are
// blocked and SIGPIPE is ignored; afterwards they are as before. SIGINT and SIGTERM count even
// where the process was started with them ignored (a shell's background job); an ignored SIGHUP
// (nohup) stays ignored. One at a time in a process; not thread-safe.
class EventWait {
 public:
  EventWait();
  ~EventWait();
  EventWait(const EventWait&) = delete;
  EventWait& operator=(const EventWait&) = delete;

  // Wait returns when the file grows, or when an entry of the folder is made or moved in. Where the
  // system cannot watch, only the time-out of Wait is left.
  void WatchFile(const std::string& path);
  void WatchFolder(const std::string& path);

  // Waits for a signal or a change, `limit` at most. The signals among SIGINT, SIGTERM and SIGHUP
  // that arrived.
  std::vector<int> Wait(std::chrono::milliseconds limit);

 private:
  int signal_fd_ = -1;
  int watch_fd_ = -1;
  sigset_t old_mask_;
  struct sigaction old_int_;
  struct sigaction old_term_;
  struct sigaction old_pipe_;
};

}  // namespace cairn::launch
