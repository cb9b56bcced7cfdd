// The job from its first row to its result: what workers are given and what comes out.
#include "launch/coordinator/coordinator_core.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "common/base/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "launch/coordinator/checkpoints.h"
#include "launch/coordinator/server_report.h"
#include "proto/ps_service.pb.h"
#include "tests/launch/coordinator/fake_cluster.h"

namespace cairn::launch {
namespace {

using testing::Applied;
using ::testing::ElementsAre;
using testing::FakeCluster;
using testing::FakeData;
using testing::FakeJob;
using testing::FakeWorker;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::ReadText;
using testing::RunningJob;
using testing::ScratchFolder;
using ::testing::SizeIs;
using testing::WriteText;

// Every row of the epochs, once.
Applied EachOnce(std::uint64_t epochs, std::uint64_t rows) {
  Applied all;
  for (std::uint64_t e = 0; e < epochs; ++e) {
    for (std::uint64_t r = 0; r < rows; ++r) all[{e, r}] = 1;
  }
  return all;
}

proto::TrainState StateOf(const std::string& run_dir) {
  const Result<std::string> checkpoint = ResolveCheckpoint(run_dir);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  proto::CheckpointManifest manifest;
  const Status status = ReadManifest(checkpoint.ok() ? *checkpoint : "", &manifest);
  EXPECT_TRUE(status.ok()) << status;
  return manifest.state();
}

TEST(Coordinator, TrainsEachRowOncePerEpochWithAnyNumberOfWorkers) {
  for (std::uint32_t workers = 1; workers <= 5; ++workers) {
    for (const bool sees_end : {false, true}) {
      for (const std::uint64_t rows : {1, 31, 32, 96, 100}) {
        SCOPED_TRACE(StrCat(workers, " workers, ", rows, " rows, sees end ", sees_end));
        FakeData data;
        data.train_rows = rows;
        data.sees_end_of_full_window = sees_end;
        FakeCluster cluster(data, 1 + workers % 3);
        ScratchFolder folder;
        RunningJob job(&cluster, FakeJob(), cluster.Options(folder.path()));
        ASSERT_TRUE(job.WorkToEnd(workers).ok()) << job.Wait();
        EXPECT_EQ(cluster.applied(), EachOnce(3, rows));
        EXPECT_EQ(job.result().epochs, 3u);
        EXPECT_EQ(StateOf(folder.path()).train_rows_per_epoch(), rows);
      }
    }
  }
}

TEST(Coordinator, ReportsTheResultOfTheBestWeights) {
  FakeData data;
  data.auc_after_epochs = {60, 90, 80};
  FakeCluster cluster(data, 2);
  ScratchFolder folder;
  RunningJob job(&cluster, FakeJob(), cluster.Options(folder.path()));
  ASSERT_TRUE(job.WorkToEnd(1).ok()) << job.Wait();
  const JobResult& result = job.result();
  ASSERT_TRUE(result.test.has_value());
  EXPECT_EQ(result.test->auc, 0.9);
  EXPECT_EQ(result.test->rows, 40u);
  ASSERT_TRUE(result.valid.has_value());
  EXPECT_EQ(result.valid->auc, 0.9);
  EXPECT_EQ(result.best_epoch, 1u);
  EXPECT_FALSE(result.stopped);
  // The weights in the servers, and in the checkpoint that LATEST and BEST name, are the best ones.
  EXPECT_EQ(cluster.applied(), EachOnce(2, 100));
  EXPECT_THAT(result.checkpoint, HasSubstr("-final"));
  EXPECT_EQ(*ResolveCheckpoint(folder.path()), result.checkpoint);
  const std::string checkpoints = folder.path() + "/checkpoints";
  EXPECT_EQ(*ReadPointer(checkpoints, kBestFile), *ReadPointer(checkpoints, kLatestFile));
  EXPECT_TRUE(StateOf(folder.path()).finished());
  EXPECT_THAT(*VerifyCheckpoint(folder.path()), SizeIs(0));
}

// Positives of 20 pairs stand above (80 % of them, or less) or level with their negatives.
TEST(Coordinator, GroupsTravelWithScores) {
  FakeData data;
  data.has_groups = true;
  data.auc_after_epochs = {60, 90, 80};
  FakeCluster cluster(data, 2);
  ScratchFolder folder;
  proto::JobConfig config = FakeJob();
  config.mutable_data()->set_group("user");
  config.mutable_train()->set_monitor(proto::TrainConfig::GAUC_PLUS_AUC);
  RunningJob job(&cluster, config, cluster.Options(folder.path()));
  ASSERT_TRUE(job.WorkToEnd(3).ok()) << job.Wait();
  ASSERT_TRUE(job.result().test.has_value());
  EXPECT_DOUBLE_EQ(*job.result().test->gauc, 0.9);
  EXPECT_DOUBLE_EQ(*job.result().test->pairwise, 0.8);
  EXPECT_DOUBLE_EQ(*job.result().valid->gauc, 0.9);
  EXPECT_EQ(job.result().best_epoch, 1u);
  EXPECT_DOUBLE_EQ(StateOf(folder.path()).best_value(), 1.8);
  EXPECT_THAT(ReadText(folder.path() + "/metrics.jsonl"),
              HasSubstr("\"gauc\":0.9,\"pairwise\":0.8,\"test_rows\":40"));
}

TEST(Coordinator, ScoresWithoutTheirGroupsAreRefused) {
  FakeCluster cluster(FakeData(), 1);
  ScratchFolder folder;
  proto::JobConfig config = FakeJob();
  config.mutable_data()->set_group("user");
  RunningJob job(&cluster, config, cluster.Options(folder.path()));
  FakeWorker worker(&cluster, &job.core(), 0);
  worker.RunToEnd();
  EXPECT_THAT(std::string(worker.status().message()),
              HasSubstr("has no groups, data.group is \"user\""));
}

TEST(Coordinator, StopsEarlyAndLowersTheRate) {
  FakeData data;
  data.train_rows = 8;
  data.auc_after_epochs = {60, 90, 80, 80, 80, 80};
  FakeCluster cluster(data, 1);
  ScratchFolder folder;
  proto::JobConfig config = FakeJob();
  config.mutable_train()->set_epochs(20);
  config.mutable_train()->set_early_stop_patience(2);
  RunningJob job(&cluster, config, cluster.Options(folder.path()));
  ASSERT_TRUE(job.WorkToEnd(1).ok()) << job.Wait();
  EXPECT_THAT(cluster.TrainedTasks(),
              ElementsAre("0/0:0-8@1", "1/0:0-8@1", "2/0:0-8@1", "3/0:0-8@0.1"));
  EXPECT_EQ(job.result().epochs, 4u);
  EXPECT_EQ(job.result().best_epoch, 1u);
}

TEST(Coordinator, WritesOneMetricsLineForEachEpochAndTheResult) {
  FakeCluster cluster(FakeData(), 1);
  ScratchFolder folder;
  RunningJob job(&cluster, FakeJob(), cluster.Options(folder.path()));
  ASSERT_TRUE(job.WorkToEnd(1).ok());
  const std::string text = ReadText(folder.path() + "/metrics.jsonl");
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4);
  EXPECT_THAT(text, HasSubstr("{\"event\":\"epoch\",\"epoch\":0,\"rows\":100,\"train_loss\":0.5,"));
  EXPECT_THAT(text, HasSubstr("{\"event\":\"result\",\"epochs\":3,\"best_epoch\":2,\"rows\":300,"));
}

// What the servers tell, and how often each kind of line was told.
struct ServersObserver : JobObserver {
  void OnStart(std::string_view) override {}
  void OnProgress(const JobProgress&) override {}
  void OnEpoch(const EpochSummary&) override { lines.push_back("epoch"); }
  void OnCheckpoint(const std::string&) override {}
  void OnServers(const ServerReport& report) override { lines.push_back(RowsText(report)); }
  std::vector<std::string> lines;
};

proto::PsStatsReply RowsOnServer(std::uint64_t rows, std::uint64_t resident) {
  proto::PsStatsReply stats;
  proto::TableStats* const table = stats.add_table();
  table->set_rows(rows);
  table->set_resident_rows(resident);
  return stats;
}

TEST(Coordinator, TellsWhatTheServersTold) {
  ServersObserver observer;
  FakeCluster cluster(FakeData(), 2);
  cluster.ps(0).SetStats(RowsOnServer(1000, 600));
  cluster.ps(1).SetStats(RowsOnServer(500, 500));
  ScratchFolder folder;
  CoordinatorOptions options = cluster.Options(folder.path());
  options.observer = &observer;
  {
    RunningJob job(&cluster, FakeJob(), options);
    ASSERT_TRUE(job.WorkToEnd(2).ok()) << job.Wait();
  }
  const std::string rows = "1 500 on 2 servers, 1 100 in memory (0 B)";
  EXPECT_THAT(observer.lines, ElementsAre("epoch", "epoch", "epoch", rows));
  const std::string text = ReadText(folder.path() + "/metrics.jsonl");
  EXPECT_THAT(text, HasSubstr("\"server_rows\":1500,\"server_rows_in_memory\":1100,"
                              "\"evicted_age\":0,\"evicted_count\":0,\"evicted_norm\":0}\n"));
  // Nothing was trained: nothing is told.
  RunningJob again(&cluster, FakeJob(), options);
  ASSERT_TRUE(again.Wait().ok());
  EXPECT_EQ(observer.lines.size(), 4u);
}

TEST(Coordinator, TellsWhatTheServersToldAlsoWhenStopped) {
  ServersObserver observer;
  FakeCluster cluster(FakeData(), 1);
  cluster.ps(0).SetStats(RowsOnServer(1000, 1000));
  ScratchFolder folder;
  CoordinatorOptions options = cluster.Options(folder.path());
  options.observer = &observer;
  RunningJob job(&cluster, FakeJob(), options);
  FakeWorker worker(&cluster, &job.core(), 0);
  ASSERT_TRUE(worker.Step());
  job->RequestStop();
  ASSERT_TRUE(job.Wait().ok()) << job.Wait();
  EXPECT_TRUE(job.result().stopped);
  EXPECT_THAT(observer.lines, ElementsAre("1 000 on 1 server, all in memory (0 B)"));
}

TEST(Coordinator, EndsWellThoughAServerDoesNotTell) {
  ServersObserver observer;
  FakeCluster cluster(FakeData(), 2);
  cluster.ps(0).SetStats(RowsOnServer(1000, 600));
  cluster.ps(1).SetStats({}, absl::UnavailableError("busy"));
  ScratchFolder folder;
  CoordinatorOptions options = cluster.Options(folder.path());
  options.observer = &observer;
  RunningJob job(&cluster, FakeJob(), options);
  ASSERT_TRUE(job.WorkToEnd(1).ok()) << job.Wait();
  EXPECT_THAT(observer.lines, ElementsAre("epoch", "epoch", "epoch"));
  EXPECT_THAT(ReadText(folder.path() + "/metrics.jsonl"), Not(HasSubstr("server_rows")));
}

TEST(Coordinator, EvaluatesOnTheTestSetWithoutAValidSet) {
  FakeCluster cluster(FakeData(), 1);
  ScratchFolder folder;
  proto::JobConfig config = FakeJob();
  config.mutable_data()->clear_valid();
  RunningJob job(&cluster, config, cluster.Options(folder.path()));
  ASSERT_TRUE(job.WorkToEnd(1).ok());
  EXPECT_FALSE(job.result().valid.has_value());
  ASSERT_TRUE(job.result().test.has_value());
  EXPECT_EQ(job.result().test->auc, 0.8);
}

TEST(Coordinator, TrainsWithoutAnythingToEvaluateOn) {
  FakeCluster cluster(FakeData(), 1);
  ScratchFolder folder;
  proto::JobConfig config = FakeJob();
  config.mutable_data()->clear_valid();
  config.mutable_data()->clear_test();
  RunningJob job(&cluster, config, cluster.Options(folder.path()));
  ASSERT_TRUE(job.WorkToEnd(1).ok()) << job.Wait();
  EXPECT_FALSE(job.result().test.has_value());
  EXPECT_EQ(job.result().best_epoch, 2u);
  EXPECT_EQ(cluster.applied(), EachOnce(3, 100));
}

TEST(Coordinator, AFinishedJobIsReportedAgainAtOnce) {
  FakeCluster cluster(FakeData(), 1);
  ScratchFolder folder;
  JobResult first;
  {
    RunningJob job(&cluster, FakeJob(), cluster.Options(folder.path()));
    ASSERT_TRUE(job.WorkToEnd(1).ok());
    first = job.result();
  }
  const int restores = cluster.ps(0).restores();
  RunningJob job(&cluster, FakeJob(), cluster.Options(folder.path()));
  ASSERT_TRUE(job.Wait().ok()) << job.Wait();
  EXPECT_TRUE(job->was_finished());
  EXPECT_TRUE(job.result().was_finished);
  EXPECT_EQ(job.result().test->auc, first.test->auc);
  EXPECT_EQ(job.result().checkpoint, first.checkpoint);
  EXPECT_EQ(cluster.ps(0).restores(), restores) << "nobody was needed";
}

TEST(Coordinator, LeasesOfALostWorkerAreHandedOutAgain) {
  FakeCluster cluster(FakeData(), 1);
  ScratchFolder folder;
  CoordinatorOptions options = cluster.Options(folder.path());
  options.lost_s = 120;
  RunningJob job(&cluster, FakeJob(), options);
  FakeWorker doomed(&cluster, &job.core(), 0);
  proto::Task first;
  proto::Task second;
  ASSERT_TRUE(doomed.Take(&first));
  ASSERT_TRUE(doomed.Take(&second));
  cluster.clock() = cluster.clock() + 121;
  FakeWorker other(&cluster, &job.core(), 1);
  other.RunToEnd();
  ASSERT_TRUE(job.Wait().ok()) << job.Wait();
  EXPECT_EQ(cluster.applied(), EachOnce(3, 100));
  // What the lost one says now comes too late.
  EXPECT_TRUE(absl::IsAborted(doomed.Finish(first)));
  EXPECT_EQ(StateOf(folder.path()).rows(), 300u);
  EXPECT_EQ(StateOf(folder.path()).reissued_rows(), 16u);
}

TEST(Coordinator, AWorkerThatJoinsAgainTakesOver) {
  FakeCluster cluster(FakeData(), 1);
  ScratchFolder folder;
  RunningJob job(&cluster, FakeJob(), cluster.Options(folder.path()));
  FakeWorker earlier(&cluster, &job.core(), 0);
  proto::Task task;
  ASSERT_TRUE(earlier.Take(&task));
  FakeWorker later(&cluster, &job.core(), 0);
  EXPECT_NE(earlier.incarnation(), later.incarnation());
  proto::Task refused;
  EXPECT_FALSE(earlier.Take(&refused));
  EXPECT_TRUE(absl::IsAborted(earlier.status()));
  later.RunToEnd();
  ASSERT_TRUE(job.Wait().ok());
  EXPECT_EQ(cluster.applied(), EachOnce(3, 100));
}

TEST(DeterministicJob, HasOneWorker) {
  FakeCluster cluster(FakeData(), 1);
  ScratchFolder folder;
  proto::JobConfig config = FakeJob();
  config.mutable_train()->set_deterministic(true);
  RunningJob job(&cluster, config, cluster.Options(folder.path()));
  FakeWorker only(&cluster, &job.core(), 3);
  proto::JoinWorkerRequest request;
  request.set_worker(0);
  proto::JoinWorkerReply reply;
  const Status refused = job->JoinWorker(request, 0, &reply);
  EXPECT_TRUE(absl::IsInvalidArgument(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("worker 0 cannot join worker 3"));
  // Without rows in hand it may be started again.
  FakeWorker again(&cluster, &job.core(), 3);
  again.RunToEnd();
  ASSERT_TRUE(job.Wait().ok()) << job.Wait();
  EXPECT_EQ(cluster.applied(), EachOnce(3, 100));
}

TEST(DeterministicJob, EndsRatherThanTrainRowsTwice) {
  FakeCluster cluster(FakeData(), 1);
  proto::JobConfig config = FakeJob();
  config.mutable_train()->set_deterministic(true);
  const auto expect_failed = [](RunningJob& job) {
    EXPECT_TRUE(absl::IsUnavailable(job.Wait())) << job.Wait();
    EXPECT_THAT(std::string(job.Wait().message()),
                HasSubstr("worker 0: went away with rows in hand"));
  };
  for (const bool returns : {true, false}) {
    ScratchFolder folder;
    CoordinatorOptions options = cluster.Options(folder.path());
    options.lost_s = 120;
    RunningJob job(&cluster, config, options);
    FakeWorker doomed(&cluster, &job.core(), 0);
    proto::Task task;
    ASSERT_TRUE(doomed.Take(&task));
    if (returns) {
      proto::JoinWorkerReply reply;
      EXPECT_TRUE(absl::IsAborted(job->JoinWorker({}, 0, &reply)));
    } else {
      cluster.clock() = cluster.clock() + 121;
    }
    expect_failed(job);
  }
}

TEST(Coordinator, AWorkerMayHoldSeveralLeasesAndEndThemInAnyOrder) {
  FakeCluster cluster(FakeData(), 1);
  ScratchFolder folder;
  RunningJob job(&cluster, FakeJob(), cluster.Options(folder.path()));
  FakeWorker worker(&cluster, &job.core(), 0);
  std::vector<proto::Task> held(3);
  for (proto::Task& task : held) ASSERT_TRUE(worker.Take(&task));
  std::reverse(held.begin(), held.end());
  for (const proto::Task& task : held) ASSERT_TRUE(worker.Finish(task).ok());
  ASSERT_TRUE(worker.Finish(held[0]).ok()) << "told twice";
  worker.RunToEnd();
  ASSERT_TRUE(job.Wait().ok());
  EXPECT_EQ(StateOf(folder.path()).rows(), 300u);
}

TEST(Coordinator, ACallThatIsSentAgainGetsTheSameTask) {
  FakeCluster cluster(FakeData(), 1);
  ScratchFolder folder;
  RunningJob job(&cluster, FakeJob(), cluster.Options(folder.path()));
  FakeWorker worker(&cluster, &job.core(), 0);
  proto::AcquireTaskRequest request;
  request.set_incarnation(worker.incarnation());
  request.set_call(1);
  proto::Task first;
  proto::Task again;
  proto::Task next;
  ASSERT_TRUE(job->AcquireTask(request, &first).ok());
  ASSERT_TRUE(job->AcquireTask(request, &again).ok());
  EXPECT_EQ(first.ShortDebugString(), again.ShortDebugString());
  request.set_call(2);
  ASSERT_TRUE(job->AcquireTask(request, &next).ok());
  EXPECT_NE(next.id(), first.id());
  EXPECT_EQ(next.begin(), first.end());
  ASSERT_TRUE(worker.Finish(next).ok());
  ASSERT_TRUE(worker.Finish(first).ok());
  worker.RunToEnd();
  ASSERT_TRUE(job.Wait().ok());
  EXPECT_EQ(cluster.applied(), EachOnce(3, 100));
}

TEST(Coordinator, AFailureOfAWorkerIsTheFirstFailureOfTheJob) {
  FakeCluster cluster(FakeData(), 1);
  ScratchFolder folder;
  RunningJob job(&cluster, FakeJob(), cluster.Options(folder.path()));
  FakeWorker worker(&cluster, &job.core(), 0);
  ASSERT_TRUE(worker.Step());
  job->ReportFailure("worker 1", 0, absl::InvalidArgumentError("train.csv:7:3: label '2'"));
  job->ReportFailure("ps 0", 0, absl::UnavailableError("a consequence"));
  EXPECT_TRUE(absl::IsInvalidArgument(job.Wait()));
  EXPECT_EQ(job.Wait().message(), "worker 1: train.csv:7:3: label '2'");
  EXPECT_FALSE(worker.Step());
  EXPECT_TRUE(absl::IsAborted(worker.status()));
}

TEST(Coordinator, DataThatChangesEndsTheJob) {
  FakeData data;
  FakeCluster cluster(data, 1);
  ScratchFolder folder;
  RunningJob job(&cluster, FakeJob(), cluster.Options(folder.path()));
  FakeWorker worker(&cluster, &job.core(), 0);
  proto::Task task;
  while (task.epoch() == 0) {
    ASSERT_TRUE(worker.Take(&task));
    if (task.epoch() == 0) {
      ASSERT_TRUE(worker.Finish(task).ok());
    }
  }
  proto::CompleteTaskRequest request;
  request.set_worker(0);
  request.set_incarnation(worker.incarnation());
  request.set_task(task.id());
  request.set_rows(8);
  request.set_last_window(true);
  request.set_window_rows_found(20);
  EXPECT_TRUE(absl::IsFailedPrecondition(job->CompleteTask(request)));
  EXPECT_THAT(std::string(job.Wait().message()), HasSubstr("100 rows, now it has 20"));
}

TEST(Coordinator, BadRowsAreCountedUpToTheirLimit) {
  FakeData data;
  data.bad_row_every = 10;  // 10 of 100
  proto::JobConfig config = FakeJob();
  config.mutable_data()->set_bad_row(proto::DataConfig::SKIP);
  config.mutable_data()->set_max_bad_rows(10);
  {
    FakeCluster cluster(data, 1);
    ScratchFolder folder;
    RunningJob job(&cluster, config, cluster.Options(folder.path()));
    ASSERT_TRUE(job.WorkToEnd(2).ok()) << job.Wait();
    EXPECT_EQ(StateOf(folder.path()).bad_rows(), 30u);
    EXPECT_EQ(StateOf(folder.path()).rows(), 270u);
  }
  config.mutable_data()->set_max_bad_rows(9);
  FakeCluster cluster(data, 1);
  ScratchFolder folder;
  RunningJob job(&cluster, config, cluster.Options(folder.path()));
  EXPECT_TRUE(absl::IsInvalidArgument(job.WorkToEnd(1)));
  EXPECT_THAT(std::string(job.Wait().message()), HasSubstr("max_bad_rows is 9"));
}

TEST(Coordinator, EmptyTrainingFilesAreAnError) {
  FakeData data;
  data.train_rows = 0;
  FakeCluster cluster(data, 1);
  ScratchFolder folder;
  RunningJob job(&cluster, FakeJob(), cluster.Options(folder.path()));
  EXPECT_TRUE(absl::IsInvalidArgument(job.WorkToEnd(1)));
  EXPECT_THAT(std::string(job.Wait().message()), HasSubstr("data.train"));
}

TEST(Coordinator, EmptyEvaluationFilesAreAnError) {
  FakeData data;
  data.eval_rows = 0;
  FakeCluster cluster(data, 1);
  ScratchFolder folder;
  RunningJob job(&cluster, FakeJob(), cluster.Options(folder.path()));
  EXPECT_TRUE(absl::IsInvalidArgument(job.WorkToEnd(1)));
  EXPECT_THAT(std::string(job.Wait().message()), HasSubstr("data.valid"));
}

TEST(Coordinator, RefusesNonsenseInACompletedTask) {
  FakeCluster cluster(FakeData(), 1);
  ScratchFolder folder;
  RunningJob job(&cluster, FakeJob(), cluster.Options(folder.path()));
  FakeWorker worker(&cluster, &job.core(), 0);
  proto::Task task;
  ASSERT_TRUE(worker.Take(&task));
  proto::CompleteTaskRequest request;
  request.set_worker(0);
  request.set_incarnation(worker.incarnation());
  request.set_task(task.id());
  request.set_rows(9);
  EXPECT_TRUE(absl::IsInvalidArgument(job->CompleteTask(request)));
  request.set_rows(8);
  request.set_loss_sum(std::numeric_limits<double>::quiet_NaN());
  EXPECT_TRUE(absl::IsInvalidArgument(job->CompleteTask(request)));
  ASSERT_TRUE(worker.Finish(task).ok()) << "the lease is still held";
  worker.RunToEnd();
  EXPECT_TRUE(job.Wait().ok());
}

TEST(Coordinator, ASecondCoordinatorOnTheSameDirectoryIsRefused) {
  FakeCluster cluster(FakeData(), 1);
  ScratchFolder folder;
  RunningJob job(&cluster, FakeJob(), cluster.Options(folder.path()));
  const auto second = CoordinatorCore::Make(FakeJob(), cluster.Options(folder.path()));
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status()));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(StrCat("process ", getpid())));
}

