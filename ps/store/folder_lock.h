// Keeps a folder for one owner.
#pragma once

#include <string>
#include <utility>

#include "common/base/status.h"

namespace cairn::ps {

// Holds <folder>/server.lock for as long as it lives; the kernel lets go when the process dies.
class FolderLock {
 public:
  // FailedPrecondition, naming folder and process, when another owner (in any process, this one
  // included) has it; Unavailable when the folder cannot be written.
  static Result<FolderLock> Acquire(const std::string& folder);

  FolderLock(FolderLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FolderLock& operator=(FolderLock&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FolderLock();

 private:
  explicit FolderLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace cairn::ps
