// The coordinator behind its gRPC server, with servers that join.
#include "launch/coordinator/control_service.h"

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/rpc/grpc_status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "launch/coordinator/coordinator_core.h"
#include "proto/control.grpc.pb.h"
#include "tests/launch/coordinator/fake_cluster.h"
#include "worker/client/grpc_job_control.h"

namespace cairn::launch {
namespace {

using ::testing::AllOf;
using testing::FakeCluster;
using testing::FakeData;
using testing::FakeJob;
using testing::FakePs;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::RunningJob;
using testing::ScratchFolder;

// Forwards to a fake server that somebody else owns.
class Forward final : public PsAdmin {
 public:
  explicit Forward(FakePs* ps) : ps_(ps) {}
  const std::string& address() const override { return ps_->address(); }
  Status Snapshot(const std::string& folder, proto::SnapshotReply* reply) override {
    return ps_->Snapshot(folder, reply);
  }
  Status Restore(const std::string& checkpoint, std::uint64_t epoch,
                 proto::RestoreReply* reply) override {
    return ps_->Restore(checkpoint, epoch, reply);
  }
  Status Stats(proto::PsStatsReply* reply) override { return ps_->Stats(reply); }

 private:
  FakePs* const ps_;
};

class ControlServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    CoordinatorOptions options;
    options.run_dir = folder_.path();
    options.ps_count = 2;
    options.worker_count = 2;
    options.vocabulary = vocabulary_;
    options.connect = [this](std::uint32_t ps,
                             const std::string&) -> Result<std::unique_ptr<PsAdmin>> {
      return std::make_unique<Forward>(&cluster_.ps(ps));
    };
    proto::JobConfig config = FakeJob();
    config.mutable_server()->set_durability(durability_);
    job_ = std::make_unique<RunningJob>(&cluster_, config, options);
    ASSERT_TRUE(job_->made());
    ControlServerOptions server_options;
    server_options.join_wait_ms = 20;
    server_ = ControlServer::Make(server_options, &job_->core());
    ASSERT_TRUE(server_->Start().ok());
    stub_ = NewStub();
  }
  void TearDown() override {
    server_->Stop();
    job_.reset();
  }

