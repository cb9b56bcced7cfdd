// Addresses that a server listens on: host:port, [ipv6]:port or unix:PATH.
// Thread-safety: pure functions, but for the sockets that they try.
#pragma once

#include <string>

#include "common/base/status.h"

namespace cairn::rpc {

// True for unix:PATH and for hosts localhost, 127.x.x.x and [::1].
bool IsLocalAddress(const std::string& address);

// InvalidArgument if malformed; PermissionDenied for an address that is not local, unless
// `insecure_network`; Unavailable for a unix socket on which a server answers (gRPC would take it
// away).
Status CheckListenAddress(const std::string& address, bool insecure_network);

// Unavailable with the reason why `address` cannot be listened on, found by trying.
Status WhyNotListening(const std::string& address);

// `address` with its port replaced; as it is for a unix socket.
std::string WithPort(const std::string& address, int port);

}  // namespace cairn::rpc
