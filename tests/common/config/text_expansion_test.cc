#include "common/config/text_expansion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

namespace cairn {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(ExpandRange, GivesEachText) {
  EXPECT_THAT(ExpandRange("C{1..3}").value(), ElementsAre("C1", "C2", "C3"));
  EXPECT_THAT(ExpandRange("{9..11}_x").value(), ElementsAre("9_x", "10_x", "11_x"));
  EXPECT_THAT(ExpandRange("d{08..10}").value(), ElementsAre("d08", "d09", "d10"));
  EXPECT_THAT(ExpandRange("d{0..1}").value(), ElementsAre("d0", "d1"));
  EXPECT_THAT(ExpandRange("d{8..010}").value(), ElementsAre("d008", "d009", "d010"));
  EXPECT_THAT(ExpandRange("{5..5}").value(), ElementsAre("5"));
}

TEST(ExpandRange, LeavesWhatIsNoRange) {
  for (const char* text : {"", "C1", "{", "}", "{}", "{..}", "{1..}", "{..2}", "{1.2}", "{a..b}",
                           "{-1..2}", "{1..2", "1..2", "{1...2}", "${X}"}) {
    EXPECT_THAT(ExpandRange(text).value(), ElementsAre(text));
  }
  EXPECT_THAT(ExpandRange("{{1..2}}").value(), ElementsAre("{1}", "{2}"));
}

TEST(ExpandRange, RefusesWhatCannotBeMeant) {
  for (const char* text : {"C{3..1}", "a{1..2}b{1..2}", "C{1..100001}",
                           "C{0..18446744073709551615}", "C{1..99999999999999999999999}"}) {
    const Status status = ExpandRange(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
  }
  EXPECT_EQ(ExpandRange("C{1..100000}").value().size(), 100000u);
}

TEST(ExpandEnvironment, ReplacesVariables) {
  ASSERT_EQ(::setenv("CAIRN_TEST_A", "alpha", 1), 0);
  ASSERT_EQ(::setenv("CAIRN_TEST_B", "", 1), 0);
  EXPECT_EQ(ExpandEnvironment("").value(), "");
  EXPECT_EQ(ExpandEnvironment("no $variable {here} $").value(), "no $variable {here} $");
  EXPECT_EQ(ExpandEnvironment("${CAIRN_TEST_A}/x").value(), "alpha/x");
  EXPECT_EQ(ExpandEnvironment("${CAIRN_TEST_A}${CAIRN_TEST_A}").value(), "alphaalpha");
  EXPECT_EQ(ExpandEnvironment("a${CAIRN_TEST_B}b").value(), "ab");
}

TEST(ExpandEnvironment, DataFolderHasADefault) {
  const char* before = std::getenv("CAIRN_DATA");
  const std::string kept = before == nullptr ? "" : before;
  ASSERT_EQ(::unsetenv("CAIRN_DATA"), 0);
  EXPECT_EQ(ExpandEnvironment("${CAIRN_DATA}/adult").value(), "../shared/data/adult");
  ASSERT_EQ(::setenv("CAIRN_DATA", "/data", 1), 0);
  EXPECT_EQ(ExpandEnvironment("${CAIRN_DATA}/adult").value(), "/data/adult");
  if (before == nullptr) {
    ::unsetenv("CAIRN_DATA");
  } else {
    ::setenv("CAIRN_DATA", kept.c_str(), 1);
  }
}

TEST(ExpandEnvironment, UnknownOrUnclosedIsAnError) {
  ASSERT_EQ(::unsetenv("CAIRN_TEST_C"), 0);
  EXPECT_THAT(std::string(ExpandEnvironment("a/${CAIRN_TEST_C}").status().message()),
              HasSubstr("\"CAIRN_TEST_C\" is not set"));
  EXPECT_FALSE(ExpandEnvironment("${CAIRN_TEST_C").ok());
  EXPECT_FALSE(ExpandEnvironment("${}").ok());
}

}  // namespace
}  // namespace cairn
