#include "launch/supervise/daemon.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>

#include "common/io/file.h"
#include "launch/supervise/process.h"
#include "tests/launch/supervise/fake_cluster.h"

namespace cairn::launch {
namespace {

using testing::HasSubstr;

class DaemonTest : public testing::Test {
 protected:
  DaemonTest() {
    char folder[] = "/tmp/cairn_daemon_XXXXXX";
    EXPECT_NE(mkdtemp(folder), nullptr);
    folder_ = folder;
    log_ = folder_ + "/log";
  }
  ~DaemonTest() override { EXPECT_TRUE(RemoveTree(folder_).ok()); }
  std::string folder_;
  std::string log_;
  std::ostringstream messages_;
};

TEST_F(DaemonTest, RunsOnInASessionOfItsOwnOnceItIsUp) {
  const std::string pid_file = folder_ + "/pid";
  const Result<int> code = RunDaemon(
      log_,
      [&](const std::function<void()>& is_up) {
        std::cerr << "working" << std::endl;
        std::ofstream(pid_file) << getpid() << ' ' << getsid(0);
        is_up();
        for (;;) pause();
        return 0;
      },
      messages_);
  ASSERT_TRUE(code.ok()) << code.status();
  EXPECT_EQ(*code, 0);
  pid_t pid = 0, session = 0;
  std::ifstream(pid_file) >> pid >> session;
  ASSERT_GT(pid, 1);
  EXPECT_NE(session, getsid(0));
  EXPECT_NE(session, pid);  // no session leader: it cannot get a terminal
  EXPECT_NE(ProcessStartTicks(pid), 0u);
  EXPECT_EQ(ReadFile(log_).value_or(""), "working\n");
  EXPECT_EQ(messages_.str(), "");
  kill(pid, SIGKILL);
  EXPECT_TRUE(Eventually([&] { return ProcessStartTicks(pid) == 0; }));
}

TEST_F(DaemonTest, FailureBeforeItIsUpIsTheCallers) {
  std::ofstream(log_) << "of an earlier run\n";
  const Result<int> code = RunDaemon(
      log_,
      [](const std::function<void()>&) {
        std::cerr << "no such job" << std::endl;
        return 2;
      },
      messages_);
  ASSERT_TRUE(code.ok());
  EXPECT_EQ(*code, 2);
  EXPECT_EQ(messages_.str(), "no such job\n");
}

TEST_F(DaemonTest, CrashBeforeItIsUpIsAnInternalError) {
  const Result<int> code = RunDaemon(
      log_, [](const std::function<void()>&) { return raise(SIGKILL); }, messages_);
  ASSERT_TRUE(code.ok());
  EXPECT_EQ(*code, 1);
}

TEST_F(DaemonTest, LogThatCannotBeWrittenIsNamed) {
  const Result<int> code = RunDaemon(
      folder_ + "/no/log", [](const std::function<void()>&) { return 0; }, messages_);
  EXPECT_THAT(std::string(code.status().message()), HasSubstr("/no/log"));
}

}  // namespace
}  // namespace cairn::launch
