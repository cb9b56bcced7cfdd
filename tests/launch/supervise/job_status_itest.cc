#include "launch/supervise/job_status.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <string>

#include "common/base/mutex.h"
#include "common/io/file.h"
#include "google/protobuf/text_format.h"
#include "launch/supervise/cluster_lock.h"
#include "launch/supervise/process.h"
#include "proto/control.grpc.pb.h"
#include "proto/ps_service.grpc.pb.h"

namespace cairn::launch {
namespace {

using std::chrono::milliseconds;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

// A coordinator that only tells its status.
class TellingCoordinator final : public proto::Control::Service {
 public:
  TellingCoordinator() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~TellingCoordinator() override { server_->Shutdown(); }
  grpc::Status GetJobStatus(grpc::ServerContext*, const proto::JobStatusRequest*,
                            proto::JobStatusReply* reply) override {
    MutexLock lock(mu_);
    *reply = reply_;
    return grpc::Status::OK;
  }
  std::string Address() const { return "127.0.0.1:" + std::to_string(port_); }
  // What it tells from now on.
  void Tell(const proto::JobStatusReply& reply) {
    MutexLock lock(mu_);
    reply_ = reply;
  }

 private:
  Mutex mu_;
  proto::JobStatusReply reply_ GUARDED_BY(mu_);
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

// A parameter server that only tells of itself.
class TellingServer final : public proto::PsControl::Service {
 public:
  explicit TellingServer(const char* stats) {
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(stats, &stats_)) << stats;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~TellingServer() override { server_->Shutdown(); }
  grpc::Status Stats(grpc::ServerContext*, const proto::PsStatsRequest*,
                     proto::PsStatsReply* reply) override {
    *reply = stats_;
    return grpc::Status::OK;
  }
  std::string Address() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  proto::PsStatsReply stats_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

void AddServer(std::uint32_t index, const std::string& address, proto::JobStatusReply* reply) {
  proto::ProcessStatus* ps = reply->add_process();
  ps->set_role("ps");
  ps->set_index(index);
  ps->set_address(address);
}

class JobStatusTest : public testing::Test {
 protected:
  JobStatusTest() {
    char folder[] = "/tmp/cairn_status_XXXXXX";
    EXPECT_NE(mkdtemp(folder), nullptr);
    folder_ = folder;
    state_.state = "running";
    state_.job = "dlf";
    state_.job_file = "jobs/dlf.textproto";
    state_.run_dir = folder_;
    state_.started_unix_s = 1'800'000'000;
    state_.process = {{"ps", 0, getpid(), ProcessStartTicks(getpid()), "logs/ps-0.log", 1, "", 0},
                      {"worker", 0, 1, 1, "logs/worker-0.log", 1, "exit code 0", 2.5}};
  }
  ~JobStatusTest() override { EXPECT_TRUE(RemoveTree(folder_).ok()); }