  std::unique_ptr<proto::Control::Stub> NewStub() {
    return proto::Control::NewStub(
        grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
  }
  Status JoinPs(std::uint32_t ps, std::int64_t pid = 7) {
    proto::JoinPsReply reply;
    return JoinPs(ps, pid, 4000 + static_cast<int>(ps), &reply);
  }
  Status JoinPs(std::uint32_t ps, std::int64_t pid, int port, proto::JoinPsReply* reply) {
    proto::JoinPsRequest request;
    request.set_ps(ps);
    request.set_pid(pid);
    request.set_address("127.0.0.1:" + std::to_string(port));
    grpc::ClientContext context;
    const Status status = FromGrpc(stub_->JoinPs(&context, request, reply));
    if (status.ok()) {
      EXPECT_EQ(reply->ps_count(), 2u);
      EXPECT_THAT(reply->job(), HasSubstr("name: \"fake\""));
    }
    return status;
  }
  Status JoinWorker(std::uint32_t worker, proto::JoinWorkerReply* reply) {
    proto::JoinWorkerRequest request;
    request.set_worker(worker);
    Status status;
    do {
      grpc::ClientContext context;
      status = FromGrpc(stub_->JoinWorker(&context, request, reply));
    } while (absl::IsUnavailable(status) && status.message().find("loading") != std::string::npos);
    return status;
  }
  // Works to the job's end over a connection of its own.
  Status Work(std::uint32_t worker) {
    const auto stub = NewStub();
    proto::JoinWorkerReply joined;
    RETURN_IF_ERROR(JoinWorker(worker, &joined));
    for (;;) {
      proto::AcquireTaskRequest request;
      request.set_worker(worker);
      request.set_incarnation(joined.incarnation());
      proto::Task task;
      grpc::ClientContext context;
      RETURN_IF_ERROR(FromGrpc(stub->AcquireTask(&context, request, &task)));
      if (task.kind() == proto::Task::LEAVE) return OkStatus();
      if (task.kind() == proto::Task::WAIT) continue;
      proto::CompleteTaskRequest done;
      cluster_.Work(task, &done);
      done.set_worker(worker);
      done.set_incarnation(joined.incarnation());
      proto::CompleteTaskReply reply;
      grpc::ClientContext done_context;
      RETURN_IF_ERROR(FromGrpc(stub->CompleteTask(&done_context, done, &reply)));
    }
  }
  proto::JobStatusReply JobStatus() {
    proto::JobStatusReply reply;
    grpc::ClientContext context;
    EXPECT_TRUE(stub_->GetJobStatus(&context, {}, &reply).ok());
    return reply;
  }

  // More than fits into one reply.
  static std::string Pieces() {
    std::string bytes;
    for (int i = 0; i < 700'000; ++i) bytes += std::to_string(i);
    return bytes;
  }

  FakeCluster cluster_{FakeData(), 2};
  ScratchFolder folder_;
  std::string vocabulary_;
  proto::ServerConfig::Durability durability_ = proto::ServerConfig::OF_MODE;
  std::unique_ptr<RunningJob> job_;
  std::unique_ptr<ControlServer> server_;
  std::unique_ptr<proto::Control::Stub> stub_;
};

TEST_F(ControlServiceTest, RunsAJobWithServersAndWorkersThatJoin) {
  proto::JoinWorkerReply joined;
  Status early = JoinWorker(0, &joined);
  EXPECT_TRUE(absl::IsUnavailable(early));
  EXPECT_THAT(std::string(early.message()), AllOf(HasSubstr("ps 0"), HasSubstr("ps 1")));
  EXPECT_EQ(JobStatus().phase(), "waiting for ps 0, ps 1");
  ASSERT_TRUE(JoinPs(1).ok());
  early = JoinWorker(0, &joined);
  EXPECT_THAT(std::string(early.message()), AllOf(HasSubstr("ps 0"), Not(HasSubstr("ps 1"))));
  ASSERT_TRUE(JoinPs(0).ok());
  ASSERT_TRUE(JoinWorker(0, &joined).ok());
  ASSERT_EQ(joined.ps_address_size(), 2);
  EXPECT_EQ(joined.ps_address(1), "127.0.0.1:4001");
  ASSERT_TRUE(JoinPs(0).ok()) << "its first answer may have been lost";

  std::vector<std::thread> workers;
  for (std::uint32_t w = 0; w < 3; ++w) {
    workers.emplace_back([this, w] { EXPECT_EQ(Work(w), OkStatus()); });
  }
  for (std::thread& worker : workers) worker.join();
  ASSERT_TRUE(job_->Wait().ok()) << job_->Wait();
  EXPECT_EQ(job_->result().test->auc, 0.8);
  for (const auto& [row, count] : cluster_.applied()) EXPECT_EQ(count, 1);
  EXPECT_EQ(cluster_.applied().size(), 300u);
  EXPECT_EQ(JobStatus().phase(), "done");
}

TEST_F(ControlServiceTest, StopJobAnswersWithTheCheckpoint) {
  ASSERT_TRUE(JoinPs(0).ok());
  ASSERT_TRUE(JoinPs(1).ok());
  proto::JoinWorkerReply joined;
  ASSERT_TRUE(JoinWorker(0, &joined).ok());
  proto::AcquireTaskRequest request;
  request.set_incarnation(joined.incarnation());
  proto::Task task;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(stub_->AcquireTask(&context, request, &task).ok());
  }
  proto::CompleteTaskRequest done;
  cluster_.Work(task, &done);
  done.set_incarnation(joined.incarnation());
  {
    proto::CompleteTaskReply reply;
    grpc::ClientContext context;
    ASSERT_TRUE(stub_->CompleteTask(&context, done, &reply).ok());
  }
  proto::StopJobReply stopped;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->StopJob(&context, {}, &stopped).ok());
  EXPECT_THAT(stopped.checkpoint(), HasSubstr("/checkpoints/step-000000000002"));
  EXPECT_TRUE(job_->Wait().ok());
  EXPECT_TRUE(job_->result().stopped);
  grpc::ClientContext leave_context;
  ASSERT_TRUE(stub_->AcquireTask(&leave_context, request, &task).ok());
  EXPECT_EQ(task.kind(), proto::Task::LEAVE);
}

