#include "common/rpc/connect.h"

#include <glog/logging.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>

#include "common/rpc/listen_address.h"

namespace cairn::rpc {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// A unix socket's buffer does not grow with its use as a TCP socket's does. The kernel's 208 KiB
// fill several times in a push, and both processes are woken each time.
constexpr int kUnixSendBytes = 2 << 20;

Status SystemError(int error) { return absl::UnavailableError(std::strerror(error)); }

// Waits until a connect that was begun has ended.
Status AwaitConnect(int fd, Clock::time_point until, const WakeEvent& wake) {
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(until - Clock::now());
    pollfd fds[] = {{fd, POLLOUT, 0}, {wake.fd(), POLLIN, 0}};
    const int ready = ::poll(fds, 2, static_cast<int>(std::max(left, milliseconds{0}).count()));
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return SystemError(errno);
    if (fds[1].revents != 0) return absl::CancelledError("interrupted");
    if (fds[0].revents != 0) break;
    if (Clock::now() >= until) return absl::DeadlineExceededError("no answer");
  }
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  return error == 0 ? OkStatus() : SystemError(error);
}

Result<int> ConnectOne(const sockaddr* name, socklen_t size, Clock::time_point until,
                       const WakeEvent& wake) {
  const int fd = ::socket(name->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return SystemError(errno);
  if (name->sa_family != AF_UNIX) {
    const int one = 1;
    (void)::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  } else {
    // As far as net.core.wmem_max lets it.
    (void)::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kUnixSendBytes, sizeof kUnixSendBytes);
  }
  Status status;
  if (::connect(fd, name, size) != 0) {
    status = errno == EINPROGRESS ? AwaitConnect(fd, until, wake) : SystemError(errno);
  }
  if (status.ok()) return fd;
  ::close(fd);
  return status;
}

Result<int> ConnectUnix(const std::string& path, Clock::time_point until, const WakeEvent& wake) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof name.sun_path) {
    return absl::InvalidArgumentError(StrCat("'", path, "' is no path of a unix socket"));
  }
  path.copy(name.sun_path, sizeof name.sun_path - 1);
  return ConnectOne(reinterpret_cast<const sockaddr*>(&name), sizeof name, until, wake);
}

}  // namespace

WakeEvent::WakeEvent() : fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  PCHECK(fd_ >= 0) << "eventfd";
}
WakeEvent::~WakeEvent() { ::close(fd_); }

void WakeEvent::Set() {
  const std::uint64_t one = 1;
  // Fails only when it is set many times over.
  (void)!::write(fd_, &one, sizeof one);
}

void WakeEvent::Clear() {
  std::uint64_t count = 0;
  (void)!::read(fd_, &count, sizeof count);
}

Result<int> ConnectSocket(const std::string& address, milliseconds limit, const WakeEvent& wake) {
  const auto until = Clock::now() + limit;
  if (const auto path = UnixPath(address)) return ConnectUnix(*path, until, wake);
  const auto split = SplitHostPort(address);
  if (!split) {
    return absl::InvalidArgumentError(
        StrCat("'", address, "' is no address; expected host:port or unix:PATH"));
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int rc = ::getaddrinfo(split->host.c_str(), split->port.c_str(), &hints, &found);
      rc != 0) {
    return absl::UnavailableError(StrCat("host ", split->host, ": ", ::gai_strerror(rc)));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, &::freeaddrinfo);
  Status last = absl::UnavailableError("no address");
  for (const addrinfo* info = found; info != nullptr; info = info->ai_next) {
    auto fd = ConnectOne(info->ai_addr, info->ai_addrlen, until, wake);
    if (fd.ok()) return fd;
    last = fd.status();
  }
  return last;
}

}  // namespace cairn::rpc
