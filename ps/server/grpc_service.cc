#include "ps/server/grpc_service.h"

#include <string>
#include <utility>

#include "ps/server/exchange_stream.h"

namespace cairn::ps {
namespace {

// Ends a call at once.
class Refusal final : public grpc::ServerGenericBidiReactor {
 public:
  Refusal(grpc::StatusCode code, const std::string& why) { Finish(grpc::Status(code, why)); }
  void OnDone() override { delete this; }
};

}  // namespace

PsDataService::PsDataService(RequestHandler* handler, std::shared_ptr<rpc::BufferPool> pool,
                             Executor* executor, const StreamLimits& limits)
    : handler_(handler), pool_(std::move(pool)), executor_(executor), limits_(limits) {}

grpc::ServerGenericBidiReactor* PsDataService::CreateReactor(
    grpc::GenericCallbackServerContext* context) {
  if (context->method() != rpc::kExchangeMethod) {
    return new Refusal(grpc::StatusCode::UNIMPLEMENTED, "no such method");
  }
  if (++streams_ > limits_.max_streams) {
    --streams_;
    (void)handler_->Refuse(absl::ResourceExhaustedError("streams"));
    return new Refusal(grpc::StatusCode::RESOURCE_EXHAUSTED,
                       StrCat("more than ", limits_.max_streams, " streams"));
  }
  return ExchangeStream::Open(this);
}

}  // namespace cairn::ps