  std::string folder_;
  ClusterState state_;
};

TEST_F(JobStatusTest, DirectoryWithoutAClusterIsNotFound) {
  const Result<ClusterStatus> status = GetClusterStatus(folder_, milliseconds(100));
  EXPECT_EQ(status.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.status().message()), HasSubstr(folder_));
}

TEST_F(JobStatusTest, RunningJobIsAskedOverTheNetwork) {
  TellingCoordinator coordinator;
  proto::JobStatusReply told;
  told.set_phase("training");
  told.set_rows_per_s(41'234);
  proto::TrainState* training = told.mutable_state();
  training->set_epoch(1);
  training->set_steps(300);
  training->set_rows(1'234'567);
  proto::EpochRecord* epoch = training->add_history();
  epoch->set_train_loss(0.45);
  epoch->mutable_valid()->set_auc(0.78125);
  proto::ProcessStatus* ps = told.add_process();
  ps->set_role("ps");
  ps->set_index(0);
  ps->set_silent_s(0.5);
  coordinator.Tell(told);
  state_.coordinator = coordinator.Address();
  ASSERT_TRUE(WriteClusterState(state_).ok());
  const auto lock = ClusterLock::Take(folder_, "cluster");
  ASSERT_TRUE(lock.ok());

  const Result<ClusterStatus> status = GetClusterStatus(folder_, milliseconds(20'000));
  ASSERT_TRUE(status.ok()) << status.status();
  const std::string text = ClusterStatusText(*status);
  EXPECT_THAT(text, HasSubstr("running: training"));
  EXPECT_THAT(text, HasSubstr("epoch 2, 300 steps, 1 234 567 rows, 41 234 rows/s"));
  EXPECT_THAT(text, HasSubstr("0.78125"));
  EXPECT_THAT(text, HasSubstr("0.5 s"));
  EXPECT_THAT(text, HasSubstr("exit code 0"));
  const std::string json = ClusterStatusJson(*status);
  EXPECT_THAT(json, HasSubstr("\"phase\": \"training\""));
  EXPECT_THAT(json, HasSubstr("\"rows\": 1234567"));
  EXPECT_THAT(json, HasSubstr("\"auc\": 0.78125"));
}

TEST_F(JobStatusTest, ServersAreAskedAndAddedUp) {
  TellingServer first(R"(
    ps: 0 rss_bytes: 4194304 log_bytes: 1536 waits_for_room: 3
    table { name: "a" rows: 900000 resident_rows: 100000 bytes: 1048576 pulled_rows: 5000000
            pulled_absent: 1000000 pushed_rows: 4000000 fetched_rows: 400000 evicted_age: 12 }
    pull_times { served { lowest: 1 highest: 8 buckets: 26 bucket: 8 count: 99 sum: 198
                          smallest: 2 largest: 2 } }
    slots { sampled_one_in: 32 groups: 512 pulled_rows: 5000000 pushed_rows: 4000000
            most_loaded { first_slot: 17 last_slot: 17 pulled_rows: 64000 pushed_rows: 32 } })");
  TellingServer second(R"(
    ps: 1 table { name: "a" rows: 100000 resident_rows: 100000 bytes: 1048576 pulled_rows: 1000000 }
    pull_times { served { lowest: 1 highest: 8 buckets: 26 bucket: 24 count: 1 sum: 8
                          smallest: 8 largest: 8 } }
    slots { sampled_one_in: 32 groups: 512 pulled_rows: 1000000 pushed_rows: 0 })");
  TellingCoordinator coordinator;
  proto::JobStatusReply told;
  AddServer(0, first.Address(), &told);
  AddServer(1, second.Address(), &told);
  {
    TellingServer gone("ps: 2");
    AddServer(2, gone.Address(), &told);
  }
  coordinator.Tell(told);
  state_.coordinator = coordinator.Address();
  ASSERT_TRUE(WriteClusterState(state_).ok());
  const auto lock = ClusterLock::Take(folder_, "cluster");
  ASSERT_TRUE(lock.ok());

  const Result<ClusterStatus> status = GetClusterStatus(folder_, milliseconds(20'000));
  ASSERT_TRUE(status.ok()) << status.status();
  const std::string text = ClusterStatusText(*status);
  EXPECT_THAT(text, HasSubstr("\nrows        1 000 000 on 2 servers, 200 000 in memory (2.0 MiB), "
                              "memory hits 92.0 %, evicted 12 by age\n"));
  EXPECT_THAT(text, HasSubstr("\nrequests    pull p50 2.00 s, p99 2.00 s; "
                              "3 waited for memory; ps 0 has 1.80 times the mean load; "
                              "slot 17 has 6.56 times the mean load\n"));
  EXPECT_THAT(text, HasSubstr("\nwarning     ps 2 at "));
  EXPECT_THAT(text, ContainsRegex("ps 0 +900 000 +100 000 +90.0 % +5 000 000 +4 000 000 +2.00 s "
                                  "+0 us +3 +1.5 KiB +0 B +4.0 MiB\n"));
  EXPECT_THAT(text, ContainsRegex("ps 1 +100 000 +100 000 +100.0 % "));
  const std::string json = ClusterStatusJson(*status);
  EXPECT_THAT(json, HasSubstr("\"servers\": {\n    \"count\": 2,\n    \"rows\": 1000000,"));
  EXPECT_THAT(json, HasSubstr("\"memory_hits\": 0.92,"));
  EXPECT_THAT(json, HasSubstr("\"max\": 8\n"));
  EXPECT_THAT(json, HasSubstr("{\"first_slot\": 17, \"last_slot\": 17, \"pulled_rows\": 64000, "
                              "\"pushed_rows\": 32}"));
  EXPECT_THAT(json, HasSubstr("\"warning\": \"ps 2 at "));
}

TEST_F(JobStatusTest, SilentCoordinatorIsSaid) {
  {
    TellingCoordinator gone;
    state_.coordinator = gone.Address();
  }
  ASSERT_TRUE(WriteClusterState(state_).ok());
  const auto lock = ClusterLock::Take(folder_, "cluster");
  const Result<ClusterStatus> status = GetClusterStatus(folder_, milliseconds(2'000));
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_THAT(ClusterStatusText(*status),
              HasSubstr("the coordinator at " + state_.coordinator + " does not answer"));
}

TEST_F(JobStatusTest, EndedJobIsReadFromItsFiles) {
  state_.state = "failed";
  state_.ended_unix_s = 1'800'000'100;
  state_.exit_code = 3;
  state_.failure = "ps 0 (pid 5) exit code 3";
  ASSERT_TRUE(WriteClusterState(state_).ok());
  const Result<ClusterStatus> status = GetClusterStatus(folder_, milliseconds(100));
  ASSERT_TRUE(status.ok()) << status.status();
  const std::string text = ClusterStatusText(*status);
  EXPECT_THAT(text, HasSubstr("failed with exit code 3"));
  EXPECT_THAT(text, HasSubstr("checkpoint  none yet"));
  EXPECT_THAT(text, HasSubstr("ps 0 (pid 5) exit code 3"));
}

TEST_F(JobStatusTest, SupervisorThatWasKilledIsSaid) {
  ASSERT_TRUE(WriteClusterState(state_).ok());
  const Result<ClusterStatus> status = GetClusterStatus(folder_, milliseconds(100));
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_THAT(ClusterStatusText(*status), HasSubstr("killed while running"));
  EXPECT_THAT(ClusterStatusJson(*status), HasSubstr("\"running\": false"));
}

}  // namespace
}  // namespace cairn::launch
