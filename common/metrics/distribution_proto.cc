#include "common/metrics/distribution_proto.h"

#include "proto/ps_service.pb.h"

namespace cairn {
namespace {

constexpr std::uint32_t kMaxBuckets = 65536;

}  // namespace

void ToProto(const Distribution& distribution, proto::Distribution* out) {
  out->Clear();
  out->set_lowest(distribution.lowest);
  out->set_highest(distribution.highest);
  out->set_buckets(static_cast<std::uint32_t>(distribution.buckets.size()));
  for (std::uint32_t i = 0; i < distribution.buckets.size(); ++i) {
    if (distribution.buckets[i] == 0) continue;
    out->add_bucket(i);
    out->add_count(distribution.buckets[i]);
  }
  out->set_sum(distribution.sum);
  out->set_smallest(distribution.smallest);
  out->set_largest(distribution.largest);
}

Result<Distribution> FromProto(const proto::Distribution& message) {
  if (message.buckets() > kMaxBuckets || message.bucket_size() != message.count_size()) {
    return absl::InvalidArgumentError(StrCat("a histogram of ", message.buckets(), " buckets with ",
                                             message.bucket_size(), " indices and ",
                                             message.count_size(), " counts"));
  }
  Distribution result{message.lowest(), message.highest(),  {},
                      message.sum(),    message.smallest(), message.largest()};
  result.buckets.resize(message.buckets());
  for (int i = 0; i < message.bucket_size(); ++i) {
    const std::uint32_t at = message.bucket(i);
    if (at >= message.buckets() || (i > 0 && at <= message.bucket(i - 1))) {
      return absl::InvalidArgumentError(
          StrCat("a histogram of ", message.buckets(), " buckets with the index ", at, " at ", i));
    }
    result.buckets[at] = message.count(i);
  }
  return result;
}

}  // namespace cairn
