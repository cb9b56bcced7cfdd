// A data stream whose messages a test makes by hand.
// Thread-safety: none.
#pragma once

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <utility>

#include "common/base/status.h"
#include "common/rpc/frame_message.h"

namespace cairn::testing {

class RawExchange {
 public:
  explicit RawExchange(const std::shared_ptr<grpc::Channel>& channel,
                       const std::string& method = rpc::kExchangeMethod)
      : stub_(channel) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    stream_ = stub_.PrepareCall(&context_, method, &queue_);
    stream_->StartCall(Tag());
    Wait();
  }
  ~RawExchange() {
    if (!finished_) (void)Finish(true);
    queue_.Shutdown();
    void* tag;
    bool ok;
    while (queue_.Next(&tag, &ok)) {
    }
  }

  // False once the stream is broken.
  bool Write(std::string_view message) {
    const grpc::Slice slice(message.data(), message.size());
    stream_->Write(grpc::ByteBuffer(&slice, 1), Tag());
    return Wait();
  }

  struct Reply {
    std::uint64_t request = 0;
    Status status;     // of the request
    std::string body;  // if OK
  };
  // The next whole reply; an error once the stream has ended.
  Result<Reply> Read() {
    Reply reply;
    std::string body;
    for (;;) {
      grpc::ByteBuffer message;
      stream_->Read(&message, Tag());
      if (!Wait()) return absl::OutOfRangeError("the stream ended");
      rpc::MessageReader reader(message);
      ASSIGN_OR_RETURN(const rpc::FrameHeader header, reader.ReadHeader(), "reply");
      for (auto run = reader.NextRun(); !run.empty(); run = reader.NextRun()) {
        body.append(reinterpret_cast<const char*>(run.data()), run.size());
      }
      if (!header.IsLast()) continue;
      reply.request = header.request;
      if (header.code == 0) {
        reply.body = std::move(body);
      } else {
        reply.status = Status(static_cast<absl::StatusCode>(header.code), body);
      }
      return reply;
    }
  }

  // The stream's status; replies not read are dropped.
  Status Finish(bool cancel = false) {
    if (cancel) context_.TryCancel();
    while (Read().status().code() != absl::StatusCode::kOutOfRange) {
    }
    grpc::Status status;
    stream_->Finish(&status, Tag());
    Wait();
    finished_ = true;
    return Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  }
  // Says that no more will be written.
  void WritesDone() {
    stream_->WritesDone(Tag());
    Wait();
  }

 private:
  static void* Tag() { return reinterpret_cast<void*>(1); }
  bool Wait() {
    void* tag;
    bool ok = false;
    queue_.Next(&tag, &ok);
    return ok;
  }

  grpc::GenericStub stub_;
  grpc::CompletionQueue queue_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
  bool finished_ = false;
};

}  // namespace cairn::testing
