// Work in a child process. The test program itself never opens a database: its threads would be
// missing in the children.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>

#include <gtest/gtest.h>

namespace cairn::ps {

// Runs `body` in a child and returns how it ended: true when it returned without a failed
// expectation, false when it was killed. Anything else fails the test.
inline bool RunChild(const std::function<void()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    body();
    _exit(testing::Test::HasFailure() ? 9 : 0);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return false;
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "wait status " << status;
  return true;
}

}  // namespace cairn::ps
