// cairn::Status on the wire. The codes are the same numbers; a message longer than gRPC's header
// limit allows is cut.
#pragma once

#include <grpcpp/support/status.h>

#include "common/base/status.h"

namespace cairn {

grpc::Status ToGrpc(const Status& status);
Status FromGrpc(const grpc::Status& status);

}  // namespace cairn
