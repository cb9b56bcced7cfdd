#include "ps/server/server.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <limits>
#include <numeric>

#include "common/metrics/distribution_proto.h"
#include "proto/config.pb.h"
#include "proto/ps_service.grpc.pb.h"
#include "tests/testing/fake_ps_core.h"
#include "tests/testing/ps_fleet.h"

namespace cairn::ps {
namespace {

using ::testing::ElementsAre;
using testing::FakePsCore;
using ::testing::HasSubstr;
using testing::PsFleet;

std::unique_ptr<PsServer> Started(const std::string& address) {
  PsServerOptions options;
  options.address = address;
  auto server = PsServer::Make(options);
  EXPECT_TRUE(server.ok()) << server.status();
  EXPECT_EQ((*server)->Start(), OkStatus());
  return std::move(*server);
}

Status StartOn(const std::string& address) {
  PsServerOptions options;
  options.address = address;
  auto server = PsServer::Make(options);
  return server.ok() ? (*server)->Start() : server.status();
}

std::string SocketPath() { return StrCat("/tmp/cairn_server_test_", ::getpid(), ".sock"); }

// "SERVING" and so on, as the standard health service says; the message is written by hand because
// its .proto is not part of the packages.
std::string Health(const std::string& address) {
  auto channel = grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  grpc::Slice empty("", 0);
  grpc::ByteBuffer empty_request(&empty, 1), reply;
  grpc::CompletionQueue queue;
  auto call =
      stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check", empty_request, &queue);
  call->StartCall();
  grpc::Status status;
  call->Finish(&reply, &status, reinterpret_cast<void*>(1));
  void* tag;
  bool ok;
  queue.Next(&tag, &ok);
  if (!status.ok()) return status.error_message();
  grpc::Slice slice;
  EXPECT_TRUE(reply.DumpToSingleSlice(&slice).ok());
  const std::string text(reinterpret_cast<const char*>(slice.begin()), slice.size());
  if (text == std::string("\x08\x01")) return "SERVING";
  if (text == std::string("\x08\x02")) return "NOT_SERVING";
  return "?";
}

TEST(PsServer, FreePortIsReported) {
  const auto a = Started("127.0.0.1:0");
  const auto b = Started("localhost:0");
  EXPECT_THAT(a->address(), HasSubstr("127.0.0.1:"));
  EXPECT_NE(a->address(), "127.0.0.1:0");
  EXPECT_THAT(b->address(), HasSubstr("localhost:"));
}

TEST(PsServer, PortInUseIsUnavailableAndNamed) {
  const auto first = Started("127.0.0.1:0");
  const Status status = StartOn(first->address());
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr(first->address()));
  EXPECT_THAT(status.message(), HasSubstr("Address already in use"));
}

TEST(PsServer, UnixSocketInUseIsUnavailableAndALeftOverOneIsReplaced) {
  const std::string address = "unix:" + SocketPath();
  const auto first = Started(address);
  EXPECT_EQ(first->address(), address);
  const Status status = StartOn(address);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr(address));
  first->Stop();
  EXPECT_EQ(StartOn(address), OkStatus());
}

