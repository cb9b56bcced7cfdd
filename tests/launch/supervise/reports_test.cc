// Logs, states and failure reports: what the supervisor reads and writes without processes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "common/io/file.h"
#include "launch/supervise/cluster_state.h"
#include "launch/supervise/failure_report.h"
#include "launch/supervise/log_follower.h"

namespace cairn::launch {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class ReportsTest : public testing::Test {
 protected:
  ReportsTest() {
    char folder[] = "/tmp/cairn_reports_XXXXXX";
    EXPECT_NE(mkdtemp(folder), nullptr);
    folder_ = folder;
    log_ = folder_ + "/log";
  }
  ~ReportsTest() override { EXPECT_TRUE(RemoveTree(folder_).ok()); }
  void Append(const std::string& text) { std::ofstream(log_, std::ios::app) << text; }
  std::string folder_;
  std::string log_;
};

TEST_F(ReportsTest, FollowerGivesEachCompleteLineOnce) {
  LogFollower follower(log_, 4);
  EXPECT_THAT(follower.NewLines(), IsEmpty());
  Append("old\none\ntw");
  EXPECT_THAT(follower.NewLines(), ElementsAre("one"));
  EXPECT_THAT(follower.NewLines(), IsEmpty());
  Append("o\n\nrest");
  EXPECT_THAT(follower.NewLines(), ElementsAre("two", ""));
  EXPECT_EQ(follower.Rest(), "rest");
}

TEST_F(ReportsTest, LastLinesReadsTheEndOnly) {
  Append("before\n");
  const std::uint64_t offset = *FileSize(log_);
  EXPECT_THAT(LastLines(log_, offset, 3), IsEmpty());
  Append("a\nb\n" + std::string(500, 'x'));
  EXPECT_THAT(LastLines(log_, offset, 2), ElementsAre("b", std::string(400, 'x') + " ..."));
  EXPECT_THAT(LastLines(log_, offset, 9).front(), "a");
  std::string big;
  for (int i = 0; i < 100'000; ++i) big += "line " + std::to_string(i) + "\n";
  Append("\n" + big);
  EXPECT_THAT(LastLines(log_, 0, 2), ElementsAre("line 99998", "line 99999"));
  EXPECT_THAT(LastLines(folder_ + "/none", 0, 2), IsEmpty());
}

TEST(ClassifyLogLine, KeepsDetailInTheLog) {
  EXPECT_EQ(ClassifyLogLine("RESULT auc=1"), LogLine::kResult);
  EXPECT_EQ(ClassifyLogLine("epoch 1/5 rows 100"), LogLine::kProgress);
  EXPECT_EQ(ClassifyLogLine("I1121 07:53:50.123456  4711 a.cc:12] x"), LogLine::kDetail);
  EXPECT_EQ(ClassifyLogLine("I20261121 07:53:50.123456 4711 a.cc:12] x"), LogLine::kDetail);
  EXPECT_EQ(ClassifyLogLine("W1121 07:53:50.123456  4711 a.cc:12] x"), LogLine::kProgress);
  EXPECT_EQ(ClassifyLogLine("I am not a log line"), LogLine::kProgress);
  EXPECT_EQ(ClassifyLogLine("---- 2026-11-21 coordinator starts: cairn"), LogLine::kDetail);
  EXPECT_EQ(ClassifyLogLine(""), LogLine::kDetail);
}

Failure Ended(const std::string& name, ProcessExit exit) {
  Failure failure;
  failure.name = name;
  failure.pid = 7;
  failure.exit = exit;
  return failure;
}

TEST(FirstFailure, IsTheEarliest) {
  EXPECT_EQ(FirstFailure({Ended("ps 0", {.signal = SIGKILL}), Ended("worker 1", {.code = 1})}), 0u);
  EXPECT_EQ(FirstFailure({Ended("coordinator", {.code = 2})}), 0u);
}

TEST(FirstFailure, LookedForBehindThoseThatGaveUpOnAPeer) {
  EXPECT_EQ(FirstFailure({Ended("worker 0", {.code = 138}), Ended("ps 1", {.signal = SIGSEGV})}),
            1u);
  EXPECT_EQ(FirstFailure({Ended("coordinator", {.code = 2}), Ended("worker 1", {.code = 2})}), 1u);
  EXPECT_EQ(FirstFailure({Ended("coordinator", {.code = 138}), Ended("worker 1", {.code = 138})}),
            1u);
  EXPECT_EQ(
      FirstFailure({Ended("coordinator", {.signal = SIGKILL}), Ended("worker 1", {.code = 138})}),
      0u);
}

TEST_F(ReportsTest, FailureReportShowsTheTableAndTheLog) {
  Append("one\ntwo\n");
  Failure first = Ended("ps 1", {.signal = SIGKILL});
  first.log = log_;
  first.at_s = 3.25;
  const std::string text = FailureReport({first, Ended("worker 0", {.code = 138})});
  EXPECT_THAT(text, HasSubstr("ps 1"));
  EXPECT_THAT(text, HasSubstr("killed by SIGKILL (kill -9, or the system ran out of memory)"));
  EXPECT_THAT(text, HasSubstr("worker 0"));
  EXPECT_THAT(text, HasSubstr("last lines of " + log_ + ":\n  | one\n  | two\n"));
  first.log = folder_ + "/none";
  EXPECT_THAT(FailureReport({first}), HasSubstr("the log of ps 1 is empty"));
}

TEST_F(ReportsTest, StateIsReadAsItWasWritten) {
  ClusterState state;
  state.state = "running";
  state.job = "odd \"name\"\n";
  state.job_file = "jobs/a.textproto";
  state.run_dir = folder_;
  state.host = "here";
  state.supervisor_pid = 12;
  state.supervisor_start_ticks = 123456789012ull;
  state.coordinator = "127.0.0.1:5";
  state.started_unix_s = 1'800'000'000;
  state.exit_code = 138;
  state.result = "RESULT auc=0.5";
  state.failure = "ps 0 ...";
  state.process = {{"ps", 1, 77, 88, "logs/ps-1.log", 99, "exit code 3", 1.5}};
  ASSERT_TRUE(WriteClusterState(state).ok());
  const Result<ClusterState> read = ReadClusterState(folder_);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(ClusterStateJson(*read), ClusterStateJson(state));
}

TEST_F(ReportsTest, DamagedStateIsDataLoss) {
  EXPECT_EQ(ReadClusterState(folder_).status().code(), absl::StatusCode::kNotFound);
  std::ofstream(folder_ + "/cluster.json") << "{\"format\": 1, ";
  EXPECT_EQ(ReadClusterState(folder_).status().code(), absl::StatusCode::kDataLoss);
  std::ofstream(folder_ + "/cluster.json") << "{}";
  EXPECT_EQ(ReadClusterState(folder_).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace cairn::launch