TEST_F(ControlServiceTest, AReportedFailureKeepsItsCodeAndWho) {
  proto::ReportFailureRequest request;
  request.set_who("worker 1");
  request.set_code(static_cast<int>(absl::StatusCode::kInvalidArgument));
  request.set_message("train.csv:3:1: label '7'");
  proto::ReportFailureReply reply;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->ReportFailure(&context, request, &reply).ok());
  EXPECT_EQ(job_->Wait(), absl::InvalidArgumentError("worker 1: train.csv:3:1: label '7'"));
  EXPECT_EQ(JobStatus().phase(), "failed");
}

TEST_F(ControlServiceTest, AServerThatStartsAgainRecoversAndTheJobGoesOn) {
  ASSERT_TRUE(JoinPs(0).ok());
  proto::JoinPsReply reply;
  ASSERT_TRUE(JoinPs(1, 7, 4001, &reply).ok());
  EXPECT_FALSE(reply.recover());
  proto::JoinWorkerReply joined;
  ASSERT_TRUE(JoinWorker(3, &joined).ok());
  ASSERT_TRUE(JoinPs(1, 8, 4001, &reply).ok());
  EXPECT_TRUE(reply.recover());
  ASSERT_EQ(reply.worker_size(), 1);
  EXPECT_EQ(reply.worker(0).worker(), 3u);
  EXPECT_EQ(reply.worker(0).incarnation(), joined.incarnation());
  ASSERT_TRUE(JoinPs(1, 8, 4001, &reply).ok()) << "its first answer may have been lost";
  EXPECT_TRUE(reply.recover());
  const Status elsewhere = JoinPs(1, 9, 4005, &reply);
  EXPECT_TRUE(absl::IsFailedPrecondition(elsewhere)) << elsewhere;
  EXPECT_THAT(std::string(elsewhere.message()), HasSubstr("--address=127.0.0.1:4001"));
  EXPECT_EQ(JobStatus().process(1).pid(), 8);
  EXPECT_EQ(JobStatus().process(1).returns(), 1u);
  EXPECT_EQ(Work(3), OkStatus());
  EXPECT_EQ(job_->Wait(), OkStatus());
  EXPECT_EQ(cluster_.applied().size(), 300u);
  EXPECT_TRUE(absl::IsAborted(JoinPs(1, 10))) << "the job is over";
  ASSERT_TRUE(JoinWorker(3, &joined).ok());
  EXPECT_TRUE(joined.is_over());
}

// A server that goes away in the middle of a checkpoint costs another try.
TEST_F(ControlServiceTest, ASnapshotThatAServerLostIsTakenAgain) {
  ASSERT_TRUE(JoinPs(0).ok());
  ASSERT_TRUE(JoinPs(1).ok());
  cluster_.ps(1).FailNextSnapshot(absl::UnavailableError("Socket closed"));
  EXPECT_EQ(Work(0), OkStatus());
  EXPECT_EQ(job_->Wait(), OkStatus());
  EXPECT_EQ(job_->result().epochs, 3u);
}

TEST_F(ControlServiceTest, OtherErrorsOfASnapshotEndTheJob) {
  ASSERT_TRUE(JoinPs(0).ok());
  ASSERT_TRUE(JoinPs(1).ok());
  cluster_.ps(1).FailNextSnapshot(absl::ResourceExhaustedError("disk full"));
  EXPECT_TRUE(absl::IsAborted(Work(0)));
  EXPECT_TRUE(absl::IsResourceExhausted(job_->Wait())) << job_->Wait();
}

class NotDurableTest : public ControlServiceTest {
 protected:
  NotDurableTest() { durability_ = proto::ServerConfig::NONE; }
};