TEST(Coordinator, ABayesAucIsReadFromTruth) {
  FakeCluster cluster(FakeData(), 1);
  ScratchFolder folder;
  proto::JobConfig config = FakeJob();
  config.mutable_data()->set_test(0, folder.path() + "/test.csv");
  WriteText(folder.path() + "/truth.txt", "rows: 40\nbayes_auc: 0.8125\n");
  RunningJob job(&cluster, config, cluster.Options(folder.path() + "/run"));
  ASSERT_TRUE(job.WorkToEnd(1).ok()) << job.Wait();
  EXPECT_EQ(job.result().bayes_auc, 0.8125);
}

TEST(Coordinator, TellsItsObserverWhatHappens) {
  struct Observer : JobObserver {
    void OnStart(std::string_view from) override { lines.push_back(StrCat("start ", from)); }
    void OnProgress(const JobProgress& progress) override {
      MutexLock lock(mu);
      if (progress.phase == "training") last_rows = progress.rows;
      changed.NotifyAll();
    }
    void AwaitRows(std::uint64_t rows) {
      MutexLock lock(mu);
      changed.Wait(mu, [&] { return last_rows == rows; });
    }
    void OnEpoch(const EpochSummary& epoch) override {
      lines.push_back(StrCat("epoch ", epoch.epoch, " ", epoch.rows, " ", epoch.train_loss, " ",
                             *epoch.quality->auc, " ", epoch.is_best));
    }
    void OnCheckpoint(const std::string& path) override { checkpoints.push_back(path); }
    std::vector<std::string> lines;
    std::vector<std::string> checkpoints;
    Mutex mu;
    CondVar changed;
    std::uint64_t last_rows = 0;
  } observer;
  FakeCluster cluster(FakeData(), 1);
  ScratchFolder folder;
  CoordinatorOptions options = cluster.Options(folder.path());
  options.observer = &observer;
  options.progress_every_s = 1e-9;
  RunningJob job(&cluster, FakeJob(), options);
  FakeWorker worker(&cluster, &job.core(), 0);
  for (std::uint64_t rows = 8; rows <= 24; rows += 8) {
    ASSERT_TRUE(worker.Step());
    cluster.clock() = cluster.clock() + 1;
    observer.AwaitRows(rows);
  }
  worker.RunToEnd();
  ASSERT_TRUE(job.Wait().ok());
  EXPECT_THAT(observer.lines, ElementsAre("start ", "epoch 0 100 0.5 0.6 true",
                                          "epoch 1 100 0.5 0.7 true", "epoch 2 100 0.5 0.8 true"));
  EXPECT_THAT(observer.checkpoints, SizeIs(4));
}

TEST(Coordinator, StatusNamesPhaseAndMembers) {
  FakeCluster cluster(FakeData(), 1);
  ScratchFolder folder;
  CoordinatorOptions options = cluster.Options(folder.path());
  options.worker_count = 2;
  RunningJob job(&cluster, FakeJob(), options);
  FakeWorker worker(&cluster, &job.core(), 0);
  ASSERT_TRUE(worker.Step());
  proto::JobStatusReply status;
  job->GetStatus(&status);
  EXPECT_EQ(status.phase(), "training; waiting for worker 1");
  EXPECT_EQ(status.state().rows(), 8u);
  ASSERT_EQ(status.process_size(), 2);
  EXPECT_EQ(status.process(0).address(), "fake:0");
  EXPECT_EQ(status.process(1).pid(), 100);
  EXPECT_EQ(status.process(1).rows(), 8u);
  worker.RunToEnd();
  ASSERT_TRUE(job.Wait().ok());
  job->GetStatus(&status);
  EXPECT_EQ(status.phase(), "done");
  EXPECT_TRUE(job->WaitUntilOver(0));
  EXPECT_TRUE(job->WaitUntilWorkersLeft(0));
}

}  // namespace
}  // namespace cairn::launch
