// The coordinator's gRPC server: proto/control.proto over a CoordinatorCore, and the standard
// health service. A thin adapter: it converts codes and bounds waits.
//
//   Make -> Start (listens; address() is known) -> Stop (idempotent; also by the destructor)
//
// Thread-safety: the life-cycle methods are called by one thread; address() by any after Start.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/base/status.h"

namespace cairn::launch {

class CoordinatorCore;

struct ControlServerOptions {
  // host:port with port 0 for a free one, or unix:PATH.
  std::string address = "127.0.0.1:0";
  // Without it only loopback and unix sockets are listened on: traffic is neither encrypted nor
  // authenticated.
  bool insecure_network = false;
  // JoinWorker waits for so long for the servers before it names those that are missing.
  std::uint32_t join_wait_ms = 5000;
  // Calls that run at once; those of some hundred workers. More are refused.
  int max_threads = 1024;
};

class ControlServer {
 public:
  // `core` outlives the server.
  static std::unique_ptr<ControlServer> Make(const ControlServerOptions& options,
                                             CoordinatorCore* core);
  virtual ~ControlServer() = default;

  // Unavailable, naming the address and why, when it cannot be listened on; PermissionDenied for a
  // network address without insecure_network.
  virtual Status Start() = 0;
  // Where members reach it, with the real port.
  virtual const std::string& address() const = 0;
  // Ends all calls.
  virtual void Stop() = 0;
};

}  // namespace cairn::launch
