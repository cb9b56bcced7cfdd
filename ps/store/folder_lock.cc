#include "ps/store/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

#include "common/io/file.h"

namespace cairn::ps {
namespace {

// "process 123", as the owner wrote it.
std::string OwnerOf(int fd) {
  char text[32];
  const ssize_t n = pread(fd, text, sizeof text, 0);
  std::string_view digits(text, n > 0 ? static_cast<std::size_t>(n) : 0);
  digits = digits.substr(0, digits.find('\n'));
  return digits.empty() ? "another process" : StrCat("process ", digits);
}

}  // namespace

Result<FolderLock> FolderLock::Acquire(const std::string& folder) {
  const std::string path = JoinPath(folder, "server.lock");
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return absl::UnavailableError(ErrnoStatus("write", path, errno).message());
  FolderLock lock(fd);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return ErrnoStatus("lock", path, errno);
    return absl::FailedPreconditionError(
        StrCat("folder ", folder, " is in use by the parameter server of ", OwnerOf(fd)));
  }
  const std::string pid = StrCat(getpid(), "\n");
  if (ftruncate(fd, 0) != 0 ||
      pwrite(fd, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return absl::UnavailableError(ErrnoStatus("write", path, errno).message());
  }
  return lock;
}

FolderLock::~FolderLock() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace cairn::ps
