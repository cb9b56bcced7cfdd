// One open data stream; see ps/server/grpc_service.h.
#pragma once

#include <grpcpp/generic/async_generic_service.h>

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "common/base/mutex.h"
#include "common/rpc/frame_message.h"
#include "ps/server/grpc_service.h"

namespace cairn::ps {

class ExchangeStream final : public grpc::ServerGenericBidiReactor,
                             public std::enable_shared_from_this<ExchangeStream> {
  struct Private {};

 public:
  // Keeps itself until gRPC is done with it. Counts itself in service->streams_.
  static ExchangeStream* Open(PsDataService* service);
  ExchangeStream(Private, PsDataService* service) : service_(service) {}
  ~ExchangeStream() override { --service_->streams_; }

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  struct Request {
    rpc::FrameKind kind{};
    std::uint64_t id = 0;
    std::uint64_t total = 0;
    std::uint64_t received = 0;
    RequestHandler::Buffer body;        // null: refused, its frames are dropped
    std::optional<rpc::StepHead> head;  // PULL, PUSH, INIT_DENSE
    RequestTimes::Clock::time_point complete_at{};
  };
  // Requests that run one after another.
  struct Lane {
    std::deque<Request> waiting;
    bool running = false;
  };

  // The read side; called by one read at a time. An error ends the stream.
  Status Accept(const grpc::ByteBuffer& message);
  Result<Request> Open(const rpc::FrameHeader& header, rpc::MessageReader& reader);
  // Refuses for its content, or takes a buffer; appends what it read of the payload.
  Status Admit(Request& request, rpc::MessageReader& reader);
  void Dispatch(Request request) EXCLUDES(mu_);

  void RunOne(Lane& lane) EXCLUDES(mu_);
  Result<RequestHandler::Buffer> Run(const Request& request);

  void Reply(const Request& request, const Result<RequestHandler::Buffer>& result) EXCLUDES(mu_);
  void WriteNext() REQUIRES(mu_);
  void FinishIfDue() REQUIRES(mu_);

  PsDataService* const service_;

  // Read side.
  std::optional<Session> session_;  // written before any request is dispatched
  std::map<std::uint64_t, Request> unfinished_;

  Mutex mu_;
  std::shared_ptr<ExchangeStream> self_ GUARDED_BY(mu_);  // until OnDone
  grpc::ByteBuffer incoming_ GUARDED_BY(mu_);
  Lane pulls_ GUARDED_BY(mu_);
  Lane pushes_ GUARDED_BY(mu_);
  rpc::OutgoingQueue replies_ GUARDED_BY(mu_);
  grpc::ByteBuffer outgoing_ GUARDED_BY(mu_);
  int in_hand_ GUARDED_BY(mu_) = 0;  // dispatched or refused, reply not sent in full
  bool writing_ GUARDED_BY(mu_) = false;
  bool ends_body_ GUARDED_BY(mu_) = false;  // the frame being written
  bool read_paused_ GUARDED_BY(mu_) = false;
  bool read_closed_ GUARDED_BY(mu_) = false;
  bool broken_ GUARDED_BY(mu_) = false;
  bool finished_ GUARDED_BY(mu_) = false;
  Status failure_ GUARDED_BY(mu_);  // of the framing
};

}  // namespace cairn::ps
