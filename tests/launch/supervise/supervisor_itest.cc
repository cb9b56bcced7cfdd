#include "launch/supervise/supervisor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <string>

#include "launch/supervise/process.h"
#include "tests/launch/supervise/fake_cluster.h"

namespace cairn::launch {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::Not;

const std::string kResult = "RESULT auc=0.8 logloss=0.4";
// A coordinator that ends the job once $RUN/finish is there.
const std::string kGoodCoordinator =
    kListen + std::string("echo 'epoch 1 auc 0.8'; echo 'I1121 07:53:50.1 12 a.cc:1] detail'; ") +
    AwaitFile("finish") + "echo '" + kResult + "'; exit 0";
// A coordinator that takes SIGTERM as the real one does.
std::string StoppableCoordinator(const std::string& on_term) {
  return "trap '" + on_term + "' TERM; " + kListen + "while :; do sleep 0.02; done";
}

TEST(Supervisor, EndsWithTheCoordinatorAndItsResult) {
  FakeCluster cluster;
  cluster.SetCoordinator(kGoodCoordinator);
  cluster.AddPs(
      "echo serving; trap 'echo told to leave; exit 143' TERM; while :; do sleep 0.02; done");
  cluster.AddWorker(AwaitFile("finish") + "exit 0");
  cluster.Start();
  ASSERT_TRUE(cluster.WaitUntilRunning());
  const ClusterState running = cluster.State();
  EXPECT_EQ(running.state, "running");
  EXPECT_EQ(running.coordinator, "127.0.0.1:1");
  ASSERT_EQ(running.process.size(), 3u);
  EXPECT_TRUE(IsAlive(running.process[1].pid, running.process[1].start_ticks));
  cluster.Touch("finish");

  EXPECT_EQ(cluster.Wait(), 0) << cluster.Messages();
  EXPECT_EQ(cluster.Results(), kResult + "\n");
  EXPECT_THAT(cluster.Messages(), HasSubstr("epoch 1 auc 0.8\n"));
  EXPECT_THAT(cluster.Messages(), Not(HasSubstr("detail")));
  EXPECT_THAT(cluster.Messages(), Not(HasSubstr("RESULT")));
  EXPECT_THAT(cluster.File("logs/ps-0.log"), HasSubstr("ps 0 starts: /bin/sh -c '"));
  EXPECT_THAT(cluster.File("logs/ps-0.log"), HasSubstr("serving\ntold to leave\n"));
  const ClusterState state = cluster.State();
  EXPECT_EQ(state.state, "done");
  EXPECT_EQ(state.result, kResult);
  EXPECT_EQ(state.process[1].ended, "left when told to");
  EXPECT_EQ(state.process[2].ended, "exit code 0");
  EXPECT_TRUE(cluster.AllGone());
}

TEST(Supervisor, NamesTheCrashedProcessAndShowsItsLastLines) {
  FakeCluster cluster;
  cluster.AddPs(kStay);
  cluster.AddPs("i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo line $i; done; kill -SEGV $$");
  cluster.AddWorker(kStay);
  EXPECT_EQ(cluster.Run(), 1);
  EXPECT_THAT(cluster.Messages(), HasSubstr("killed by SIGSEGV (crash)"));
  EXPECT_THAT(cluster.Messages(), HasSubstr("<- first failure"));
  EXPECT_THAT(cluster.Messages(), HasSubstr("logs/ps-1.log"));
  EXPECT_THAT(cluster.Messages(), HasSubstr("  | line 31\n"));
  EXPECT_THAT(cluster.Messages(), HasSubstr("  | line 50\n"));
  EXPECT_THAT(cluster.Messages(), Not(HasSubstr("  | line 30\n")));
  EXPECT_EQ(cluster.Results(), "");
  EXPECT_EQ(cluster.State().state, "failed");
  EXPECT_THAT(cluster.State().failure, HasSubstr("ps 1"));
  EXPECT_TRUE(cluster.AllGone());
}

// Dies once by each of the scripts, and then serves.
std::string DyingFirst(const std::string& name, const std::vector<std::string>& deaths) {
  std::string script;
  for (std::size_t i = 0; i < deaths.size(); ++i) {
    const std::string mark = "$RUN/" + name + std::to_string(i);
    script += "[ -e " + mark + " ] || { : > " + mark + "; " + deaths[i] + "; }; ";
  }
  return script + ": > $RUN/" + name + "_serves; " + kServe;
}

TEST(Supervisor, StartsAgainWhatDied) {
  FakeCluster cluster;
  cluster.SetCoordinator(kGoodCoordinator);
  cluster.AddPs(DyingFirst("ps", {"kill -KILL $$", "exit 138", "kill -SEGV $$"}));
  cluster.AddWorker(DyingFirst("worker", {"kill -ABRT $$", "exit 143"}));
  cluster.MayReturn();
  cluster.options().first_pause = milliseconds(10);
  cluster.Start();
  ASSERT_TRUE(Eventually([&] { return cluster.Has("ps_serves") && cluster.Has("worker_serves"); }))
      << cluster.Messages();
  cluster.Touch("finish");
  EXPECT_EQ(cluster.Wait(), 0) << cluster.Messages();
  EXPECT_EQ(cluster.Results(), kResult + "\n");
  EXPECT_THAT(cluster.Messages(), HasSubstr(") killed by SIGKILL"));
  EXPECT_THAT(cluster.Messages(), HasSubstr("; it is started again; see "));
  EXPECT_THAT(cluster.Messages(), HasSubstr("; return 3 of 5 in a row follows; see "));
  EXPECT_THAT(cluster.Messages(), HasSubstr("cluster: worker 0 runs again (pid "));
  EXPECT_EQ(cluster.State().process.size(), 8u) << "each start has its line";
  EXPECT_EQ(cluster.State().state, "done");
  EXPECT_TRUE(cluster.AllGone());
}

TEST(Supervisor, GivesUpOnWhatDiesAgainAndAgain) {
  FakeCluster cluster;
  cluster.AddPs("echo x >> $RUN/starts; kill -KILL $$");
  cluster.AddWorker(kStay);
  cluster.MayReturn();
  cluster.options().first_pause = milliseconds(1);
  cluster.options().max_restarts = 3;
  EXPECT_EQ(cluster.Run(), 138);
  EXPECT_EQ(cluster.File("starts"), "x\nx\nx\nx\n");
  EXPECT_THAT(cluster.State().failure, HasSubstr("ps 0"));
  EXPECT_TRUE(cluster.AllGone());
}

// After a good while nothing is held against it.
TEST(Supervisor, CountsReturnsInARow) {
  FakeCluster cluster;
  cluster.SetCoordinator(kGoodCoordinator);
  cluster.AddPs(DyingFirst("ps", {"kill -KILL $$", "kill -KILL $$", "kill -KILL $$"}));
  cluster.MayReturn();
  cluster.options().max_restarts = 1;
  cluster.options().steady = milliseconds(0);
  cluster.Start();
  ASSERT_TRUE(Eventually([&] { return cluster.Has("ps_serves"); })) << cluster.Messages();
  cluster.Touch("finish");
  EXPECT_EQ(cluster.Wait(), 0) << cluster.Messages();
}

TEST(Supervisor, WhatFailsByItselfIsNotStartedAgain) {
  for (const char* const script : {"exit 1", "exit 2", "exit 3"}) {
    FakeCluster cluster;
    cluster.AddPs(kServe);
    cluster.AddWorker(std::string("echo x >> $RUN/starts; ") + script);
    cluster.MayReturn();
    EXPECT_NE(cluster.Run(), 0);
    EXPECT_EQ(cluster.File("starts"), "x\n") << script;
  }
}

// Who began all of it again would do so against the user's wish.
TEST(Supervisor, AStopThatFailsIsNoFailureToMend) {
  FakeCluster cluster;
  cluster.SetCoordinator(StoppableCoordinator("exit 138"));
  cluster.AddPs(kServe);
  cluster.Start();
  ASSERT_TRUE(cluster.WaitUntilRunning());
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.Wait(), 138);
  EXPECT_EQ(cluster.State().state, "killed");
  EXPECT_THAT(cluster.State().failure, HasSubstr("coordinator"));
}

