#include "tests/ps/server/crash_points.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <csignal>

namespace cairn::ps {
namespace {

std::atomic<std::uint64_t> calls = 0;
std::atomic<std::uint64_t> fatal = 0;

void Point() {
  if (calls.fetch_add(1) + 1 == fatal.load()) (void)kill(getpid(), SIGKILL);
}

bool IsFile(int fd) {
  struct stat info;
  return fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
}

}  // namespace

void DieAtCall(std::uint64_t n) {
  calls = 0;
  fatal = n;
}
std::uint64_t CallsMade() { return calls; }

}  // namespace cairn::ps

// The program's own versions of the C library's functions; RocksDB calls them as well.
extern "C" {
int unlink(const char* path) noexcept {
  cairn::ps::Point();
  return static_cast<int>(syscall(SYS_unlink, path));
}
int unlinkat(int folder, const char* path, int flags) noexcept {
  cairn::ps::Point();
  return static_cast<int>(syscall(SYS_unlinkat, folder, path, flags));
}
int rename(const char* from, const char* to) noexcept {
  cairn::ps::Point();
  return static_cast<int>(syscall(SYS_rename, from, to));
}
int link(const char* from, const char* to) noexcept {
  cairn::ps::Point();
  return static_cast<int>(syscall(SYS_link, from, to));
}
int fsync(int fd) {
  cairn::ps::Point();
  return static_cast<int>(syscall(SYS_fsync, fd));
}
int fdatasync(int fd) {
  cairn::ps::Point();
  return static_cast<int>(syscall(SYS_fdatasync, fd));
}
int ftruncate(int fd, off_t length) noexcept {
  cairn::ps::Point();
  return static_cast<int>(syscall(SYS_ftruncate, fd, length));
}
ssize_t pwritev(int fd, const iovec* parts, int count, off_t offset) {
  cairn::ps::Point();
  return syscall(SYS_pwritev, fd, parts, count, offset, 0);
}
ssize_t write(int fd, const void* data, size_t size) {
  if (cairn::ps::IsFile(fd)) cairn::ps::Point();
  return syscall(SYS_write, fd, data, size);
}
}
