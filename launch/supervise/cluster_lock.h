// One run directory, one cluster at a time. (The process that trains holds another lock, RUNNING,
// of launch/coordinator/run_folder.h; this one is held by the supervisor.)
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>

#include "common/base/status.h"

namespace cairn::launch {

// Who holds the lock of a run directory, as the lock file tells.
struct ClusterHolder {
  pid_t pid = 0;
  std::string host;
  std::string what;   // the holder's own words: "cluster of 2 ps and 4 workers"
  std::string since;  // local time, "2026-03-01 09:30:00"
};

// Holds `<run_dir>/cluster.lock` from Take to the destructor or the end of the process, also its
// end by kill -9: the kernel's lock decides, the file's text only tells who it is. The lock
// survives fork: it ends when the last process that inherited it (exec drops it) is gone. Not
// thread-safe.
class ClusterLock {
 public:
  // Makes the folder if need be. AlreadyExists, naming the holder, when another process has it.
  static Result<std::unique_ptr<ClusterLock>> Take(const std::string& run_dir,
                                                   const std::string& what);
  ~ClusterLock();
  ClusterLock(const ClusterLock&) = delete;
  ClusterLock& operator=(const ClusterLock&) = delete;

  // Writes the calling process as the holder, after a fork.
  Status Sign();

  // The holder, or nothing when the directory is not locked (or not there).
  static Result<std::optional<ClusterHolder>> Holder(const std::string& run_dir);

 private:
  ClusterLock(std::string path, int fd, std::string what);

  const std::string path_;
  const int fd_;
  const std::string what_;
};

}  // namespace cairn::launch
