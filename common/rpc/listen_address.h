// Addresses and what a server can listen on: host:port, [ipv6]:port or unix:PATH.
// Thread-safety: pure functions, but for the sockets that they try.
#pragma once

#include <optional>
#include <string>

#include "common/base/status.h"

namespace cairn::rpc {

// The path of unix:PATH; nothing for another address.
std::optional<std::string> UnixPath(const std::string& address);

struct HostPort {
  std::string host;  // without brackets
  std::string port;
};
// Nothing if the address is not host:port or [ipv6]:port with a port of 0 to 65535.
std::optional<HostPort> SplitHostPort(const std::string& address);

// True for unix:PATH and for hosts localhost, 127.x.x.x and [::1].
bool IsLocalAddress(const std::string& address);

// Whether a server may and can listen there, found by trying, so that the answer is one clear line:
// InvalidArgument if malformed; PermissionDenied for an address that is not local, unless
// `insecure_network`; Unavailable with the reason when it is in use (for a unix socket: when a
// server answers there; gRPC takes a dead one away) or cannot be had.
Status CheckListenAddress(const std::string& address, bool insecure_network);

// The error when listening failed although it could be done a moment ago.
Status CannotListen(const std::string& address, const std::string& why);

// `address` with its port replaced; as it is for a unix socket.
std::string WithPort(const std::string& address, int port);

}  // namespace cairn::rpc
