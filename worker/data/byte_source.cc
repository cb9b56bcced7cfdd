#include "worker/data/byte_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

namespace cairn::worker {
namespace {

constexpr std::size_t kCompressedBufferBytes = 256 << 10;

Status SystemError(std::string_view what, const std::string& path, int error) {
  const std::string text = StrCat(what, " ", path, ": ", std::strerror(error));
  if (error == ENOENT || error == ENOTDIR) return absl::NotFoundError(text);
  if (error == EACCES || error == EISDIR || error == ELOOP || error == ENAMETOOLONG)
    return absl::InvalidArgumentError(text);
  return absl::UnavailableError(text);
}

class PlainSource : public ByteSource {
 public:
  PlainSource(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  ~PlainSource() override { close(fd_); }
  PlainSource(const PlainSource&) = delete;
  PlainSource& operator=(const PlainSource&) = delete;

  Result<std::size_t> Read(char* buffer, std::size_t capacity) override {
    for (;;) {
      const ssize_t n = read(fd_, buffer, capacity);
      if (n >= 0) return static_cast<std::size_t>(n);
      if (errno != EINTR) return SystemError("cannot read", path_, errno);
    }
  }
  Status Rewind() {
    if (lseek(fd_, 0, SEEK_SET) != 0) return SystemError("cannot seek in", path_, errno);
    return OkStatus();
  }
  const std::string& path() const { return path_; }

 private:
  int fd_;
  std::string path_;
};

// One or more gzip members (RFC 1952) one after the other; zero bytes may pad the end.
class GzipSource : public ByteSource {
 public:
  explicit GzipSource(std::unique_ptr<PlainSource> file)
      : file_(std::move(file)), buffer_(kCompressedBufferBytes) {}
  ~GzipSource() override {
    if (initialised_) inflateEnd(&stream_);
  }
  GzipSource(const GzipSource&) = delete;
  GzipSource& operator=(const GzipSource&) = delete;

  Result<std::size_t> Read(char* buffer, std::size_t capacity) override {
    if (done_) return std::size_t{0};
    if (!initialised_) {
      if (inflateInit2(&stream_, 15 + 16) != Z_OK) return absl::InternalError("inflateInit2");
      initialised_ = true;
    }
    stream_.next_out = reinterpret_cast<Bytef*>(buffer);
    stream_.avail_out = static_cast<uInt>(std::min<std::size_t>(capacity, 1u << 30));
    const uInt wanted = stream_.avail_out;
    while (stream_.avail_out == wanted && !done_) RETURN_IF_ERROR(Step());
    unpacked_ += wanted - stream_.avail_out;
    return static_cast<std::size_t>(wanted - stream_.avail_out);
  }

 private:
  // Unpacks some of the input, or moves to the next member.
  Status Step() {
    if (stream_.avail_in == 0) RETURN_IF_ERROR(Fill());
    if (between_members_) return NextMember();
    if (stream_.avail_in == 0) return Broken("truncated gzip");
    switch (inflate(&stream_, Z_NO_FLUSH)) {
      case Z_OK:
      case Z_BUF_ERROR:
        return OkStatus();
      case Z_STREAM_END:
        between_members_ = true;
        return OkStatus();
      default:
        return Broken(StrCat("corrupt gzip (", stream_.msg == nullptr ? "?" : stream_.msg, ")"));
    }
  }

  Status NextMember() {
    if (stream_.avail_in == 0) {
      done_ = true;
      return OkStatus();
    }
    if (*stream_.next_in == 0) {
      ++stream_.next_in;
      --stream_.avail_in;
      return OkStatus();
    }
    if (inflateReset(&stream_) != Z_OK) return absl::InternalError("inflateReset");
    between_members_ = false;
    return OkStatus();
  }

  Status Fill() {
    ASSIGN_OR_RETURN(const std::size_t n,
                     file_->Read(reinterpret_cast<char*>(buffer_.data()), buffer_.size()));
    stream_.next_in = buffer_.data();
    stream_.avail_in = static_cast<uInt>(n);
    read_ += n;
    return OkStatus();
  }

  Status Broken(std::string_view what) const {
    return absl::InvalidArgumentError(StrCat(file_->path(), ": ", what, " at byte ",
                                             read_ - stream_.avail_in, ", after ", unpacked_,
                                             " unpacked bytes"));
  }

  std::unique_ptr<PlainSource> file_;
  std::vector<Bytef> buffer_;
  z_stream stream_{};
  bool initialised_ = false;
  bool between_members_ = false;
  bool done_ = false;
  std::uint64_t read_ = 0;
  std::uint64_t unpacked_ = 0;
};

}  // namespace

Status CheckInputFile(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return SystemError("cannot open", path, errno);
  if (S_ISDIR(info.st_mode))
    return absl::InvalidArgumentError(StrCat(path, " is a directory, not a file"));
  if (!S_ISREG(info.st_mode))
    return absl::InvalidArgumentError(StrCat(path, " is not a regular file"));
  if (access(path.c_str(), R_OK) != 0) return SystemError("cannot open", path, errno);
  if (info.st_size == 0)
    return absl::InvalidArgumentError(StrCat(path, " is empty: it has no rows"));
  return OkStatus();
}

Result<std::unique_ptr<ByteSource>> OpenByteSource(const std::string& path) {
  RETURN_IF_ERROR(CheckInputFile(path));
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return SystemError("cannot open", path, errno);
  auto file = std::make_unique<PlainSource>(fd, path);
  unsigned char magic[4] = {0, 0, 0, 0};
  ASSIGN_OR_RETURN(const std::size_t n, file->Read(reinterpret_cast<char*>(magic), sizeof magic));
  RETURN_IF_ERROR(file->Rewind());
  if (n >= 2 && magic[0] == 0x1f && magic[1] == 0x8b)
    return std::make_unique<GzipSource>(std::move(file));
  if (path.ends_with(".gz"))
    return absl::InvalidArgumentError(StrCat(path, " is named .gz but holds no gzip data"));
  if (n == 4 && magic[0] == 0x28 && magic[1] == 0xb5 && magic[2] == 0x2f && magic[3] == 0xfd)
    return absl::InvalidArgumentError(
        StrCat(path, " is zstd data; of compressed files only gzip is read"));
  return file;
}

}  // namespace cairn::worker
