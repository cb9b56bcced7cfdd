// A parameter server's life as a process: the data stream (ps/server/grpc_service.h), the control
// calls of proto/ps_service.proto and the standard health service on one address.
//
//   Make -> Start (listens; address() is known) -> Serve (a core; health turns SERVING) -> Stop
//
// Between Start and Serve every request is answered with Unavailable, so that a server can tell the
// coordinator its address before it knows the job.
// Thread-safety: the life-cycle methods are called by one thread; address() by any after Start.
#pragma once

#include <memory>
#include <string>

#include "common/base/status.h"
#include "common/rpc/frame.h"
#include "ps/server/grpc_service.h"
#include "ps/server/ps_core.h"
#include "ps/server/request_handler.h"

namespace cairn::ps {

struct PsServerOptions {
  // host:port with port 0 for a free one, or unix:PATH.
  std::string address = "127.0.0.1:0";
  // Without it only loopback and unix sockets are listened on: traffic is neither encrypted nor
  // authenticated.
  bool insecure_network = false;
  // Threads that run requests; 0: one for each core, at least 2.
  int threads = 0;
  // Bytes of all unfinished and waiting requests, and of all replies not yet sent.
  std::size_t max_request_bytes = std::size_t{4} << 30;
  std::size_t max_reply_bytes = std::size_t{4} << 30;
  rpc::FrameLimits frame_limits;
  StreamLimits stream_limits;
};

class PsServer {
 public:
  // InvalidArgument for options out of range.
  static Result<std::unique_ptr<PsServer>> Make(const PsServerOptions& options);
  virtual ~PsServer() = default;  // stops

  // Unavailable, naming the address and why, when it cannot be listened on (in use, not ours);
  // PermissionDenied for a network address without insecure_network. Raises the process's limit of
  // open files as far as it may.
  virtual Status Start() = 0;

  // Where clients reach it, with the real port.
  virtual const std::string& address() const = 0;

  // Answers requests from now on. `core` must outlive Stop.
  virtual void Serve(PsCore* core, const PsIdentity& identity) = 0;

  // Ends all calls, waits for requests that run. Idempotent. Replies not sent are lost: clients
  // resend.
  virtual void Stop() = 0;
};

}  // namespace cairn::ps
