// Stops, crashes, and what the same command makes of the run directory afterwards.
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "launch/coordinator/checkpoint_writer.h"
#include "launch/coordinator/checkpoints.h"
#include "launch/coordinator/coordinator_core.h"
#include "tests/launch/coordinator/fake_cluster.h"

namespace cairn::launch {
namespace {

using ::testing::AllOf;
using testing::Applied;
using testing::FakeCluster;
using testing::FakeData;
using testing::FakeJob;
using testing::FakeWorker;
using testing::FlipByte;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::ReadText;
using testing::RunningJob;
using testing::ScratchFolder;
using ::testing::SizeIs;
namespace fs = std::filesystem;

FakeData ThreeEpochs() {
  FakeData data;
  data.auc_after_epochs = {80, 70, 90};
  return data;
}

struct Outcome {
  std::vector<std::string> tasks;
  Applied applied;
  std::string metrics;
  double auc = 0;
};

Outcome Uninterrupted(const proto::JobConfig& config) {
  FakeCluster cluster(ThreeEpochs(), 2);
  ScratchFolder folder;
  RunningJob job(&cluster, config, cluster.Options(folder.path()));
  EXPECT_TRUE(job.WorkToEnd(1).ok()) << job.Wait();
  return {cluster.TrainedTasks(), cluster.applied(), ReadText(folder.path() + "/metrics.jsonl"),
          *job.result().test->auc};
}

// Works on `tasks` tasks, then lets `end` end the job.
void WorkThen(RunningJob& job, FakeCluster& cluster, int tasks,
              const std::function<void(RunningJob&)>& end) {
  FakeWorker worker(&cluster, &job.core(), 0);
  for (int i = 0; i < tasks && worker.Step(); ++i) {
  }
  end(job);
  worker.RunToEnd();
  (void)job.Wait();
}

void Stop(RunningJob& job) { job->RequestStop(); }
void Crash(RunningJob& job) { job->ReportFailure("test", 0, absl::CancelledError("killed")); }

TEST(Resume, StoppedAfterAnyTaskTheRowsGoOnAsIfNothingHappened) {
  const Outcome expected = Uninterrupted(FakeJob());
  bool was_finished = false;
  for (int tasks = 0; !was_finished; ++tasks) {
    SCOPED_TRACE(tasks);
    ASSERT_LT(tasks, 200);
    FakeCluster cluster(ThreeEpochs(), 2);
    ScratchFolder folder;
    {
      RunningJob job(&cluster, FakeJob(), cluster.Options(folder.path()));
      WorkThen(job, cluster, tasks, Stop);
      ASSERT_TRUE(job.Wait().ok()) << job.Wait();
      was_finished = !job.result().stopped;
    }
    if (!was_finished && !cluster.TrainedTasks().empty()) {
      EXPECT_THAT(*VerifyCheckpoint(folder.path()), SizeIs(0));
    }
    RunningJob job(&cluster, FakeJob(), cluster.Options(folder.path()));
    ASSERT_TRUE(job.WorkToEnd(1).ok()) << job.Wait();
    EXPECT_EQ(cluster.TrainedTasks(), expected.tasks);
    EXPECT_EQ(cluster.applied(), expected.applied);
    EXPECT_EQ(ReadText(folder.path() + "/metrics.jsonl"), expected.metrics);
    EXPECT_EQ(job.result().test->auc, expected.auc);
  }
}

TEST(Resume, CrashedAfterAnyTaskEachRowCountsOnce) {
  proto::JobConfig config = FakeJob();
  config.mutable_checkpoint()->set_every_steps(6);  // every third lease
  const Outcome expected = Uninterrupted(config);
  bool was_finished = false;
  for (int tasks = 0; !was_finished; ++tasks) {
    SCOPED_TRACE(tasks);
    ASSERT_LT(tasks, 200);
    FakeCluster cluster(ThreeEpochs(), 2);
    ScratchFolder folder;
    {
      RunningJob job(&cluster, config, cluster.Options(folder.path()));
      WorkThen(job, cluster, tasks, Crash);
      was_finished = job.Wait().ok();
    }
    // Another number of servers takes over.
    FakeCluster successor(ThreeEpochs(), 3);
    RunningJob job(&successor, config, successor.Options(folder.path()));
    ASSERT_TRUE(job.WorkToEnd(1).ok()) << job.Wait();
    // A crash may fall between the last checkpoint and the end of Run.
    if (!job->was_finished()) {
      EXPECT_EQ(successor.applied(), expected.applied);
    }
    EXPECT_EQ(job.result().test->auc, expected.auc);
    EXPECT_THAT(*VerifyCheckpoint(folder.path()), SizeIs(0));
  }
}

TEST(Resume, CheckpointsEverySoManySteps) {
  FakeData data = ThreeEpochs();
  FakeCluster cluster(data, 1);
  ScratchFolder folder;
  proto::JobConfig config = FakeJob();
  config.mutable_checkpoint()->set_every_steps(4);  // a lease is 2 steps
  config.mutable_checkpoint()->set_keep(100);
  RunningJob job(&cluster, config, cluster.Options(folder.path()));
  FakeWorker worker(&cluster, &job.core(), 0);
  proto::Task task;
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(worker.Take(&task));
    ASSERT_TRUE(worker.Finish(task).ok());
  }
  ASSERT_TRUE(worker.Take(&task)) << "the checkpoints are written once this comes";
  const auto checkpoints = *ListCheckpoints(folder.path());
  ASSERT_THAT(checkpoints, SizeIs(2));
  proto::CheckpointManifest manifest;
  ASSERT_TRUE(ReadManifest(checkpoints[1], &manifest).ok());
  EXPECT_EQ(manifest.state().steps(), 8u);
  EXPECT_EQ(manifest.state().window(), 1u);
  EXPECT_EQ(manifest.state().row_in_window(), 0u);
  EXPECT_EQ(manifest.state().epoch_rows(), 32u);
}

TEST(Resume, CheckpointsEverySoManySeconds) {
  FakeCluster cluster(ThreeEpochs(), 1);
  ScratchFolder folder;
  proto::JobConfig config = FakeJob();
  config.mutable_checkpoint()->set_every_s(60);
  RunningJob job(&cluster, config, cluster.Options(folder.path()));
  FakeWorker worker(&cluster, &job.core(), 0);
  ASSERT_TRUE(worker.Step());
  EXPECT_THAT(*ListCheckpoints(folder.path()), SizeIs(0));
  cluster.clock() = cluster.clock() + 61;
  ASSERT_TRUE(worker.Step());
  proto::Task task;
  ASSERT_TRUE(worker.Take(&task));
  EXPECT_THAT(*ListCheckpoints(folder.path()), SizeIs(1));
}

TEST(Resume, AStopWaitsForTheLeasesThatAreOut) {
  FakeCluster cluster(ThreeEpochs(), 1);
  ScratchFolder folder;
  RunningJob job(&cluster, FakeJob(), cluster.Options(folder.path()));
  FakeWorker worker(&cluster, &job.core(), 0);
  proto::Task first;
  proto::Task second;
  ASSERT_TRUE(worker.Take(&first));
  ASSERT_TRUE(worker.Take(&second));
  job->RequestStop();
  proto::Task none;
  EXPECT_FALSE(worker.Take(&none, 1));
  EXPECT_EQ(none.kind(), proto::Task::WAIT);
  ASSERT_TRUE(worker.Finish(second).ok());
  EXPECT_FALSE(job->WaitUntilOver(0));
  ASSERT_TRUE(worker.Finish(first).ok());
  ASSERT_TRUE(job.Wait().ok());
  EXPECT_TRUE(job.result().stopped);
  EXPECT_EQ(job.result().checkpoint, *ResolveCheckpoint(folder.path()));
  EXPECT_FALSE(worker.Take(&none));
  EXPECT_EQ(none.kind(), proto::Task::LEAVE);
}

TEST(Resume, AStopGivesUpOnAWorkerThatHangs) {
  FakeCluster cluster(ThreeEpochs(), 1);
  ScratchFolder folder;
  CoordinatorOptions options = cluster.Options(folder.path());
  options.stop_wait_s = 30;
  options.member_wait_s = 1e9;
  options.lost_s = 0;
  RunningJob job(&cluster, FakeJob(), options);
  FakeWorker worker(&cluster, &job.core(), 0);
  proto::Task task;
  ASSERT_TRUE(worker.Take(&task));
  job->RequestStop();
  while (!job->WaitUntilOver(10)) cluster.clock() = cluster.clock() + 31;
  ASSERT_TRUE(job.Wait().ok());
  EXPECT_TRUE(job.result().stopped);
  EXPECT_EQ(job.result().checkpoint, "");
}

TEST(Resume, AServerThatCannotSnapshotLeavesThePreviousCheckpoint) {
  FakeCluster cluster(ThreeEpochs(), 2);
  ScratchFolder folder;
  proto::JobConfig config = FakeJob();
  config.mutable_checkpoint()->set_every_steps(2);
  std::string before;
  {
    RunningJob job(&cluster, config, cluster.Options(folder.path()));
    FakeWorker worker(&cluster, &job.core(), 0);
    proto::Task task;
    ASSERT_TRUE(worker.Step());
    ASSERT_TRUE(worker.Take(&task));
    before = *ResolveCheckpoint(folder.path());
    cluster.ps(1).FailNextSnapshot(absl::UnavailableError("No space left on device"));
    (void)worker.Finish(task);
    EXPECT_TRUE(absl::IsUnavailable(job.Wait()));
    EXPECT_THAT(std::string(job.Wait().message()),
                AllOf(HasSubstr("ps 1 (fake:1)"), HasSubstr("No space left")));
  }
  EXPECT_EQ(*ResolveCheckpoint(folder.path()), before);
  for (const auto& entry : fs::directory_iterator(folder.path() + "/checkpoints")) {
    EXPECT_THAT(entry.path().filename().string(), Not(HasSubstr(".tmp-")));
  }
  RunningJob job(&cluster, config, cluster.Options(folder.path()));
  EXPECT_TRUE(job.WorkToEnd(1).ok()) << job.Wait();
}

// A run directory with a few checkpoints, stopped in the second epoch.
class StoppedRun : public ::testing::Test {
 protected:
  void SetUp() override {
    config_.mutable_checkpoint()->set_every_steps(6);
    config_.mutable_checkpoint()->set_keep(3);
    RunningJob job(&cluster_, config_, cluster_.Options(folder_.path()));
    WorkThen(job, cluster_, 25, Stop);
    ASSERT_TRUE(job.Wait().ok());
    latest_ = *ResolveCheckpoint(folder_.path());
  }
  Status Remake() {
    return CoordinatorCore::Make(config_, cluster_.Options(folder_.path())).status();
  }

