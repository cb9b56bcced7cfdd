#include "ps/server/exchange_stream.h"

#include <cstring>
#include <utility>

#include "common/rpc/grpc_status.h"

namespace cairn::ps {
namespace {

using rpc::FrameHeader;
using rpc::FrameKind;

constexpr std::uint64_t kMaxRegistrationBytes = std::uint64_t{64} << 20;

bool IsStep(FrameKind kind) {
  return kind == FrameKind::kPull || kind == FrameKind::kPush || kind == FrameKind::kInitDense;
}

std::uint64_t MaxBodyBytes(FrameKind kind, const rpc::FrameLimits& limits) {
  if (kind == FrameKind::kHello) return rpc::kMinPayloadBytes;
  if (kind == FrameKind::kRegisterDense) return kMaxRegistrationBytes;
  return limits.max_body_bytes;
}

}  // namespace

ExchangeStream* ExchangeStream::Open(PsDataService* service) {
  auto stream = std::make_shared<ExchangeStream>(Private{}, service);
  ExchangeStream* const opened = stream.get();
  MutexLock lock(opened->mu_);
  opened->self_ = std::move(stream);
  opened->StartRead(&opened->incoming_);
  return opened;
}

void ExchangeStream::OnReadDone(bool ok) {
  grpc::ByteBuffer message;
  {
    MutexLock lock(mu_);
    message.Swap(&incoming_);
  }
  Status status;
  if (ok) status = Accept(message);
  message.Clear();
  MutexLock lock(mu_);
  if (!ok) {
    read_closed_ = true;
  } else if (!status.ok()) {
    failure_ = service_->handler_->Refuse(status);
  } else if (in_hand_ >= service_->limits_.max_in_hand) {
    read_paused_ = true;
  } else {
    StartRead(&incoming_);
  }
  FinishIfDue();
}

Status ExchangeStream::Accept(const grpc::ByteBuffer& message) {
  rpc::MessageReader reader(message);
  ASSIGN_OR_RETURN(const FrameHeader header, reader.ReadHeader());
  if (header.kind == FrameKind::kReply) {
    return absl::InvalidArgumentError("REPLY sent to a server");
  }
  auto found = unfinished_.find(header.request);
  if (header.offset == 0) {
    if (found != unfinished_.end()) {
      return absl::InvalidArgumentError(StrCat("request ", header.request, " begins twice"));
    }
    if (static_cast<int>(unfinished_.size()) >= service_->limits_.max_unfinished) {
      return absl::ResourceExhaustedError(
          StrCat(unfinished_.size(), " unfinished requests on one stream"));
    }
    ASSIGN_OR_RETURN(Request request, Open(header, reader));
    found = unfinished_.emplace(header.request, std::move(request)).first;
  }
  if (found == unfinished_.end()) {
    return absl::InvalidArgumentError(StrCat("frame at ", header.offset, " of request ",
                                             header.request, ", which has not begun"));
  }
  Request& request = found->second;
  if (header.kind != request.kind || header.total != request.total ||
      header.offset + header.payload != request.received + reader.left()) {
    return absl::InvalidArgumentError(StrCat("frame at ", header.offset, " of ", header.total,
                                             " does not continue request ", header.request, " at ",
                                             request.received, " of ", request.total));
  }
  if (request.body != nullptr) {
    request.received += reader.CopyTo(request.body->bytes().subspan(request.received));
  } else {
    request.received += reader.left();
  }
  if (request.received == request.total) {
    Request complete = std::move(request);
    unfinished_.erase(found);
    complete.complete_at = RequestTimes::Clock::now();
    if (complete.body != nullptr) Dispatch(std::move(complete));
  }
  return OkStatus();
}

Result<ExchangeStream::Request> ExchangeStream::Open(const FrameHeader& header,
                                                     rpc::MessageReader& reader) {
  if (session_.has_value() == (header.kind == FrameKind::kHello)) {
    return absl::FailedPreconditionError(session_ ? "HELLO twice"
                                                  : "the first request is not HELLO");
  }
  Request request;
  request.kind = header.kind;
  request.id = header.request;
  request.total = header.total;
  if (Status status = Admit(request, reader); !status.ok()) {
    request.body = nullptr;
    {
      MutexLock lock(mu_);
      ++in_hand_;
    }
    Reply(request, status);
  }
  return request;
}

Status ExchangeStream::Admit(Request& request, rpc::MessageReader& reader) {
  RequestHandler& handler = *service_->handler_;
  if (request.total > MaxBodyBytes(request.kind, handler.limits())) {
    return handler.Refuse(absl::ResourceExhaustedError(
        StrCat(rpc::KindName(request.kind), " of ", request.total, " bytes; at most ",
               MaxBodyBytes(request.kind, handler.limits()))));
  }
  std::vector<std::byte> prefix;
  if (IsStep(request.kind)) {
    prefix.resize(rpc::kStepHeadBytes);
    std::size_t read = reader.CopyTo(prefix);
    if (read == rpc::kStepHeadBytes) {
      prefix.resize(rpc::StepHeadsBytes(prefix));
      read += reader.CopyTo(std::span(prefix).subspan(read));
    }
    prefix.resize(read);
    request.received = read;
    ASSIGN_OR_RETURN(request.head,
                     handler.OpenStep(*session_, request.kind, prefix, request.total));
  }
  request.body = service_->pool_->Take(request.total);
  if (request.body == nullptr) {
    return handler.Refuse(absl::ResourceExhaustedError("too many bytes of requests in hand"));
  }
  if (!prefix.empty()) std::memcpy(request.body->data(), prefix.data(), prefix.size());
  return OkStatus();
}

void ExchangeStream::Dispatch(Request request) {
  if (request.kind == FrameKind::kHello) {
    auto session = service_->handler_->Hello(request.body->bytes());
    if (session.ok()) session_ = *session;
    {
      MutexLock lock(mu_);
      ++in_hand_;
    }
    Reply(request, session.ok() ? Result<RequestHandler::Buffer>(nullptr) : session.status());
    return;
  }
  MutexLock lock(mu_);
  ++in_hand_;
  Lane& lane = request.kind == FrameKind::kPull ? pulls_ : pushes_;
  lane.waiting.push_back(std::move(request));
  if (lane.running) return;
  lane.running = true;
  service_->executor_->Run([self = shared_from_this(), &lane] { self->RunOne(lane); });
}

void ExchangeStream::RunOne(Lane& lane) {
  std::optional<Request> request;
  {
    MutexLock lock(mu_);
    if (broken_) lane.waiting.clear();
    if (lane.waiting.empty()) {
      lane.running = false;
      return;
    }
    request = std::move(lane.waiting.front());
    lane.waiting.pop_front();
  }
  {
    const Result<RequestHandler::Buffer> result = Run(*request);
    // Before the reply: who has it finds it counted.
    if (result.ok()) service_->handler_->CountServed(request->kind, request->complete_at);
    if (!result.ok() && service_->handler_->IsBroken()) {
      // No answer: the client looks for the server that takes this one's place, and asks it.
      MutexLock lock(mu_);
      failure_ = result.status();
      lane.running = false;
      WriteNext();
      FinishIfDue();
      return;
    }
    Reply(*request, result);
  }
  request.reset();
  // Back in the queue rather than in a loop here: streams take turns.
  MutexLock lock(mu_);
  lane.running = !lane.waiting.empty();
  if (lane.running) {
    service_->executor_->Run([self = shared_from_this(), &lane] { self->RunOne(lane); });
  }
}

Result<RequestHandler::Buffer> ExchangeStream::Run(const Request& request) {
  RequestHandler& handler = *service_->handler_;
  const std::span<const std::byte> body = request.body->bytes();
  Status status;
  switch (request.kind) {
    case FrameKind::kPull:
      return handler.Pull(*session_, *request.head, body);
    case FrameKind::kPush:
      status = handler.Push(*session_, *request.head, body);
      break;
    case FrameKind::kInitDense:
      status = handler.InitDense(*session_, *request.head, body);
      break;
    case FrameKind::kRegisterDense:
      status = handler.RegisterDense(*session_, body);
      break;
    default:
      return absl::InternalError("request of a kind that no lane runs");
  }
  if (!status.ok()) return status;
  return RequestHandler::Buffer();
}

void ExchangeStream::Reply(const Request& request, const Result<RequestHandler::Buffer>& result) {
  rpc::OutgoingBody body =
      result.ok()
          ? rpc::OutgoingBody(FrameKind::kReply, 0, request.id,
                              {*result == nullptr ? std::span<std::byte>() : (*result)->bytes()},
                              *result)
          : rpc::MakeTextBody(FrameKind::kReply, static_cast<std::uint16_t>(result.status().code()),
                              request.id, std::string(result.status().message()));
  MutexLock lock(mu_);
  replies_.Add(std::move(body));
  WriteNext();
}

void ExchangeStream::WriteNext() {
  if (broken_ || finished_ || !failure_.ok()) replies_.Clear();
  if (writing_ || replies_.empty()) return;
  outgoing_ = replies_.Next(&ends_body_);
  writing_ = true;
  StartWrite(&outgoing_);
}

void ExchangeStream::OnWriteDone(bool ok) {
  MutexLock lock(mu_);
  writing_ = false;
  outgoing_.Clear();
  if (!ok) broken_ = true;
  if (ends_body_) --in_hand_;
  WriteNext();
  if (read_paused_ && in_hand_ < service_->limits_.max_in_hand && !finished_) {
    read_paused_ = false;
    StartRead(&incoming_);
  }
  FinishIfDue();
}

void ExchangeStream::OnCancel() {
  MutexLock lock(mu_);
  broken_ = true;
  WriteNext();
  FinishIfDue();
}

void ExchangeStream::FinishIfDue() {
  if (finished_ || writing_) return;
  if (!failure_.ok()) {
    finished_ = true;
    Finish(ToGrpc(failure_));
  } else if (broken_) {
    finished_ = true;
    Finish(grpc::Status(grpc::StatusCode::CANCELLED, "stream broken"));
  } else if (read_closed_ && in_hand_ == 0) {
    finished_ = true;
    Finish(grpc::Status::OK);
  }
}

void ExchangeStream::OnDone() {
  // May be the last reference: it must outlive the lock.
  std::shared_ptr<ExchangeStream> self;
  MutexLock lock(mu_);
  self = std::move(self_);
}

}  // namespace cairn::ps
