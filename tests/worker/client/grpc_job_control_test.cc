#include "worker/client/grpc_job_control.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <mutex>

#include "proto/control.grpc.pb.h"

namespace cairn::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A coordinator that says what the test tells it to.
class FakeControl final : public proto::Control::Service {
 public:
  grpc::Status JoinWorker(grpc::ServerContext*, const proto::JoinWorkerRequest* request,
                          proto::JoinWorkerReply* reply) override {
    Note("join " + std::to_string(request->worker()));
    if (joins_to_refuse-- > 0) {
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "waiting for ps 1");
    }
    reply->set_job_epoch(9);
    reply->set_incarnation(4);
    reply->add_ps_address("127.0.0.1:1");
    return grpc::Status::OK;
  }
  grpc::Status AcquireTask(grpc::ServerContext*, const proto::AcquireTaskRequest*,
                           proto::Task* task) override {
    if (is_over) return grpc::Status(grpc::StatusCode::ABORTED, "ps 0: disk full");
    task->set_kind(proto::Task::TRAIN_ROWS);
    task->set_id(77);
    return grpc::Status::OK;
  }
  grpc::Status CompleteTask(grpc::ServerContext*, const proto::CompleteTaskRequest* request,
                            proto::CompleteTaskReply*) override {
    Note("complete " + std::to_string(request->task()));
    return grpc::Status::OK;
  }
  grpc::Status ReportFailure(grpc::ServerContext*, const proto::ReportFailureRequest* request,
                             proto::ReportFailureReply*) override {
    Note(request->who() + " " + std::to_string(request->code()) + " " + request->message());
    return grpc::Status::OK;
  }

  std::vector<std::string> notes() {
    std::lock_guard lock(mu_);
    return notes_;
  }
  std::atomic<int> joins_to_refuse{0};
  std::atomic<bool> is_over{false};

 private:
  void Note(std::string note) {
    std::lock_guard lock(mu_);
    notes_.push_back(std::move(note));
  }
  std::mutex mu_;
  std::vector<std::string> notes_;
};

class GrpcJobControlTest : public ::testing::Test {
 protected:
  void Serve(const std::string& address) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&control_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    options_.coordinator = "127.0.0.1:" + std::to_string(port);
    options_.worker = 3;
  }
  ~GrpcJobControlTest() override {
    if (server_ != nullptr) server_->Shutdown();
  }

  FakeControl control_;
  GrpcJobControlOptions options_;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(GrpcJobControlTest, CallsReachTheCoordinator) {
  Serve("127.0.0.1:0");
  const auto control = GrpcJobControl::Make(options_);
  proto::JoinWorkerReply joined;
  ASSERT_EQ(control->Join(&joined), OkStatus());
  EXPECT_EQ(joined.incarnation(), 4u);
  proto::Task task;
  ASSERT_EQ(control->AcquireTask(proto::AcquireTaskRequest(), &task), OkStatus());
  EXPECT_EQ(task.id(), 77u);
  proto::CompleteTaskRequest done;
  done.set_task(77);
  ASSERT_EQ(control->CompleteTask(done), OkStatus());
  control->ReportFailure(absl::DataLossError("file x is damaged"));
  EXPECT_THAT(control_.notes(),
              ElementsAre("join 3", "complete 77", "worker 3 15 file x is damaged"));
}

TEST_F(GrpcJobControlTest, JoinWaitsForTheParameterServers) {
  Serve("127.0.0.1:0");
  control_.joins_to_refuse = 3;
  const auto control = GrpcJobControl::Make(options_);
  proto::JoinWorkerReply joined;
  EXPECT_EQ(control->Join(&joined), OkStatus());
  EXPECT_EQ(control_.notes().size(), 4u);
}

TEST_F(GrpcJobControlTest, JoinThatLastsTooLongSaysWhatIsMissing) {
  Serve("127.0.0.1:0");
  control_.joins_to_refuse = 1000000;
  options_.join_ms = 200;
  const Status status =
      GrpcJobControl::Make(options_)->Join(std::make_unique<proto::JoinWorkerReply>().get());
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("coordinator at " + options_.coordinator));
  EXPECT_THAT(status.message(), HasSubstr("waiting for ps 1"));
}

TEST_F(GrpcJobControlTest, JobThatEndedIsNotTriedAgain) {
  Serve("127.0.0.1:0");
  control_.is_over = true;
  proto::Task task;
  const Status status = GrpcJobControl::Make(options_)->AcquireTask({}, &task);
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(status.message(), HasSubstr("ps 0: disk full"));
}

TEST_F(GrpcJobControlTest, CallSurvivesARestartOfTheCoordinator) {
  Serve("127.0.0.1:0");
  const auto control = GrpcJobControl::Make(options_);
  proto::Task task;
  ASSERT_EQ(control->AcquireTask({}, &task), OkStatus());
  server_->Shutdown();
  server_->Wait();
  auto later = std::async(std::launch::async, [&] { return control->AcquireTask({}, &task); });
  Serve(options_.coordinator);
  EXPECT_EQ(later.get(), OkStatus());
}

TEST_F(GrpcJobControlTest, CancelEndsTheWait) {
  options_.coordinator = "unix:/tmp/cairn-nobody-listens-here";
  const auto control = GrpcJobControl::Make(options_);
  proto::Task task;
  auto waiting = std::async(std::launch::async, [&] { return control->AcquireTask({}, &task); });
  control->Cancel();
  EXPECT_EQ(waiting.get().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace cairn::worker