TEST_F(NotDurableTest, AServerThatStartsAgainFailsTheJob) {
  ASSERT_TRUE(JoinPs(0).ok());
  ASSERT_TRUE(JoinPs(1).ok());
  proto::JoinWorkerReply joined;
  ASSERT_TRUE(JoinWorker(0, &joined).ok());
  EXPECT_TRUE(absl::IsUnavailable(JoinPs(1, 8)));
  EXPECT_THAT(std::string(job_->Wait().message()),
              HasSubstr("ps 1 (127.0.0.1:4001): was started again and has lost its state"));
}

TEST_F(ControlServiceTest, HeartbeatsTellAWorkerOfItsEnd) {
  ASSERT_TRUE(JoinPs(0).ok());
  ASSERT_TRUE(JoinPs(1).ok());
  worker::GrpcJobControlOptions options;
  options.coordinator = server_->address();
  options.worker = 2;
  const auto first = worker::GrpcJobControl::Make(options);
  proto::JoinWorkerReply joined;
  ASSERT_EQ(first->Join(&joined), OkStatus());
  EXPECT_EQ(first->Heartbeat(), OkStatus());
  const auto second = worker::GrpcJobControl::Make(options);
  ASSERT_EQ(second->Join(&joined), OkStatus());
  EXPECT_EQ(JobStatus().process(2).returns(), 1u);
  const Status replaced = first->Heartbeat();
  EXPECT_TRUE(absl::IsAborted(replaced)) << replaced;
  EXPECT_THAT(std::string(replaced.message()), HasSubstr("another process is worker 2"));
  EXPECT_EQ(second->Heartbeat(), OkStatus());
  first->ReportFailure(absl::DataLossError("of somebody who was replaced"));
  EXPECT_EQ(second->Heartbeat(), OkStatus());
  second->ReportFailure(absl::DataLossError("bad file"));
  const Status failed = second->Heartbeat();
  EXPECT_TRUE(absl::IsAborted(failed)) << failed;
  EXPECT_THAT(std::string(failed.message()), HasSubstr("bad file"));
  server_->Stop();
  EXPECT_FALSE(absl::IsAborted(second->Heartbeat())) << "who cannot be reached may come back";
}

TEST_F(ControlServiceTest, AServerBeyondTheCountIsRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(JoinPs(2)));
}

TEST_F(ControlServiceTest, AnAddressInUseIsNamed) {
  ControlServerOptions options;
  options.address = server_->address();
  const auto second = ControlServer::Make(options, &job_->core());
  const Status status = second->Start();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(server_->address()));
}

class VocabularyServiceTest : public ControlServiceTest {
 protected:
  VocabularyServiceTest() { vocabulary_ = Pieces(); }
};

TEST_F(VocabularyServiceTest, WorkersFetchItInPieces) {
  ASSERT_GT(vocabulary_.size(), 3u << 20);
  worker::GrpcJobControlOptions options;
  options.coordinator = server_->address();
  const auto control = worker::GrpcJobControl::Make(options);
  std::string fetched = "what was there before";
  const Status status = control->FetchVocabulary(&fetched);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(fetched == vocabulary_);
  grpc::ClientContext context;
  proto::ReadVocabularyRequest request;
  request.set_offset(vocabulary_.size() + 1);
  proto::ReadVocabularyReply reply;
  ASSERT_TRUE(stub_->ReadVocabulary(&context, request, &reply).ok());
  EXPECT_EQ(reply.bytes(), "");
  EXPECT_EQ(reply.total_bytes(), vocabulary_.size());
}

TEST_F(ControlServiceTest, AJobWithoutAVocabularySaysSo) {
  grpc::ClientContext context;
  proto::ReadVocabularyReply reply;
  EXPECT_EQ(stub_->ReadVocabulary(&context, {}, &reply).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ControlServiceTest, ANetworkAddressNeedsToBeAskedFor) {
  ControlServerOptions options;
  options.address = "0.0.0.0:0";
  EXPECT_TRUE(absl::IsPermissionDenied(ControlServer::Make(options, &job_->core())->Start()));
}

}  // namespace
}  // namespace cairn::launch