TEST(Supervisor, AStopDoesNotWaitForReturns) {
  FakeCluster cluster;
  cluster.SetCoordinator(StoppableCoordinator("exit 143"));
  cluster.AddPs("kill -KILL $$");
  cluster.AddWorker(kStay);
  cluster.MayReturn();
  cluster.options().first_pause = milliseconds(3'600'000);
  cluster.Start();
  ASSERT_TRUE(Eventually(
      [&] { return cluster.Messages().find("return 2 of 5 in a row") != std::string::npos; }));
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.Wait(), 143) << cluster.Messages();
  EXPECT_TRUE(cluster.AllGone());
}

struct CodeCase {
  const char* script;
  int code;
};
class WorkerExitCode : public testing::TestWithParam<CodeCase> {};

TEST_P(WorkerExitCode, BecomesTheJobs) {
  FakeCluster cluster;
  cluster.AddPs(kServe);
  cluster.AddWorker(kStay);
  cluster.AddWorker(GetParam().script);
  EXPECT_EQ(cluster.Run(), GetParam().code) << cluster.Messages();
  EXPECT_THAT(cluster.State().failure, HasSubstr("worker 1"));
  EXPECT_TRUE(cluster.AllGone());
}
INSTANTIATE_TEST_SUITE_P(All, WorkerExitCode,
                         testing::Values(CodeCase{"exit 1", 1}, CodeCase{"exit 2", 2},
                                         CodeCase{"exit 3", 3}, CodeCase{"exit 138", 138},
                                         CodeCase{"exit 77", 1}, CodeCase{"kill -KILL $$", 138},
                                         CodeCase{"kill -ABRT $$", 1},
                                         CodeCase{"kill -TERM $$", 138}));