TEST(PsServer, BadAddressesAreRefused) {
  EXPECT_EQ(StartOn("nonsense").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(StartOn("127.0.0.1:70000").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(StartOn("127.0.0.1:").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(StartOn("unix:").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(StartOn("unix:/" + std::string(200, 'x')).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(StartOn("unix:/no/such/folder/s").code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(StartOn("0.0.0.0:0").code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(StartOn("[::]:0").code(), absl::StatusCode::kPermissionDenied);
}

TEST(PsServer, HealthTurnsServingWithTheJob) {
  const auto server = Started("127.0.0.1:0");
  EXPECT_EQ(Health(server->address()), "NOT_SERVING");
  FakePsCore core({4}, 0, 1, 4);
  server->Serve(&core, {0, 1, 4, 1, {4}});
  EXPECT_EQ(Health(server->address()), "SERVING");
}

TEST(PsServer, ClientWaitsForAServerThatHasNotJoinedYet) {
  const auto server = Started("127.0.0.1:0");
  worker::GrpcPsClientOptions options;
  options.addresses = {server->address()};
  options.job_epoch = 1;
  options.slot_bits = 4;
  options.table_dims = {4};
  options.first_connect = std::chrono::milliseconds(1500);
  const Status early = worker::MakeGrpcPsClient(options).status();
  EXPECT_EQ(early.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(early.message(), HasSubstr("has not joined its job yet"));
  FakePsCore core({4}, 0, 1, 4);
  server->Serve(&core, {0, 1, 4, 1, {4}});
  EXPECT_EQ(worker::MakeGrpcPsClient(options).status(), OkStatus());
}

TEST(PsServer, StopIsIdempotentAndFreesThePort) {
  const auto server = Started("127.0.0.1:0");
  const std::string address = server->address();
  server->Stop();
  server->Stop();
  EXPECT_EQ(StartOn(address), OkStatus());
}

class Control : public ::testing::Test {
 protected:
  Control()
      : fleet_(1, {4}),
        stub_(proto::PsControl::NewStub(
            grpc::CreateChannel(fleet_.address(0), grpc::InsecureChannelCredentials()))) {}
  PsFleet fleet_;
  std::unique_ptr<proto::PsControl::Stub> stub_;
};

TEST_F(Control, SnapshotRestoreAndStatsReachTheCore) {
  proto::SnapshotRequest snapshot;
  proto::SnapshotReply snapshot_reply;
  snapshot.set_folder("/tmp/snapshot");
  grpc::ClientContext c1, c2, c3;
  ASSERT_TRUE(stub_->Snapshot(&c1, snapshot, &snapshot_reply).ok());
  EXPECT_EQ(snapshot_reply.file_size(), 1);
  proto::RestoreRequest restore;
  proto::RestoreReply restore_reply;
  restore.set_checkpoint("/tmp/checkpoint");
  restore.set_job_epoch(8);
  ASSERT_TRUE(stub_->Restore(&c2, restore, &restore_reply).ok());
  proto::PsStatsReply stats;
  ASSERT_TRUE(stub_->Stats(&c3, proto::PsStatsRequest(), &stats).ok());
  EXPECT_THAT(fleet_.core(0).calls(),
              ElementsAre("snapshot /tmp/snapshot", "restore /tmp/checkpoint"));
}

// With a core of its own below the transport: what was served holds what was in the core.
TEST(PsServer, StatsTellHowLongRequestsTook) {
  std::string folder = ::testing::TempDir() + "cairn_server_XXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  proto::JobConfig job;
  job.add_table()->set_name("t");
  job.mutable_table(0)->set_dim(4);
  PsOptions core_options;
  core_options.slot_bits = 4;
  core_options.folder = folder;
  auto core = PsCore::Make(job, core_options);
  ASSERT_TRUE(core.ok()) << core.status();
  proto::RestoreReply restored;
  ASSERT_EQ((*core)->Restore("", &restored), OkStatus());
  const auto server = Started("127.0.0.1:0");
  server->Serve(core->get(), {0, 1, 4, 1, {4}});
  worker::GrpcPsClientOptions options;
  options.addresses = {server->address()};
  options.job_epoch = 1;
  options.slot_bits = 4;
  options.table_dims = {4};
  auto client = worker::MakeGrpcPsClient(options);
  ASSERT_TRUE(client.ok()) << client.status();
  std::vector<std::uint64_t> keys(3200);
  std::iota(keys.begin(), keys.end(), 1);
  std::vector<float> floats(keys.size() * 4, 0.5f);
  for (int i = 0; i < 3; ++i) {
    const worker::TablePull pull{0, keys, floats.data()};
    ASSERT_EQ((*client)->Pull({worker::PullMode::kTrain, {&pull, 1}, {}}), OkStatus());
  }
  const worker::TablePush push{0, keys, floats.data()};
  ASSERT_EQ((*client)->Push({{&push, 1}, {}, 1}), OkStatus());
  floats[0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ((*client)->Push({{&push, 1}, {}, 1}).code(), absl::StatusCode::kInvalidArgument);

  const auto stub = proto::PsControl::NewStub(
      grpc::CreateChannel(server->address(), grpc::InsecureChannelCredentials()));
  proto::PsStatsReply stats;
  grpc::ClientContext context;
  ASSERT_TRUE(stub->Stats(&context, proto::PsStatsRequest(), &stats).ok());
  for (const auto& [times, count] : {std::pair(stats.pull_times(), 3u), {stats.push_times(), 1u}}) {
    const auto served = FromProto(times.served());
    const auto in_core = FromProto(times.in_core());
    ASSERT_TRUE(served.ok() && in_core.ok());
    EXPECT_EQ(served->count(), count);
    EXPECT_EQ(in_core->count(), count);
    EXPECT_GT(in_core->sum, 0);
    EXPECT_GT(served->sum, in_core->sum);
    EXPECT_GE(served->largest, in_core->largest);
  }
  EXPECT_EQ(stats.slots().pulled_rows(), 3u * 3200);
  EXPECT_EQ(stats.slots().pushed_rows(), 3200u);
  server->Stop();
  core->reset();
  std::filesystem::remove_all(folder);
}

TEST_F(Control, PathsThatClimbAreRefusedAndCounted) {
  for (const std::string& folder : {std::string("relative"), std::string("/tmp/../etc"),
                                    std::string("/tmp/a\0b", 8), std::string()}) {
    proto::SnapshotRequest request;
    proto::SnapshotReply reply;
    request.set_folder(folder);
    grpc::ClientContext context;
    EXPECT_EQ(stub_->Snapshot(&context, request, &reply).error_code(),
              grpc::StatusCode::INVALID_ARGUMENT);
  }
  proto::PsStatsReply stats;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->Stats(&context, proto::PsStatsRequest(), &stats).ok());
  EXPECT_EQ(stats.refused(), 4u);
  EXPECT_TRUE(fleet_.core(0).calls().empty());
}

TEST_F(Control, RestoreEndsTheEpochOfConnectedClients) {
  auto client = worker::MakeGrpcPsClient(fleet_.ClientOptions());
  ASSERT_TRUE(client.ok()) << client.status();
  const std::uint64_t key = 1;
  const float gradient[4] = {1, 1, 1, 1};
  const worker::TablePush push{0, {&key, 1}, gradient};
  ASSERT_EQ((*client)->Push({{&push, 1}, {}, 1}), OkStatus());
  proto::RestoreRequest restore;
  proto::RestoreReply reply;
  restore.set_job_epoch(PsFleet::kEpoch + 1);
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->Restore(&context, restore, &reply).ok());
  EXPECT_EQ((*client)->Push({{&push, 1}, {}, 1}).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(fleet_.core(0).rows(), 0u);
  // The same worker and incarnation in the epoch after it counts its pushes from 1 again.
  auto options = fleet_.ClientOptions();
  ++options.job_epoch;
  auto next = worker::MakeGrpcPsClient(options);
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ((*next)->Push({{&push, 1}, {}, 1}), OkStatus());
  EXPECT_EQ(fleet_.core(0).rows(), 1u);
}

}  // namespace
}  // namespace cairn::ps
