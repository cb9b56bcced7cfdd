#include "common/io/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

namespace cairn {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPieceBytes = 1 << 20;

// A file descriptor, closed at the end of its scope.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  // Closes now; some file systems report a lost write only here. 0 or errno.
  int Close() {
    const int result = ::close(std::exchange(fd_, -1));
    return result == 0 ? 0 : errno;
  }

 private:
  int fd_;
};

int OpenRetrying(const std::string& path, int flags, mode_t mode = 0) {
  int fd;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

// 0 or errno.
int WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return 0;
}

int SyncDescriptor(int fd) {
  while (::fsync(fd) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

// A path with a NUL byte would be cut there by the system calls.
Status CheckNoNul(const std::string& path) {
  if (path.find('\0') == std::string::npos) return OkStatus();
  return absl::InvalidArgumentError("path contains a NUL byte");
}

Status SyncPath(const std::string& path, int flags) {
  RETURN_IF_ERROR(CheckNoNul(path));
  Descriptor file(OpenRetrying(path, flags));
  if (file.get() < 0) return ErrnoStatus("open", path, errno);
  if (const int error = SyncDescriptor(file.get()); error != 0) {
    return ErrnoStatus("sync", path, error);
  }
  return OkStatus();
}

// Removes a half-written file unless it was kept.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& path) : path_(path) {}
  ~TemporaryFile() {
    if (!kept_) ::unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  void Keep() { kept_ = true; }

 private:
  const std::string& path_;
  bool kept_ = false;
};

// Writes what `produce` sends to a file that must not exist, and syncs it.
Status WriteNewFile(
    const std::string& path,
    const std::function<Status(const std::function<Status(std::string_view)>&)>& produce) {
  Descriptor file(OpenRetrying(path, O_WRONLY | O_CREAT | O_EXCL, 0644));
  if (file.get() < 0) return ErrnoStatus("create", path, errno);
  TemporaryFile guard(path);
  RETURN_IF_ERROR(produce([&](std::string_view bytes) {
    const int error = WriteAll(file.get(), bytes);
    return error == 0 ? OkStatus() : ErrnoStatus("write", path, error);
  }));
  if (const int error = SyncDescriptor(file.get()); error != 0) {
    return ErrnoStatus("sync", path, error);
  }
  if (const int error = file.Close(); error != 0) return ErrnoStatus("close", path, error);
  guard.Keep();
  return OkStatus();
}

std::string TemporaryName(const std::string& path) {
  static std::atomic<std::uint64_t> counter = 0;
  return StrCat(path, ".tmp.", static_cast<std::int64_t>(::getpid()), ".",
                counter.fetch_add(1, std::memory_order_relaxed));
}

// Appends the entries below `folder`; `prefix` is the path from the listed folder to it.
Status AppendEntries(const std::string& folder, const std::string& prefix, ListMode mode,
                     std::vector<std::string>* out) {
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(folder.c_str()), &::closedir);
  if (dir == nullptr) return ErrnoStatus("list", folder, errno);
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(dir.get());
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    const std::string relative = StrCat(prefix, name);
    if (mode == ListMode::kEntries) {
      out->push_back(relative);
      continue;
    }
    const std::string path = JoinPath(folder, name);
    struct stat info;
    if (::lstat(path.c_str(), &info) != 0) {
      if (errno == ENOENT) continue;  // removed while we look
      return ErrnoStatus("look at", path, errno);
    }
    if (S_ISDIR(info.st_mode)) {
      RETURN_IF_ERROR(AppendEntries(path, relative + "/", mode, out));
    } else {
      out->push_back(relative);
    }
  }
  return errno == 0 ? OkStatus() : ErrnoStatus("list", folder, errno);
}

}  // namespace

Status ErrnoStatus(std::string_view verb, std::string_view path, int error_number) {
  const std::string message =
      StrCat("cannot ", verb, " ", path, ": ", std::generic_category().message(error_number));
  switch (error_number) {
    case ENOENT:
      return absl::NotFoundError(message);
    case EISDIR:
    case ENOTDIR:
    case EINVAL:
    case ENAMETOOLONG:
    case ELOOP:
      return absl::InvalidArgumentError(message);
    case EEXIST:
      return absl::AlreadyExistsError(message);
    default:
      return absl::UnavailableError(message);
  }
}

Status ReadFileInPieces(const std::string& path,
                        const std::function<Status(std::string_view)>& take) {
  RETURN_IF_ERROR(CheckNoNul(path));
  Descriptor file(OpenRetrying(path, O_RDONLY));
  if (file.get() < 0) return ErrnoStatus("read", path, errno);
  std::string buffer(kPieceBytes, '\0');
  for (;;) {
    const ssize_t n = ::read(file.get(), buffer.data(), buffer.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus("read", path, errno);
    }
    if (n == 0) return OkStatus();
    RETURN_IF_ERROR(take(std::string_view(buffer).substr(0, static_cast<std::size_t>(n))));
  }
}

