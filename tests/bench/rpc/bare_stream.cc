#include "tests/bench/rpc/bare_stream.h"

#include <glog/logging.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "common/base/mutex.h"
#include "common/rpc/channel.h"

namespace cairn::bench {
namespace {

constexpr std::size_t kMessageBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxBytes = std::size_t{64} << 20;

// At the front of a request: bytes of the whole request, this head included, and of the reply.
struct Head {
  std::uint64_t request_bytes;
  std::uint64_t reply_bytes;
};

const char* Source() {
  static const std::vector<char>* const bytes = new std::vector<char>(kMaxBytes, 'x');
  return bytes->data();
}

// Up to a message's worth of a body of `total` bytes from `offset` on.
grpc::ByteBuffer Cut(std::size_t total, std::size_t offset) {
  const grpc::Slice slice(Source() + offset, std::min(kMessageBytes, total - offset),
                          grpc::Slice::STATIC_SLICE);
  return grpc::ByteBuffer(&slice, 1);
}

// Copies a message to `out`; its size.
std::size_t Take(const grpc::ByteBuffer& message, char* out) {
  std::vector<grpc::Slice> slices;
  CHECK(message.Dump(&slices).ok());
  std::size_t taken = 0;
  for (const grpc::Slice& slice : slices) {
    std::memcpy(out + taken, slice.begin(), slice.size());
    taken += slice.size();
  }
  return taken;
}

class BareStream final : public grpc::ServerGenericBidiReactor {
 public:
  BareStream() : received_(kMaxBytes) { StartRead(&in_); }
  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    at_ += Take(in_, received_.data() + at_);
    std::memcpy(&head_, received_.data(), sizeof head_);
    if (at_ < head_.request_bytes) return StartRead(&in_);
    at_ = 0;
    Write();
  }
  void OnWriteDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::CANCELLED);
    if (at_ < head_.reply_bytes) return Write();
    at_ = 0;
    StartRead(&in_);
  }
  void OnDone() override { delete this; }

 private:
  void Write() {
    out_ = Cut(head_.reply_bytes, at_);
    at_ += out_.Length();
    StartWrite(&out_);
  }
  std::vector<char> received_;
  grpc::ByteBuffer in_, out_;
  std::size_t at_ = 0;
  Head head_{};
};

class BareService final : public grpc::CallbackGenericService {
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    return new BareStream;
  }
};

class Client final : public BareClient,
                     public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  explicit Client(const std::string& address)
      : stub_(rpc::MakeChannel(address, 2 * static_cast<int>(kMessageBytes))),
        received_(kMaxBytes) {
    stub_.PrepareBidiStreamingCall(&context_, "/cairn.bench/Bare", {}, this);
    AddHold();
    StartCall();
    StartRead(&in_);
  }
  ~Client() override {
    context_.TryCancel();
    RemoveHold();
    MutexLock lock(mu_);
    changed_.Wait(mu_, [this] { return done_; });
  }

  void Call(std::size_t request_bytes, std::size_t reply_bytes) override {
    MutexLock lock(mu_);
    changed_.Wait(mu_, [this] { return !writing_; });
    request_bytes_ = request_bytes;
    reply_bytes_ = reply_bytes;
    sent_ = at_ = 0;
    Write();
    changed_.Wait(mu_, [this] { return at_ == reply_bytes_; });
  }
  void OnWriteDone(bool) override {
    MutexLock lock(mu_);
    writing_ = false;
    if (sent_ < request_bytes_) return Write();
    changed_.NotifyAll();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    const std::size_t taken = Take(in_, received_.data() + at_);
    StartRead(&in_);
    MutexLock lock(mu_);
    at_ += taken;
    if (at_ == reply_bytes_) changed_.NotifyAll();
  }
  void OnDone(const grpc::Status&) override {
    MutexLock lock(mu_);
    done_ = true;
    changed_.NotifyAll();
  }

 private:
  void Write() {
    if (sent_ == 0) {
      const Head head{request_bytes_, reply_bytes_};
      const grpc::Slice slices[] = {
          grpc::Slice(&head, sizeof head),
          grpc::Slice(Source(), std::min(kMessageBytes, request_bytes_) - sizeof head,
                      grpc::Slice::STATIC_SLICE)};
      out_ = grpc::ByteBuffer(slices, 2);
    } else {
      out_ = Cut(request_bytes_, sent_);
    }
    sent_ += out_.Length();
    writing_ = true;
    StartWrite(&out_);
  }

  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  std::vector<char> received_;
  grpc::ByteBuffer in_, out_;
  Mutex mu_;
  CondVar changed_;
  std::size_t request_bytes_ = 0, reply_bytes_ = 0, sent_ = 0, at_ = 0;
  bool writing_ = false;
  bool done_ = false;
};

}  // namespace

std::unique_ptr<grpc::CallbackGenericService> MakeBareService() {
  return std::make_unique<BareService>();
}

std::unique_ptr<BareClient> BareClient::Connect(const std::string& address) {
  return std::make_unique<Client>(address);
}

}  // namespace cairn::bench