  FakeCluster cluster_{ThreeEpochs(), 2};
  ScratchFolder folder_;
  proto::JobConfig config_ = FakeJob();
  std::string latest_;
};

TEST_F(StoppedRun, ADamagedFileIsNamedTogetherWithAnIntactCheckpoint) {
  for (const std::string file : {"ps-0001/rows", "job.textproto", "MANIFEST.textproto"}) {
    SCOPED_TRACE(file);
    FlipByte(latest_ + "/" + file, 5);
    const Status status = Remake();
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr(latest_ + "/" + file), HasSubstr("intact: ")));
    FlipByte(latest_ + "/" + file, 5);
  }
  EXPECT_TRUE(Remake().ok());
}

TEST_F(StoppedRun, DeletingTheDamagedOneGoesBackToTheIntactOne) {
  FlipByte(latest_ + "/ps-0000/rows", 0);
  fs::remove_all(latest_);
  fs::remove(folder_.path() + "/checkpoints/LATEST");
  RunningJob job(&cluster_, config_, cluster_.Options(folder_.path()));
  EXPECT_TRUE(job.WorkToEnd(1).ok()) << job.Wait();
  EXPECT_EQ(job.result().test->auc, 0.9);
}

TEST_F(StoppedRun, ADamagedLatestIsNamed) {
  FlipByte(folder_.path() + "/checkpoints/LATEST", 10);
  EXPECT_TRUE(absl::IsDataLoss(Remake()));
  EXPECT_THAT(std::string(Remake().message()), HasSubstr("checkpoints/LATEST is damaged"));
}

