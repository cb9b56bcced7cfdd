#include "worker/client/ps_connection.h"

#include <glog/logging.h>

#include <algorithm>
#include <map>
#include <optional>
#include <thread>
#include <utility>

#include "common/base/mutex.h"
#include "common/rpc/connect.h"
#include "worker/client/exchange_call.h"

namespace cairn::worker {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// A request on its way. The fields of the first group belong to the connection.
class PsConnection::Call {
 public:
  explicit Call(Request r, Clock::time_point until) : request(std::move(r)), deadline(until) {}

  Request request;
  const Clock::time_point deadline;
  std::uint64_t id = 0;
  std::uint64_t received = 0;  // bytes of the reply's body
  std::string error;           // the reply's body, if its code is not 0

  void Complete(Status with, bool has_answer) EXCLUDES(mu) {
    MutexLock lock(mu);
    done = true;
    answered = has_answer;
    status = std::move(with);
    changed.NotifyAll();
  }

  Mutex mu;
  CondVar changed;
  int leases GUARDED_BY(mu) = 0;  // attempts whose slices the transport may still read
  bool done GUARDED_BY(mu) = false;
  bool answered GUARDED_BY(mu) = false;
  Status status GUARDED_BY(mu);
};

namespace {

constexpr milliseconds kFirstPause{50};
constexpr milliseconds kLongestPause{2000};
constexpr milliseconds kLogEvery{10000};
constexpr std::size_t kMaxErrorBytes = 64 << 10;

using CallPtr = std::shared_ptr<PsConnection::Call>;

std::string Seconds(milliseconds time) {
  return StrCat(static_cast<double>(time.count()) / 1000, " s");
}

// Whether another attempt can help.
bool IsTransient(const Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:  // the server closed the stream in order
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kInternal:  // a reset of the transport
      return true;
    default:
      return false;
  }
}

class Connection final : public PsConnection {
 public:
  explicit Connection(PsConnectionOptions options)
      : options_(std::move(options)),
        name_(StrCat("ps ", options_.hello.ps, " at ", options_.address)),
        thread_([this] { Loop(); }) {}
  ~Connection() override { Stop(); }

  Status WaitConnected() override;
  CallPtr Start(Request request) override;
  Status Await(Call& call, bool* answered) override;
  void SetDenseRegistration(std::vector<std::byte> body) override {
    MutexLock lock(mu_);
    dense_registration_ = std::move(body);
  }
  void Stop() override;

 private:
  void Loop() EXCLUDES(mu_);
  // Tries until the stream stood and broke, or the time is up, or the error is one that lasts.
  void Keep() EXCLUDES(mu_);
  // One stream, from opening to end; `*stood` if it came to serve requests. Why it ended.
  Status RunStream(Clock::time_point until, bool* stood) EXCLUDES(mu_);
  Status SetUp(Clock::time_point until) EXCLUDES(mu_);
  Status SetUpRequest(rpc::FrameKind kind, std::span<const std::byte> body, Clock::time_point until)
      EXCLUDES(mu_);

  bool OnMessage(const grpc::ByteBuffer& message) EXCLUDES(mu_);
  Status Take(const grpc::ByteBuffer& message) EXCLUDES(mu_);
  CallPtr Find(std::uint64_t id) EXCLUDES(mu_);

  void Send(const CallPtr& call) REQUIRES(mu_);
  void FailAll(const Status& status) EXCLUDES(mu_);
  void FailExpired() EXCLUDES(mu_);

  const PsConnectionOptions options_;
  const std::string name_;
  rpc::WakeEvent wake_;  // ends an attempt to connect, when stop_ or expired_ turned true

  Mutex mu_;
  CondVar changed_;
  std::map<std::uint64_t, CallPtr> calls_ GUARDED_BY(mu_);  // not answered, in order of start
  CallPtr setting_up_ GUARDED_BY(mu_);                      // HELLO and what else comes first
  std::uint64_t next_id_ GUARDED_BY(mu_) = 1;
  std::vector<std::byte> dense_registration_ GUARDED_BY(mu_);
  ExchangeCall* stream_ GUARDED_BY(mu_) = nullptr;
  std::optional<Status> first_ GUARDED_BY(mu_);  // outcome of the first connection
  bool ready_ GUARDED_BY(mu_) = false;           // calls may be sent on stream_
  bool broken_ GUARDED_BY(mu_) = false;
  bool expired_ GUARDED_BY(mu_) = false;  // a call's deadline passed
  bool stop_ GUARDED_BY(mu_) = false;
  bool connected_once_ GUARDED_BY(mu_) = false;
  milliseconds pause_ GUARDED_BY(mu_){0};  // before the next attempt
  Status fatal_ GUARDED_BY(mu_);           // a reply that makes no sense

