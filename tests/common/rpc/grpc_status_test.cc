#include "common/rpc/grpc_status.h"

#include <gtest/gtest.h>

#include <string>

namespace cairn {
namespace {

TEST(GrpcStatus, EveryCodeSurvivesTheRoundTrip) {
  EXPECT_TRUE(ToGrpc(OkStatus()).ok());
  EXPECT_TRUE(FromGrpc(grpc::Status::OK).ok());
  for (int code = 1; code <= 16; ++code) {
    const Status status(static_cast<absl::StatusCode>(code), "message");
    const grpc::Status wire = ToGrpc(status);
    EXPECT_EQ(static_cast<int>(wire.error_code()), code);
    EXPECT_EQ(FromGrpc(wire), status);
  }
  EXPECT_EQ(ToGrpc(absl::DataLossError("x")).error_code(), grpc::StatusCode::DATA_LOSS);
}

TEST(GrpcStatus, UnknownCodesAreUnknown) {
  EXPECT_EQ(FromGrpc({grpc::StatusCode::DO_NOT_USE, "x"}).code(), absl::StatusCode::kUnknown);
  EXPECT_EQ(ToGrpc(Status(static_cast<absl::StatusCode>(99), "x")).error_code(),
            grpc::StatusCode::UNKNOWN);
}

TEST(GrpcStatus, LongMessagesAreCut) {
  const grpc::Status wire = ToGrpc(absl::InternalError(std::string(100000, 'x')));
  EXPECT_LT(wire.error_message().size(), 2100u);
  EXPECT_TRUE(wire.error_message().ends_with("x ..."));
}

}  // namespace
}  // namespace cairn