TEST_F(StoppedRun, AnotherJobIsRefusedAndTheDirectoryLeftAlone) {
  const std::string saved_job = ReadText(folder_.path() + "/job.textproto");
  config_.mutable_table(0)->set_dim(3);
  const Status status = Remake();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("table[0].dim: 2 -> 3"));
  EXPECT_EQ(ReadText(folder_.path() + "/job.textproto"), saved_job);
}

TEST_F(StoppedRun, MoreEpochsAndOtherPathsAreFine) {
  config_.mutable_train()->set_epochs(4);
  config_.mutable_data()->set_train(0, "moved/train.csv");
  RunningJob job(&cluster_, config_, cluster_.Options(folder_.path()));
  ASSERT_TRUE(job.WorkToEnd(1).ok()) << job.Wait();
  EXPECT_EQ(job.result().epochs, 4u);
}

TEST_F(StoppedRun, WhatARunThatDiedLeftBehindIsRemoved) {
  const std::string folder = folder_.path() + "/checkpoints/";
  fs::create_directories(folder + ".tmp-step-000000000999/ps-0000");
  testing::WriteText(folder + ".tmp-step-000000000999/ps-0000/rows", "half");
  testing::WriteText(folder + "LATEST.tmp.123.0", "half");
  EXPECT_TRUE(Remake().ok());
  EXPECT_FALSE(fs::exists(folder + ".tmp-step-000000000999"));
  EXPECT_FALSE(fs::exists(folder + "LATEST.tmp.123.0"));
}

TEST_F(StoppedRun, DiedBetweenRenameAndLatestThePreviousOneCounts) {
  const std::string folder = folder_.path() + "/checkpoints";
  fs::copy(latest_, folder + "/step-000000000999", fs::copy_options::recursive);
  EXPECT_EQ(*ResolveCheckpoint(folder_.path()), latest_);
  RunningJob job(&cluster_, config_, cluster_.Options(folder_.path()));
  ASSERT_TRUE(job.WorkToEnd(1).ok()) << job.Wait();
  EXPECT_EQ(job.result().test->auc, 0.9);
}

TEST_F(StoppedRun, KeepsTheNewestAndTheBest) {
  // The first epoch (steps 0 to 26) is the best so far.
  const auto checkpoints = *ListCheckpoints(folder_.path());
  const std::string best = *ReadPointer(folder_.path() + "/checkpoints", kBestFile);
  EXPECT_EQ(best, "step-000000000026");
  EXPECT_THAT(checkpoints, SizeIs(4)) << "three and the best";
  EXPECT_THAT(checkpoints[0], HasSubstr(best));
}

}  // namespace
}  // namespace cairn::launch