TEST(Supervisor, NamesTheWorkerWhoseErrorTheCoordinatorReportedFirst) {
  FakeCluster cluster;
  cluster.SetCoordinator(kListen + AwaitFile("started") + "echo x > $RUN/over; exit 2");
  cluster.AddPs(kServe);
  cluster.AddWorker(AwaitFile("over") + "echo 'train.csv:12:3: no number'; exit 2");
  cluster.options().settle = milliseconds(20'000);
  cluster.Start();
  // The settling time is long so that the worker is in it; a signal ends it.
  ASSERT_TRUE(Eventually([&] {
    return cluster.State().process.size() == 3 && !cluster.State().process[2].ended.empty();
  }));
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.Wait(), 2);
  EXPECT_THAT(cluster.State().failure, HasSubstr("worker 0"));
  EXPECT_THAT(cluster.Messages(), HasSubstr("  | train.csv:12:3: no number\n"));
}

TEST(Supervisor, NamesTheCoordinatorWhenItAloneFails) {
  FakeCluster cluster;
  cluster.SetCoordinator("echo 'no such file: x.csv'; exit 2");
  cluster.AddPs(kServe);
  EXPECT_EQ(cluster.Run(), 2);
  EXPECT_THAT(cluster.State().failure, HasSubstr("coordinator"));
  EXPECT_THAT(cluster.Messages(), HasSubstr("  | no such file: x.csv\n"));
}

TEST(Supervisor, NoProcessOutlivesKillNine) {
  FakeCluster cluster;
  cluster.AddPs("trap '' TERM INT HUP; while :; do sleep 0.02; done");
  cluster.AddWorker(kStay);
  cluster.Start();
  ASSERT_TRUE(cluster.WaitUntilRunning());
  ASSERT_FALSE(cluster.AllGone());
  cluster.Signal(SIGKILL);
  EXPECT_EQ(cluster.Wait(), -SIGKILL);
  EXPECT_TRUE(Eventually([&] { return cluster.AllGone(); }));
}

TEST(Supervisor, WhatAProcessStartedGoesWithIt) {
  FakeCluster cluster;
  cluster.SetCoordinator(kGoodCoordinator);
  cluster.AddPs(kServe);
  cluster.AddWorker("sleep 1000 & echo $! > $RUN/pid.tmp; mv $RUN/pid.tmp $RUN/pid; exit 0");
  cluster.Start();
  ASSERT_TRUE(Eventually([&] { return cluster.Has("pid"); }));
  const pid_t grandchild = std::atoi(cluster.File("pid").c_str());
  ASSERT_GT(grandchild, 1);
  EXPECT_TRUE(Eventually([&] { return ProcessStartTicks(grandchild) == 0; }));
  cluster.Touch("finish");
  EXPECT_EQ(cluster.Wait(), 0);
}

