#include "launch/commands/command.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace cairn::launch {
namespace {

TEST(Commands, AreSortedAndDescribed) {
  const auto commands = Commands();
  ASSERT_FALSE(commands.empty());
  for (std::size_t i = 0; i < commands.size(); ++i) {
    EXPECT_FALSE(commands[i].summary.empty()) << commands[i].name;
    EXPECT_NE(commands[i].run, nullptr) << commands[i].name;
    if (i > 0) {
      EXPECT_LT(commands[i - 1].name, commands[i].name);
    }
  }
}

}  // namespace
}  // namespace cairn::launch
