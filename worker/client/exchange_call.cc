#include "worker/client/exchange_call.h"

#include <fcntl.h>
#include <glog/logging.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utility>

#include "common/rpc/channel.h"
#include "common/rpc/grpc_status.h"

namespace cairn::worker {
ExchangeCall::ExchangeCall(int socket, const std::string& address, Events events)
    : events_(std::move(events)),
      socket_(::fcntl(socket, F_DUPFD_CLOEXEC, 0)),
      channel_(rpc::MakeChannelOver(socket, address, static_cast<int>(rpc::kMaxMessageBytes))),
      stub_(std::make_unique<grpc::GenericStub>(channel_)) {
  PCHECK(socket_ >= 0) << "no handle of a connection";
  stub_->PrepareBidiStreamingCall(&context_, rpc::kExchangeMethod, {}, this);
  MutexLock lock(mu_);
  // Writes start outside of callbacks too: OnDone must wait until no more of them can.
  AddHold();
  StartCall();
  StartRead(&incoming_);
}

ExchangeCall::~ExchangeCall() {
  (void)End();
  ::close(socket_);
}

void ExchangeCall::Send(rpc::OutgoingBody body) {
  MutexLock lock(mu_);
  if (broken_) return;
  queue_.Add(std::move(body));
  WriteNext();
}

void ExchangeCall::WriteNext() {
  if (writing_ || queue_.empty()) return;
  bool ends_body = false;
  outgoing_ = queue_.Next(&ends_body);
  writing_ = true;
  StartWrite(&outgoing_);
}

void ExchangeCall::OnWriteDone(bool ok) {
  MutexLock lock(mu_);
  writing_ = false;
  outgoing_.Clear();
  if (ok && !broken_) WriteNext();
}

void ExchangeCall::OnReadDone(bool ok) {
  grpc::ByteBuffer message;
  {
    MutexLock lock(mu_);
    message.Swap(&incoming_);
  }
  const bool go_on = ok && events_.message(message);
  message.Clear();
  {
    MutexLock lock(mu_);
    if (go_on) {
      StartRead(&incoming_);
      return;
    }
    broken_ = true;
    queue_.Clear();
  }
  if (ok) context_.TryCancel();
  events_.broken();
  RemoveHold();
}

void ExchangeCall::OnDone(const grpc::Status& status) {
  MutexLock lock(mu_);
  done_ = true;
  status_ = FromGrpc(status);
  changed_.NotifyAll();
}

Status ExchangeCall::End() {
  context_.TryCancel();
  (void)::shutdown(socket_, SHUT_RDWR);
  MutexLock lock(mu_);
  changed_.Wait(mu_, [this] { return done_; });
  return status_;
}

}  // namespace cairn::worker