  std::thread thread_;  // last: uses everything above
};

Status Connection::WaitConnected() {
  MutexLock lock(mu_);
  changed_.Wait(mu_, [this]() REQUIRES(mu_) { return first_.has_value(); });
  return *first_;
}

CallPtr Connection::Start(Request request) {
  auto call = std::make_shared<Call>(std::move(request), Clock::now() + options_.request);
  MutexLock lock(mu_);
  if (stop_) {
    call->Complete(absl::CancelledError("stopped"), false);
    return call;
  }
  call->id = next_id_++;
  calls_[call->id] = call;
  if (ready_) {
    Send(call);
  } else {
    changed_.NotifyAll();
  }
  return call;
}

Status Connection::Await(Call& call, bool* answered) {
  MutexLock lock(call.mu);
  const auto over = [&call]() REQUIRES(call.mu) { return call.done && call.leases == 0; };
  const auto left = std::chrono::ceil<milliseconds>(call.deadline - Clock::now());
  if (!call.changed.WaitFor(call.mu, std::max(left, milliseconds{0}), over)) {
    call.mu.Unlock();
    {
      MutexLock own(mu_);
      expired_ = true;
      changed_.NotifyAll();
    }
    wake_.Set();
    call.mu.Lock();
    call.changed.Wait(call.mu, over);
  }
  if (answered != nullptr) *answered = call.answered;
  return Annotate(call.status, name_);
}

void Connection::Send(const CallPtr& call) {
  {
    MutexLock lock(call->mu);
    ++call->leases;
  }
  // The transport's slices hold this; the request's memory is free once the last one is gone.
  std::shared_ptr<void> lease(call.get(), [call](void*) {
    MutexLock lock(call->mu);
    if (--call->leases == 0) call->changed.NotifyAll();
  });
  stream_->Send(
      rpc::OutgoingBody(call->request.kind, 0, call->id, call->request.pieces, std::move(lease)));
}

void Connection::Stop() {
  {
    MutexLock lock(mu_);
    stop_ = true;
    changed_.NotifyAll();
  }
  wake_.Set();
  if (thread_.joinable()) thread_.join();
}

void Connection::Loop() {
  for (;;) {
    {
      MutexLock lock(mu_);
      changed_.Wait(mu_, [this]() REQUIRES(mu_) { return stop_ || !calls_.empty() || !first_; });
      if (stop_) break;
    }
    Keep();
  }
  FailAll(absl::CancelledError("stopped"));
}

void Connection::Keep() {
  const auto start = Clock::now();
  milliseconds limit;
  {
    MutexLock lock(mu_);
    limit = connected_once_ ? options_.reconnect : options_.first_connect;
  }
  auto next_log = start + kLogEvery;
  std::string why = "no answer";  // kept when the last attempt was merely cut short
  for (;;) {
    FailExpired();
    {
      MutexLock lock(mu_);
      const auto left = std::chrono::ceil<milliseconds>(start + limit - Clock::now());
      changed_.WaitFor(mu_, std::clamp(left, milliseconds{0}, pause_),
                       [this]() REQUIRES(mu_) { return stop_ || expired_; });
      pause_ = std::clamp(2 * pause_, kFirstPause, kLongestPause);
      if (stop_) return;
      if (first_ && calls_.empty()) return;
    }
    bool stood = false;
    const Status status = RunStream(start + limit, &stood);
    if (!IsTransient(status)) return FailAll(status);
    if (stood) return;
    if (status.code() == absl::StatusCode::kUnavailable) why = std::string(status.message());
    const auto now = Clock::now();
    if (now >= start + limit) {
      return FailAll(
          absl::UnavailableError(StrCat("no connection for ", Seconds(limit), ": ", why)));
    }
    if (now >= next_log) {
      LOG(WARNING) << "waiting for " << name_ << " since "
                   << std::chrono::duration_cast<std::chrono::seconds>(now - start).count()
                   << " s, for at most " << Seconds(limit) << ": " << why;
      next_log += kLogEvery;
    }
  }
}

Status Connection::RunStream(Clock::time_point until, bool* stood) {
  const auto left = std::chrono::ceil<milliseconds>(until - Clock::now());
  wake_.Clear();
  {
    MutexLock lock(mu_);
    if (stop_ || expired_) return absl::CancelledError("interrupted");
  }
  ASSIGN_OR_RETURN(const int socket,
                   rpc::ConnectSocket(options_.address, std::max(left, milliseconds{0}), wake_));
  ExchangeCall stream(socket, options_.address,
                      {[this](const grpc::ByteBuffer& message) { return OnMessage(message); },
                       [this] {
                         MutexLock lock(mu_);
                         broken_ = true;
                         changed_.NotifyAll();
                       }});
  {
    MutexLock lock(mu_);
    stream_ = &stream;
    fatal_ = OkStatus();
  }
  Status status = SetUp(until);
  bool was_broken = false;
  {
    MutexLock lock(mu_);
    if (status.ok()) {
      *stood = ready_ = connected_once_ = true;
      first_ = OkStatus();
      changed_.NotifyAll();
      for (auto& [id, call] : calls_) Send(call);
      changed_.Wait(mu_, [this]() REQUIRES(mu_) { return broken_ || stop_ || expired_; });
    }
    was_broken = broken_;
    ready_ = false;
    stream_ = nullptr;
  }
  const Status end = stream.End();
  MutexLock lock(mu_);
  broken_ = false;
  setting_up_ = nullptr;
  for (auto& [id, call] : calls_) {
    call->received = 0;
    call->error.clear();
    call->request.reply.Rewind();
  }
  if (!fatal_.ok()) return fatal_;
  if (was_broken) {
    if (*stood) LOG(WARNING) << name_ << ": connection lost: " << end;
    return end;
  }
  return status;
}

Status Connection::SetUp(Clock::time_point until) {
  const std::vector<std::byte> hello = rpc::EncodeHello(options_.hello);
  RETURN_IF_ERROR(SetUpRequest(rpc::FrameKind::kHello, hello, until));
  std::vector<std::byte> registration;
  {
    MutexLock lock(mu_);
    registration = dense_registration_;
  }
  if (registration.empty()) return OkStatus();
  return SetUpRequest(rpc::FrameKind::kRegisterDense, registration, until);
}

Status Connection::SetUpRequest(rpc::FrameKind kind, std::span<const std::byte> body,
                                Clock::time_point until) {
  auto call = std::make_shared<Call>(Request{kind, {}, {}}, until);
  // Small, and copied: nothing borrows `body` afterwards.
  std::string copy(reinterpret_cast<const char*>(body.data()), body.size());
  MutexLock lock(mu_);
  call->id = next_id_++;
  setting_up_ = call;
  stream_->Send(rpc::MakeTextBody(kind, 0, call->id, std::move(copy)));
  const auto left = std::chrono::ceil<milliseconds>(until - Clock::now());
  const bool woke = changed_.WaitFor(mu_, std::max(left, milliseconds{0}), [&]() REQUIRES(mu_) {
    return setting_up_ == nullptr || broken_ || stop_ || expired_;
  });
  if (setting_up_ == nullptr) {
    MutexLock inner(call->mu);
    return call->status;
  }
  return woke ? absl::CancelledError("interrupted") : absl::DeadlineExceededError("no answer");
}

bool Connection::OnMessage(const grpc::ByteBuffer& message) {
  const Status status = Take(message);
  if (status.ok()) return true;
  MutexLock lock(mu_);
  fatal_ = Status(absl::StatusCode::kDataLoss, status.message());
  return false;
}

CallPtr Connection::Find(std::uint64_t id) {
  MutexLock lock(mu_);
  if (setting_up_ != nullptr && setting_up_->id == id) return setting_up_;
  const auto found = calls_.find(id);
  return found == calls_.end() ? nullptr : found->second;
}

Status Connection::Take(const grpc::ByteBuffer& message) {
  rpc::MessageReader reader(message);
  ASSIGN_OR_RETURN(const rpc::FrameHeader header, reader.ReadHeader(), "reply");
  const CallPtr call = Find(header.request);
  if (header.kind != rpc::FrameKind::kReply || call == nullptr) {
    return absl::InternalError(StrCat(rpc::KindName(header.kind), " to no request of ours"));
  }
  const bool ok = header.code == 0;
  const std::uint64_t expected = call->request.reply.total_bytes();
  if (header.offset != call->received || (ok && header.total != expected) ||
      (!ok && header.total > kMaxErrorBytes)) {
    return absl::InternalError(StrCat("reply frame at ", header.offset, " of ", header.total,
                                      " bytes, ", call->received, " of ", expected, " were there"));
  }
  for (auto run = reader.NextRun(); !run.empty(); run = reader.NextRun()) {
    if (ok) {
      call->request.reply.Write(run);
    } else {
      call->error.append(reinterpret_cast<const char*>(run.data()), run.size());
    }
  }
  const auto code =
      header.code <= 16 ? static_cast<absl::StatusCode>(header.code) : absl::StatusCode::kUnknown;
  {
    MutexLock lock(mu_);
    call->received += header.payload;
    if (!header.IsLast()) return OkStatus();
    if (setting_up_ == call) {
      call->Complete(ok ? OkStatus() : Status(code, call->error), true);
      setting_up_ = nullptr;
      changed_.NotifyAll();
      return OkStatus();
    }
    calls_.erase(call->id);
    pause_ = milliseconds{0};
  }
  call->Complete(ok ? OkStatus() : Status(code, call->error), true);
  return OkStatus();
}

void Connection::FailAll(const Status& status) {
  std::map<std::uint64_t, CallPtr> failed;
  {
    MutexLock lock(mu_);
    failed.swap(calls_);
    pause_ = milliseconds{0};
    if (!first_) first_ = Annotate(status, name_);
    changed_.NotifyAll();
  }
  for (auto& [id, call] : failed) call->Complete(status, false);
}

void Connection::FailExpired() {
  const auto now = Clock::now();
  MutexLock lock(mu_);
  expired_ = false;
  for (auto it = calls_.begin(); it != calls_.end();) {
    if (it->second->deadline > now) {
      ++it;
      continue;
    }
    it->second->Complete(
        absl::DeadlineExceededError(StrCat("no answer for ", Seconds(options_.request))), false);
    it = calls_.erase(it);
  }
}

}  // namespace

std::unique_ptr<PsConnection> PsConnection::Open(PsConnectionOptions options) {
  return std::make_unique<Connection>(std::move(options));
}

}  // namespace cairn::worker
