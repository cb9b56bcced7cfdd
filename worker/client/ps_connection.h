// One worker's connection to one parameter server: a data stream that is opened again when it
// breaks, and the requests on it, which are sent again until they are answered.
//
// A thread of its own opens the stream (HELLO, then the dense layout if there is one), waits while
// it works, and opens it again with growing pauses when it broke; the stream's callbacks write
// frames and copy replies. What it waits for is logged every 10 s.
// Thread-safety: every method may be called from any thread, Stop by one.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/rpc/frame.h"
#include "worker/client/body_sink.h"

namespace cairn::worker {

struct PsConnectionOptions {
  std::string address;
  rpc::Hello hello;  // names the server's index
  // How long to try: until the first connection, and after one was lost.
  std::chrono::milliseconds first_connect{10000};
  std::chrono::milliseconds reconnect{60000};
  // From a request's start to its reply, everything included.
  std::chrono::milliseconds request{120000};
};

class PsConnection {
 public:
  struct Request {
    rpc::FrameKind kind{};
    std::vector<std::span<const std::byte>> pieces;  // the body; borrowed until Await returns
    BodySink reply;
  };
  class Call;

  static std::unique_ptr<PsConnection> Open(PsConnectionOptions options);
  virtual ~PsConnection() = default;  // stops

  // Waits until the first connection stands, or gives the reason why not: Unavailable with the
  // server's index and address after options.first_connect, or at once what HELLO was answered.
  virtual Status WaitConnected() = 0;

  // Starts a request; Await must follow.
  virtual std::shared_ptr<Call> Start(Request request) = 0;
  // Waits for the reply. Afterwards nothing refers to the request's memory. `*answered` (may be
  // null) is false if the server may or may not have seen the request. Errors carry the server's
  // index and address.
  virtual Status Await(Call& call, bool* answered) = 0;

  // Sent after HELLO on every stream opened from now on.
  virtual void SetDenseRegistration(std::vector<std::byte> body) = 0;

  // Calls that are not answered end with Cancelled. Idempotent.
  virtual void Stop() = 0;
};

}  // namespace cairn::worker
