// One data stream from its opening to its end; never opened again. Has a connection of its own, and
// ends by breaking it: a stream whose peer has stopped reading could not be cancelled otherwise,
// and the transport would go on holding slices of the callers' memory. Thread-safety: every method
// may be called from any thread; the destructor by one, at the end.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/client_callback.h>

#include <functional>
#include <memory>
#include <string>

#include "common/base/mutex.h"
#include "common/rpc/frame_message.h"

namespace cairn::worker {

class ExchangeCall final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  struct Events {
    // A message came; false ends the stream. Not called twice at once.
    std::function<bool(const grpc::ByteBuffer&)> message;
    // The stream is broken. Called once.
    std::function<void()> broken;
  };

  // Takes `socket`, connected to the server.
  ExchangeCall(int socket, const std::string& address, Events events);
  // Ends the stream and waits for it.
  ~ExchangeCall() override;

  // Dropped once the stream is broken.
  void Send(rpc::OutgoingBody body) EXCLUDES(mu_);

  // Ends the stream, if it has not ended, and waits for the last callback. The server's status, or
  // Cancelled.
  Status End() EXCLUDES(mu_);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  void WriteNext() REQUIRES(mu_);

  const Events events_;
  const int socket_;  // our own handle of the connection
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<grpc::GenericStub> stub_;
  grpc::ClientContext context_;

  Mutex mu_;
  CondVar changed_;
  grpc::ByteBuffer incoming_ GUARDED_BY(mu_);
  rpc::OutgoingQueue queue_ GUARDED_BY(mu_);
  grpc::ByteBuffer outgoing_ GUARDED_BY(mu_);
  bool writing_ GUARDED_BY(mu_) = false;
  bool broken_ GUARDED_BY(mu_) = false;
  bool done_ GUARDED_BY(mu_) = false;
  Status status_ GUARDED_BY(mu_);
};

}  // namespace cairn::worker
