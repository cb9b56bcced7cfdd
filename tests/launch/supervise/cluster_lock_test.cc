#include "launch/supervise/cluster_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "common/io/file.h"

namespace cairn::launch {
namespace {

using testing::HasSubstr;

class ClusterLockTest : public testing::Test {
 protected:
  ClusterLockTest() {
    char folder[] = "/tmp/cairn_lock_XXXXXX";
    EXPECT_NE(mkdtemp(folder), nullptr);
    folder_ = folder;
  }
  ~ClusterLockTest() override { EXPECT_TRUE(RemoveTree(folder_).ok()); }
  bool IsHeld() const {
    const auto holder = ClusterLock::Holder(folder_);
    EXPECT_TRUE(holder.ok()) << holder.status();
    return holder.ok() && holder->has_value();
  }
  std::string folder_;
};

TEST_F(ClusterLockTest, SecondTakerIsToldWhoHoldsIt) {
  const auto first = ClusterLock::Take(folder_, "cluster of 2 ps and 3 workers");
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = ClusterLock::Take(folder_, "another");
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists);
  const std::string message(second.status().message());
  EXPECT_THAT(message, HasSubstr(std::to_string(getpid())));
  EXPECT_THAT(message, HasSubstr("cluster of 2 ps and 3 workers"));
  EXPECT_THAT(message, HasSubstr(folder_));
}

TEST_F(ClusterLockTest, IsFreeAfterItsHolder) {
  EXPECT_FALSE(IsHeld());
  {
    const auto lock = ClusterLock::Take(folder_, "one");
    ASSERT_TRUE(lock.ok());
    const auto holder = ClusterLock::Holder(folder_);
    ASSERT_TRUE(holder.ok() && holder->has_value());
    EXPECT_EQ((*holder)->pid, getpid());
    EXPECT_EQ((*holder)->what, "one");
  }
  EXPECT_FALSE(IsHeld());
  EXPECT_TRUE(ClusterLock::Take(folder_, "two").ok());
}

TEST_F(ClusterLockTest, MakesTheFolderAndNamesOneItCannotMake) {
  EXPECT_TRUE(ClusterLock::Take(folder_ + "/a/b", "x").ok());
  EXPECT_FALSE(ClusterLock::Holder(folder_ + "/c")->has_value());
  const auto impossible = ClusterLock::Take("/proc/no_such/run", "x");
  EXPECT_THAT(std::string(impossible.status().message()), HasSubstr("/proc/no_such"));
}

TEST_F(ClusterLockTest, DiesWithItsHolder) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto lock = ClusterLock::Take(folder_, "child");
    if (write(ready[1], "x", 1) != 1) _exit(1);
    for (;;) pause();
  }
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  EXPECT_TRUE(IsHeld());
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_FALSE(IsHeld());
  EXPECT_TRUE(ClusterLock::Take(folder_, "next").ok());
}

TEST_F(ClusterLockTest, IsInheritedByAForkedProcessThatSigns) {
  int go[2], done[2];
  ASSERT_EQ(pipe(go), 0);
  ASSERT_EQ(pipe(done), 0);
  auto lock = ClusterLock::Take(folder_, "daemon");
  ASSERT_TRUE(lock.ok());
  const pid_t child = fork();
  char byte = 'x';
  if (child == 0) {
    if (!(*lock)->Sign().ok() || write(done[1], "x", 1) != 1) _exit(1);
    if (read(go[0], &byte, 1) != 1) _exit(1);
    _exit(0);
  }
  ASSERT_EQ(read(done[0], &byte, 1), 1);
  lock->reset();  // the parent leaves
  const auto holder = ClusterLock::Holder(folder_);
  ASSERT_TRUE(holder.ok() && holder->has_value());
  EXPECT_EQ((*holder)->pid, child);
  ASSERT_EQ(write(go[1], "x", 1), 1);
  waitpid(child, nullptr, 0);
  EXPECT_FALSE(IsHeld());
}

}  // namespace
}  // namespace cairn::launch
