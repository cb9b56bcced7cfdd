#include "launch/coordinator/grpc_ps_admin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/ps_service.pb.h"
#include "tests/testing/ps_fleet.h"

namespace cairn::launch {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::PsFleet;

TEST(GrpcPsAdmin, CallsReachTheServer) {
  PsFleet fleet(1, {4});
  const auto admin = MakeGrpcPsAdmin(0, fleet.address(0));
  EXPECT_EQ(admin->address(), fleet.address(0));
  proto::SnapshotReply snapshot;
  ASSERT_EQ(admin->Snapshot("/tmp/a", &snapshot), OkStatus());
  EXPECT_EQ(snapshot.file_size(), 1);
  proto::RestoreReply restore;
  ASSERT_EQ(admin->Restore("/tmp/b", PsFleet::kEpoch + 1, &restore), OkStatus());
  proto::PsStatsReply stats;
  ASSERT_EQ(admin->Stats(&stats), OkStatus());
  EXPECT_THAT(fleet.core(0).calls(), ElementsAre("snapshot /tmp/a", "restore /tmp/b"));
  // Workers of the epoch before are turned away.
  EXPECT_EQ(worker::MakeGrpcPsClient(fleet.ClientOptions()).status().code(),
            absl::StatusCode::kAborted);
}

TEST(GrpcPsAdmin, RefusalKeepsItsCodeAndNamesTheServer) {
  PsFleet fleet(1, {4});
  proto::SnapshotReply reply;
  const Status status = MakeGrpcPsAdmin(0, fleet.address(0))->Snapshot("../x", &reply);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("ps 0 at " + fleet.address(0)));
}

TEST(GrpcPsAdmin, AbsentServerIsNamed) {
  PsFleet fleet(1, {4});
  fleet.Kill(0);
  GrpcPsAdminOptions options;
  options.connect_ms = 200;
  proto::RestoreReply reply;
  const Status status = MakeGrpcPsAdmin(5, fleet.address(0), options)->Restore("", 1, &reply);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("ps 5 at " + fleet.address(0)));
}

TEST(GrpcPsAdmin, ServerThatComesLateIsWaitedFor) {
  PsFleet fleet(1, {4});
  fleet.Kill(0);
  const auto admin = MakeGrpcPsAdmin(0, fleet.address(0));
  proto::RestoreReply reply;
  Status status;
  std::thread caller([&] { status = admin->Restore("", 9, &reply); });
  fleet.Restart(0);
  caller.join();
  EXPECT_EQ(status, OkStatus());
}

}  // namespace
}  // namespace cairn::launch