Result<std::string> ReadFile(const std::string& path) {
  std::string content;
  RETURN_IF_ERROR(ReadFileInPieces(path, [&content](std::string_view piece) {
    content.append(piece);
    return OkStatus();
  }));
  return content;
}

Status WriteFileAtomically(const std::string& path, std::string_view content) {
  RETURN_IF_ERROR(CheckNoNul(path));
  // A name may be taken by what a crashed process with our number left behind: take the next.
  std::string temporary;
  Status written = absl::AlreadyExistsError("");
  constexpr int kMostNames = 10000;
  for (int i = 0; i < kMostNames && written.code() == absl::StatusCode::kAlreadyExists; ++i) {
    temporary = TemporaryName(path);
    written = WriteNewFile(temporary, [&](const auto& write) { return write(content); });
  }
  RETURN_IF_ERROR(written, "cannot write ", path);
  TemporaryFile guard(temporary);
  if (::rename(temporary.c_str(), path.c_str()) != 0) return ErrnoStatus("replace", path, errno);
  guard.Keep();
  return SyncFolder(FolderOf(path));
}

Status SyncFile(const std::string& path) { return SyncPath(path, O_RDONLY); }

Status SyncFolder(const std::string& path) { return SyncPath(path, O_RDONLY | O_DIRECTORY); }

Status MakeFolders(const std::string& path) {
  RETURN_IF_ERROR(CheckNoNul(path));
  if (path.empty()) return absl::InvalidArgumentError("cannot make a folder with an empty name");
  for (std::size_t end = 0; end != std::string::npos;) {
    end = path.find('/', end + 1);
    const std::string part = path.substr(0, end);
    if (::mkdir(part.c_str(), 0755) == 0) {
      RETURN_IF_ERROR(SyncFolder(FolderOf(part)));
      continue;
    }
    // An existing folder may also be reported as EACCES, EROFS or EPERM: look before complaining.
    const int error = errno;
    if (IsFolder(part)) continue;
    return ErrnoStatus("make folder", part, error == EEXIST ? ENOTDIR : error);
  }
  return OkStatus();
}

Status RemoveTree(const std::string& path) {
  RETURN_IF_ERROR(CheckNoNul(path));
  std::error_code error;
  fs::remove_all(path, error);
  if (error && error.value() != ENOENT) return ErrnoStatus("remove", path, error.value());
  return OkStatus();
}

Result<std::vector<std::string>> ListFolder(const std::string& path, ListMode mode) {
  RETURN_IF_ERROR(CheckNoNul(path));
  std::vector<std::string> names;
  RETURN_IF_ERROR(AppendEntries(path, "", mode, &names));
  std::sort(names.begin(), names.end());
  return names;
}

bool PathExists(const std::string& path) {
  struct stat info;
  return CheckNoNul(path).ok() && ::stat(path.c_str(), &info) == 0;
}

bool IsFolder(const std::string& path) {
  struct stat info;
  return CheckNoNul(path).ok() && ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

Result<std::uint64_t> FileSize(const std::string& path) {
  RETURN_IF_ERROR(CheckNoNul(path));
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return ErrnoStatus("look at", path, errno);
  if (S_ISDIR(info.st_mode)) return ErrnoStatus("take the size of", path, EISDIR);
  return static_cast<std::uint64_t>(info.st_size);
}

Status HardLinkOrCopy(const std::string& from, const std::string& to) {
  RETURN_IF_ERROR(CheckNoNul(from));
  RETURN_IF_ERROR(CheckNoNul(to));
  if (IsFolder(from)) return ErrnoStatus("link", from, EISDIR);
  if (::link(from.c_str(), to.c_str()) == 0) return OkStatus();
  switch (errno) {
    case EXDEV:
    case EPERM:
    case EMLINK:
    case ENOTSUP:
    case ENOSYS:
      return WriteNewFile(to, [&](const auto& write) { return ReadFileInPieces(from, write); });
    case ENOENT:
      return ErrnoStatus("link", PathExists(from) ? to : from, ENOENT);
    default:
      return ErrnoStatus("link", to, errno);
  }
}

Status CheckRelativePath(std::string_view path) {
  std::string_view reason;
  if (path.empty()) {
    reason = "it is empty";
  } else if (path.front() == '/') {
    reason = "it is absolute";
  } else if (path.find('\0') != std::string_view::npos) {
    return absl::InvalidArgumentError("unsafe path: it contains a NUL byte");
  }
  for (std::size_t begin = 0; reason.empty() && begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part.empty()) reason = "it has an empty component";
    if (part == "." || part == "..") reason = "it has a \".\" or \"..\" component";
    begin = end + 1;
  }
  if (reason.empty()) return OkStatus();
  return absl::InvalidArgumentError(StrCat("unsafe path \"", path, "\": ", reason));
}

std::string JoinPath(std::string_view folder, std::string_view name) {
  if (folder.empty() || folder == ".") return std::string(name);
  if (folder.back() == '/') return StrCat(folder, name);
  return StrCat(folder, "/", name);
}

std::string FolderOf(std::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  const std::size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  return std::string(path.substr(0, std::max<std::size_t>(slash, 1)));
}

}  // namespace cairn
