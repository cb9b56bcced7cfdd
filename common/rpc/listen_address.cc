#include "common/rpc/listen_address.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

namespace cairn::rpc {
namespace {

constexpr std::string_view kUnix = "unix:";

// Whether a server accepts connections on the unix socket.
bool Answers(const std::string& path) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path.data(), path.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (fd < 0) return false;
  const int rc = ::connect(fd, reinterpret_cast<const sockaddr*>(&name), sizeof name);
  const bool answers = rc == 0 || errno == EAGAIN;
  ::close(fd);
  return answers;
}

std::string BindError(const HostPort& address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int rc = ::getaddrinfo(address.host.c_str(), address.port.c_str(), &hints, &found);
      rc != 0) {
    return ::gai_strerror(rc);
  }
  std::string error;
  const int fd = ::socket(found->ai_family, SOCK_STREAM, 0);
  const int one = 1;
  if (fd < 0 || ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
      ::bind(fd, found->ai_addr, found->ai_addrlen) != 0 || ::listen(fd, 1) != 0) {
    error = std::strerror(errno);
  }
  if (fd >= 0) ::close(fd);
  ::freeaddrinfo(found);
  return error;
}

std::string UnixError(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  return ::access(folder.c_str(), W_OK) == 0 ? "" : std::strerror(errno);
}

}  // namespace

std::optional<std::string> UnixPath(const std::string& address) {
  if (address.rfind(kUnix, 0) != 0) return std::nullopt;
  return address.substr(kUnix.size());
}

std::optional<HostPort> SplitHostPort(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0) return std::nullopt;
  HostPort split{address.substr(0, colon), address.substr(colon + 1)};
  if (split.port.empty() || split.port.size() > 5 ||
      split.port.find_first_not_of("0123456789") != std::string::npos ||
      std::stoi(split.port) > 65535) {
    return std::nullopt;
  }
  if (split.host.front() == '[') {
    if (split.host.size() < 3 || split.host.back() != ']') return std::nullopt;
    split.host = split.host.substr(1, split.host.size() - 2);
  } else if (split.host.find(':') != std::string::npos) {
    return std::nullopt;
  }
  return split;
}

bool IsLocalAddress(const std::string& address) {
  if (UnixPath(address)) return true;
  const auto split = SplitHostPort(address);
  return split &&
         (split->host == "localhost" || split->host == "::1" || split->host.rfind("127.", 0) == 0);
}

Status CannotListen(const std::string& address, const std::string& why) {
  return absl::UnavailableError(StrCat("cannot listen on ", address, ": ", why));
}

Status CheckListenAddress(const std::string& address, bool insecure_network) {
  std::string why;
  if (const auto path = UnixPath(address)) {
    if (path->empty() || path->size() >= sizeof(sockaddr_un::sun_path)) {
      return absl::InvalidArgumentError(StrCat("'", address, "': a unix socket's path has 1 to ",
                                               sizeof(sockaddr_un::sun_path) - 1, " bytes"));
    }
    why = Answers(*path) ? "another server answers there" : UnixError(*path);
  } else {
    const auto split = SplitHostPort(address);
    if (!split) {
      return absl::InvalidArgumentError(
          StrCat("'", address, "' is no address; expected host:port or unix:PATH"));
    }
    if (!insecure_network && !IsLocalAddress(address)) {
      return absl::PermissionDeniedError(StrCat("will not listen on ", address,
                                                ": not a loopback address, and traffic is neither "
                                                "encrypted nor authenticated"));
    }
    why = BindError(*split);
  }
  return why.empty() ? OkStatus() : CannotListen(address, why);
}

std::string WithPort(const std::string& address, int port) {
  if (UnixPath(address)) return address;
  return StrCat(address.substr(0, address.rfind(':') + 1), port);
}

}  // namespace cairn::rpc
