#include "common/metrics/distribution_proto.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "google/protobuf/text_format.h"
#include "proto/ps_service.pb.h"

namespace cairn {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(DistributionProto, ComesBackAsItWas) {
  Histogram histogram(1e-6, 1e3);
  for (const double value : {1e-7, 0.003, 0.003, 0.25, 5e3}) histogram.Record(value);
  const Distribution before = histogram.Read();
  proto::Distribution message;
  ToProto(before, &message);
  EXPECT_THAT(message.count(), ElementsAre(1, 2, 1, 1));  // only what holds something is sent
  proto::Distribution sent;
  ASSERT_TRUE(sent.ParseFromString(message.SerializeAsString()));
  const Result<Distribution> after = FromProto(sent);
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_EQ(after->buckets, before.buckets);
  EXPECT_EQ(after->sum, before.sum);
  for (const double share : {0.0, 0.5, 0.99, 1.0}) {
    EXPECT_EQ(after->Percentile(share), histogram.Percentile(share)) << share;
  }
  Distribution both = before;
  EXPECT_EQ(both.Merge(*after), OkStatus());
  EXPECT_EQ(both.count(), 10u);
}

TEST(DistributionProto, UnsetIsEmpty) {
  const Result<Distribution> empty = FromProto(proto::Distribution());
  ASSERT_TRUE(empty.ok()) << empty.status();
  EXPECT_EQ(empty->count(), 0u);
  EXPECT_EQ(Distribution().Merge(*empty), OkStatus());
}

TEST(DistributionProto, NonsenseIsRefused) {
  for (const char* const text : {
           "lowest: 1 highest: 8 buckets: 26 bucket: 3 bucket: 3 count: 1 count: 1",
           "lowest: 1 highest: 8 buckets: 26 bucket: 26 count: 1",
           "lowest: 1 highest: 8 buckets: 26 bucket: 2 bucket: 1 count: 1 count: 1",
           "lowest: 1 highest: 8 buckets: 26 bucket: 2",
           "lowest: 1 highest: 8 buckets: 4000000000",
       }) {
    proto::Distribution message;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
    const Status status = FromProto(message).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("a histogram of"));
  }
}

}  // namespace
}  // namespace cairn
