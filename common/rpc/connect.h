// Connections made by ourselves: with their own time limit, an error that says what the system
// said, and a handle to end them whatever the transport on top is waiting for. (A gRPC call whose
// peer has stopped reading cannot be cancelled: it waits for its write.)
#pragma once

#include <chrono>
#include <string>

#include "common/base/status.h"

namespace cairn::rpc {

// Ends waits from another thread. Thread-safe.
class WakeEvent {
 public:
  WakeEvent();
  ~WakeEvent();
  WakeEvent(const WakeEvent&) = delete;
  WakeEvent& operator=(const WakeEvent&) = delete;
  // Waits that last, and later ones until Clear, end at once.
  void Set();
  void Clear();
  // Readable while set.
  int fd() const { return fd_; }

 private:
  int fd_;
};

// A connected, non-blocking stream socket to host:port or unix:PATH; the caller closes it.
// InvalidArgument for an address that is none; Unavailable with the system's reason;
// DeadlineExceeded when nothing answered within `limit`; Cancelled when `wake` was set. Looking up
// a host name is not covered by the limit. Thread-safe.
Result<int> ConnectSocket(const std::string& address, std::chrono::milliseconds limit,
                          const WakeEvent& wake);

}  // namespace cairn::rpc