class StopSignal : public testing::TestWithParam<int> {};

TEST_P(StopSignal, IsAnOrderlyStopOfTheCoordinator) {
  FakeCluster cluster;
  cluster.SetCoordinator(StoppableCoordinator("echo saved > $RUN/checkpoint; exit 143"));
  // Were the server told to leave before the coordinator has ended, it would fail the job.
  cluster.AddPs(
      "trap '[ -e $RUN/checkpoint ] || kill -SEGV $$; exit 0' TERM; "
      "while :; do sleep 0.02; done");
  cluster.AddWorker(AwaitFile("checkpoint") + "exit 0");
  cluster.Start();
  ASSERT_TRUE(cluster.WaitUntilRunning());
  cluster.Signal(GetParam());
  EXPECT_EQ(cluster.Wait(), 128 + GetParam()) << cluster.Messages();
  EXPECT_EQ(cluster.File("checkpoint"), "saved\n");
  EXPECT_EQ(cluster.State().state, "stopped");
  EXPECT_THAT(cluster.Messages(), Not(HasSubstr("SIGSEGV")));
  EXPECT_TRUE(cluster.AllGone());
}
INSTANTIATE_TEST_SUITE_P(All, StopSignal, testing::Values(SIGINT, SIGTERM, SIGHUP));

TEST(Supervisor, StopBeforeTheCoordinatorHandlesSignalsIsAStop) {
  FakeCluster cluster;
  cluster.SetCoordinator("echo x > $RUN/born; exec sleep 1000");
  cluster.Start();
  ASSERT_TRUE(Eventually([&] { return cluster.Has("born"); }));
  cluster.Signal(SIGINT);
  EXPECT_EQ(cluster.Wait(), 130) << cluster.Messages();
  EXPECT_EQ(cluster.State().state, "stopped");
  EXPECT_TRUE(cluster.AllGone());
}

TEST(Supervisor, JobThatEndsWhileItIsStoppedIsDone) {
  FakeCluster cluster;
  cluster.SetCoordinator(StoppableCoordinator("echo " + kResult + "; exit 0"));
  cluster.AddPs(kServe);
  cluster.Start();
  ASSERT_TRUE(cluster.WaitUntilRunning());
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.Wait(), 0);
  EXPECT_EQ(cluster.Results(), kResult + "\n");
}

TEST(Supervisor, SecondSignalKillsAtOnce) {
  FakeCluster cluster;
  cluster.SetCoordinator(StoppableCoordinator("echo saving > $RUN/asked"));
  cluster.AddPs(kServe);
  cluster.options().same_signal = milliseconds(0);
  cluster.Start();
  ASSERT_TRUE(cluster.WaitUntilRunning());
  cluster.Signal(SIGINT);
  ASSERT_TRUE(Eventually([&] { return cluster.Has("asked"); }));
  cluster.Signal(SIGINT);
  EXPECT_EQ(cluster.Wait(), 138);
  EXPECT_EQ(cluster.State().state, "killed");
  EXPECT_TRUE(cluster.AllGone());
}

TEST(Supervisor, GracePeriodBoundsTheStop) {
  FakeCluster cluster;
  cluster.SetCoordinator(StoppableCoordinator(":"));
  cluster.AddPs("trap '' TERM; while :; do sleep 0.02; done");
  cluster.options().grace = milliseconds(100);
  cluster.options().kill_grace = milliseconds(100);
  cluster.Start();
  ASSERT_TRUE(cluster.WaitUntilRunning());
  cluster.Signal(SIGTERM);
  EXPECT_EQ(cluster.Wait(), 138);
  EXPECT_THAT(cluster.Messages(), HasSubstr("took too long"));
  EXPECT_TRUE(cluster.AllGone());
}

