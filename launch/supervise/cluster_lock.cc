#include "launch/supervise/cluster_lock.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "common/io/file.h"
#include "launch/text/human.h"

namespace cairn::launch {
namespace {

std::string LockPath(const std::string& run_dir) { return JoinPath(run_dir, "cluster.lock"); }

// An open-file-description lock: held by the descriptor, not by the process, and dropped by the
// kernel with its last copy.
struct flock WholeFile() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

std::string HostName() {
  char name[256] = {};
  gethostname(name, sizeof name - 1);
  return name;
}

// Lines "pid", "host", "since", "what".
ClusterHolder ParseHolder(std::string_view text) {
  std::string lines[4];
  for (std::string& line : lines) {
    const std::size_t end = text.find('\n');
    line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  ClusterHolder holder;
  holder.pid = static_cast<pid_t>(std::atol(lines[0].c_str()));
  holder.host = lines[1];
  holder.since = lines[2];
  holder.what = lines[3];
  return holder;
}

Status InUse(const std::string& run_dir) {
  const Result<std::string> text = ReadFile(LockPath(run_dir));
  const ClusterHolder holder = ParseHolder(text.ok() ? *text : "");
  return absl::AlreadyExistsError(
      StrCat("the run directory ", run_dir, " is in use by process ", holder.pid, " on ",
             holder.host, " since ", holder.since, " (", holder.what,
             "); look at it with `launch/cluster status --run_dir=", run_dir,
             "`, end it with `launch/cluster stop --run_dir=", run_dir,
             "`, or give this run another --run_dir"));
}

}  // namespace

ClusterLock::ClusterLock(std::string path, int fd, std::string what)
    : path_(std::move(path)), fd_(fd), what_(std::move(what)) {}

ClusterLock::~ClusterLock() { close(fd_); }

Result<std::unique_ptr<ClusterLock>> ClusterLock::Take(const std::string& run_dir,
                                                       const std::string& what) {
  RETURN_IF_ERROR(MakeFolders(run_dir));
  const std::string path = LockPath(run_dir);
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return ErrnoStatus("write", path, errno);
  struct flock lock = WholeFile();
  if (fcntl(fd, F_OFD_SETLK, &lock) != 0) {
    const int error = errno;
    close(fd);
    if (error == EAGAIN || error == EACCES) return InUse(run_dir);
    return ErrnoStatus("lock", path, error);
  }
  std::unique_ptr<ClusterLock> held(new ClusterLock(path, fd, what));
  RETURN_IF_ERROR(held->Sign());
  return held;
}

Status ClusterLock::Sign() {
  const std::string text =
      StrCat(getpid(), "\n", HostName(), "\n", LocalTimeNow(), "\n", what_, "\n");
  if (ftruncate(fd_, 0) != 0 ||
      pwrite(fd_, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return ErrnoStatus("write", path_, errno);
  }
  return OkStatus();
}

Result<std::optional<ClusterHolder>> ClusterLock::Holder(const std::string& run_dir) {
  const std::string path = LockPath(run_dir);
  // Reading is enough to ask about the lock; read locks only conflict with the holder's write lock.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) return std::optional<ClusterHolder>();
  if (fd < 0) return ErrnoStatus("read", path, errno);
  struct flock lock = WholeFile();
  const bool asked = fcntl(fd, F_OFD_GETLK, &lock) == 0;
  const int error = errno;
  close(fd);
  if (!asked) return ErrnoStatus("ask for the lock", path, error);
  if (lock.l_type == F_UNLCK) return std::optional<ClusterHolder>();
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return std::optional<ClusterHolder>(ParseHolder(text));
}

}  // namespace cairn::launch
