#include "common/rpc/grpc_status.h"

#include <string>

namespace cairn {
namespace {

// Servers drop calls whose metadata is over 8 KiB; bytes may take three times the room on the wire.
constexpr std::size_t kMostMessageBytes = 2000;

}  // namespace

grpc::Status ToGrpc(const Status& status) {
  if (status.ok()) return grpc::Status::OK;
  std::string message(status.message().substr(0, kMostMessageBytes));
  if (status.message().size() > kMostMessageBytes) message += " ...";
  return {static_cast<grpc::StatusCode>(static_cast<int>(status.code())), message};
}

Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return OkStatus();
  const int code = static_cast<int>(status.error_code());
  const bool is_known = code >= 1 && code <= static_cast<int>(grpc::StatusCode::UNAUTHENTICATED);
  return {is_known ? static_cast<absl::StatusCode>(code) : absl::StatusCode::kUnknown,
          status.error_message()};
}

}  // namespace cairn