TEST(Supervisor, ProcessThatIgnoresTermAtTheEndIsKilled) {
  FakeCluster cluster;
  cluster.SetCoordinator(kGoodCoordinator);
  cluster.AddPs("trap '' TERM; while :; do sleep 0.02; done");
  cluster.AddWorker(kStay);
  cluster.options().leave_grace = milliseconds(50);
  cluster.options().kill_grace = milliseconds(50);
  cluster.Start();
  ASSERT_TRUE(cluster.WaitUntilRunning());
  cluster.Touch("finish");
  EXPECT_EQ(cluster.Wait(), 0);
  ASSERT_EQ(cluster.State().process.size(), 3u);
  EXPECT_THAT(cluster.State().process[1].ended, HasSubstr("SIGKILL"));
  EXPECT_TRUE(cluster.AllGone());
}

TEST(Supervisor, CoordinatorThatNeverListensIsNamed) {
  FakeCluster cluster;
  cluster.SetCoordinator("echo thinking; exec sleep 1000");
  cluster.AddPs(kServe);
  cluster.options().start_limit = milliseconds(200);
  EXPECT_EQ(cluster.Run(), 138);
  EXPECT_THAT(cluster.Messages(), HasSubstr("did not write its address"));
  EXPECT_THAT(cluster.Messages(), HasSubstr("  | thinking\n"));
  EXPECT_TRUE(cluster.AllGone());
}

TEST(Supervisor, AddressOfAnEarlierRunIsNotUsed) {
  FakeCluster cluster;
  cluster.Touch("coordinator.address");
  cluster.SetCoordinator("test -e $RUN/coordinator.address && exit 1; " + kGoodCoordinator);
  cluster.Touch("finish");
  EXPECT_EQ(cluster.Run(), 0) << cluster.Messages();
}

TEST(Supervisor, SecondRunAppendsToTheLogsAndShowsItsOwnLinesOnly) {
  FakeCluster cluster;
  cluster.AddPs("if [ -e $RUN/again ]; then echo second; else echo first; fi; exit 2");
  EXPECT_EQ(cluster.Run(), 2);
  EXPECT_THAT(cluster.Messages(), HasSubstr("  | first\n"));
  cluster.Touch("again");
  EXPECT_EQ(cluster.Run(), 2);
  EXPECT_THAT(cluster.Messages(), HasSubstr("  | second\n"));
  EXPECT_THAT(cluster.Messages(), Not(HasSubstr("  | first\n")));
  EXPECT_THAT(cluster.File("logs/ps-0.log"), HasSubstr("first\n"));
}

TEST(Supervisor, CoordinatorStoppedFromOutsideIsAStop) {
  FakeCluster cluster;
  cluster.SetCoordinator(StoppableCoordinator("exit 143"));
  cluster.AddPs(kServe);
  cluster.Start();
  ASSERT_TRUE(cluster.WaitUntilRunning());
  ASSERT_EQ(kill(cluster.State().process[0].pid, SIGTERM), 0);
  EXPECT_EQ(cluster.Wait(), 143);
  EXPECT_EQ(cluster.State().state, "stopped");
}

TEST(Supervisor, AfterAFailureNobodyIsWaitedForLong) {
  FakeCluster cluster;
  cluster.SetCoordinator(StoppableCoordinator(":"));
  cluster.AddPs(kServe);
  cluster.AddWorker("exit 2");
  cluster.options().failed_grace = milliseconds(50);
  cluster.options().kill_grace = std::chrono::hours(1);
  EXPECT_EQ(cluster.Run(), 2);
  EXPECT_TRUE(cluster.AllGone());
}

TEST(Supervisor, StoppedProcessesAreEndedToo) {
  FakeCluster cluster;
  cluster.SetCoordinator(kGoodCoordinator);
  cluster.AddPs(kServe);
  cluster.AddWorker("kill -STOP $$; exit 0");
  cluster.options().leave_grace = milliseconds(50);
  cluster.Start();
  ASSERT_TRUE(cluster.WaitUntilRunning());
  cluster.Touch("finish");
  EXPECT_EQ(cluster.Wait(), 0);
  EXPECT_TRUE(cluster.AllGone());
}

}  // namespace
}  // namespace cairn::launch
