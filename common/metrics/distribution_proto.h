// Distributions on the wire: proto::Distribution of proto/ps_service.proto.
#pragma once

#include "common/base/status.h"
#include "common/metrics/metrics.h"

namespace cairn::proto {
class Distribution;
}  // namespace cairn::proto

namespace cairn {

// Empty buckets are left out.
void ToProto(const Distribution& distribution, proto::Distribution* out);

// InvalidArgument for what no histogram has: more than 65536 buckets, indices that do not rise or
// are beyond the buckets, as many counts as indices it must be. An unset message is an empty one.
Result<Distribution> FromProto(const proto::Distribution& message);

}  // namespace cairn
