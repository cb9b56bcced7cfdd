#include "launch/supervise/process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "common/io/file.h"

namespace cairn::launch {
namespace {

using testing::HasSubstr;

TEST(ShellQuote, QuotesWhatAShellWouldTakeApart) {
  const std::vector<std::string> words = {
      "cairn", "--config=a/b.textproto", "--set", "a=b c", "", "it's", "$HOME"};
  EXPECT_EQ(ShellQuote(words), "cairn --config=a/b.textproto --set 'a=b c' '' 'it'\\''s' '$HOME'");
}

TEST(ProcessName, CoordinatorHasNoIndex) {
  EXPECT_EQ(ProcessName("coordinator", 0), "coordinator");
  EXPECT_EQ(ProcessName("ps", 3), "ps 3");
}

TEST(JobExitCode, KeepsCairnsCodesAndMapsTheRest) {
  EXPECT_EQ(JobExitCode({.code = 2}), 2);
  EXPECT_EQ(JobExitCode({.code = 138}), 138);
  EXPECT_EQ(JobExitCode({.code = 143}), 138);
  EXPECT_EQ(JobExitCode({.code = 99}), 1);
  EXPECT_EQ(JobExitCode({.signal = SIGKILL}), 138);
  EXPECT_EQ(JobExitCode({.signal = SIGSEGV}), 1);
}

class StartProcessTest : public testing::Test {
 protected:
  StartProcessTest() {
    char folder[] = "/tmp/cairn_process_XXXXXX";
    EXPECT_NE(mkdtemp(folder), nullptr);
    folder_ = folder;
  }
  ~StartProcessTest() override { EXPECT_TRUE(RemoveTree(folder_).ok()); }

  ProcessSpec Spec(std::vector<std::string> argv) const {
    return {.role = "ps", .index = 0, .argv = std::move(argv), .log = folder_ + "/log"};
  }
  static ProcessExit WaitFor(pid_t pid) {
    int status = 0;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    return ExitFromWaitStatus(status);
  }
  std::string folder_;
};

TEST_F(StartProcessTest, RunsInItsOwnGroupWithBothStreamsInTheLog) {
  const Result<pid_t> pid =
      StartProcess(Spec({"/bin/sh", "-c", "echo out; echo err >&2; read x || exit 7"}));
  ASSERT_TRUE(pid.ok()) << pid.status();
  EXPECT_NE(getpgid(*pid), getpgrp());
  EXPECT_EQ(WaitFor(*pid).code, 7);  // stdin is empty
  const std::string log = ReadFile(folder_ + "/log").value_or("");
  EXPECT_THAT(log, HasSubstr("ps 0 starts: /bin/sh -c"));
  EXPECT_THAT(log, HasSubstr("\nout\nerr\n"));
}

TEST_F(StartProcessTest, ChildStartsWithDefaultSignals) {
  sigset_t mask, old;
  sigfillset(&mask);
  sigprocmask(SIG_BLOCK, &mask, &old);
  const Result<pid_t> pid = StartProcess(Spec({"/bin/sh", "-c", "kill -TERM $$; sleep 1000"}));
  sigprocmask(SIG_SETMASK, &old, nullptr);
  ASSERT_TRUE(pid.ok()) << pid.status();
  EXPECT_EQ(WaitFor(*pid).signal, SIGTERM);
}

TEST_F(StartProcessTest, NamesAProgramThatIsNotThereOrNoProgram) {
  const Result<pid_t> missing = StartProcess(Spec({folder_ + "/no_such_program"}));
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("no_such_program"));
  const Result<pid_t> folder = StartProcess(Spec({folder_}));
  EXPECT_EQ(folder.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);  // no zombie stays
}

TEST_F(StartProcessTest, NamesALogThatCannotBeWritten) {
  ProcessSpec spec = Spec({"/bin/true"});
  spec.log = folder_ + "/no/such/folder/log";
  EXPECT_THAT(std::string(StartProcess(spec).status().message()), HasSubstr(spec.log));
}

TEST(IsAlive, KnowsAProcessFromALaterOneWithItsPid) {
  const std::uint64_t start = ProcessStartTicks(getpid());
  ASSERT_NE(start, 0u);
  EXPECT_TRUE(IsAlive(getpid(), start));
  EXPECT_FALSE(IsAlive(getpid(), start + 1));
  EXPECT_FALSE(IsAlive(0, 0));
}

TEST(IsAlive, ZombieIsGone) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  siginfo_t info{};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(ProcessStartTicks(child), 0u);
  waitpid(child, nullptr, 0);
}

TEST(WaitUntilGone, ReturnsWhenItIsAndFalseWhenItStays) {
  const pid_t child = fork();
  if (child == 0) {
    for (;;) pause();
  }
  const std::uint64_t start = ProcessStartTicks(child);
  EXPECT_FALSE(WaitUntilGone(child, start, std::chrono::milliseconds(1)));
  kill(child, SIGKILL);
  EXPECT_TRUE(WaitUntilGone(child, start, std::chrono::milliseconds(20'000)));
  waitpid(child, nullptr, 0);
}

}  // namespace
}  // namespace cairn::launch
