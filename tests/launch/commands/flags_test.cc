#include "launch/commands/flags.h"

#include <gflags/gflags.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

DEFINE_int32(flags_test_count, 7, "COUNT: how many");
DEFINE_bool(flags_test_fast, false, "be quick");
DEFINE_string(flags_test_other, "", "a flag of another command");

namespace cairn::launch {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

constexpr std::string_view kNames[] = {"config", "set", "flags_test_count", "flags_test_fast"};
constexpr Usage kUsage = {.command = "cairn try",
                          .examples = "  cairn try --config=job FILE\n",
                          .summary = "Tries.\n",
                          .arguments = "FILE",
                          .flags = kNames};

struct Outcome {
  std::optional<int> code;
  std::vector<std::string> positional;
  std::string out;
  std::string err;
};

// Parses and restores all flags.
Outcome Parse(std::vector<std::string> words, const Usage& usage = kUsage) {
  google::FlagSaver saver;
  words.insert(words.begin(), "try");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  int argc = static_cast<int>(words.size());
  char** args = argv.data();
  Outcome outcome;
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  outcome.code = ParseFlags(usage, &argc, &args);
  outcome.out = testing::internal::GetCapturedStdout();
  outcome.err = testing::internal::GetCapturedStderr();
  if (!outcome.code.has_value()) outcome.positional.assign(args + 1, args + argc);
  return outcome;
}

class FlagsTest : public testing::Test {
 protected:
  // Parses and keeps the values for the rest of the test.
  std::vector<std::string> Accept(std::vector<std::string> words) {
    words.insert(words.begin(), "try");
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    int argc = static_cast<int>(words.size());
    char** args = argv.data();
    EXPECT_FALSE(ParseFlags(kUsage, &argc, &args).has_value());
    return {args + 1, args + argc};
  }
  google::FlagSaver saver_;
};

TEST_F(FlagsTest, ValuesFollowEqualsOrTheNextWord) {
  Accept({"--config=a=b", "--flags_test_count", "3"});
  EXPECT_EQ(FLAGS_config, "a=b");
  EXPECT_EQ(FLAGS_flags_test_count, 3);
  Accept({"--config="});
  EXPECT_EQ(FLAGS_config, "");
}

TEST_F(FlagsTest, DashesAndUnderscoresAreTheSame) {
  Accept({"--flags-test-count=4"});
  EXPECT_EQ(FLAGS_flags_test_count, 4);
  Accept({"--flags_test-count", "-5"});
  EXPECT_EQ(FLAGS_flags_test_count, -5);
  Accept({"-flags_test_count=6"});
  EXPECT_EQ(FLAGS_flags_test_count, 6);
}

TEST_F(FlagsTest, BooleansNeedNoValue) {
  EXPECT_THAT(Accept({"--flags_test_fast", "file"}), ElementsAre("file"));
  EXPECT_TRUE(FLAGS_flags_test_fast);
  Accept({"--flags_test_fast=false"});
  EXPECT_FALSE(FLAGS_flags_test_fast);
  Accept({"--flags_test_fast=true"});
  Accept({"--noflags_test_fast"});
  EXPECT_FALSE(FLAGS_flags_test_fast);
  Accept({"--flags-test-fast"});
  Accept({"--no-flags-test-fast"});
  EXPECT_FALSE(FLAGS_flags_test_fast);
}

TEST_F(FlagsTest, OverridesAddUpAndStartAfresh) {
  Accept({"--set", "a.b=1", "--set=c={d: 2}", "--set", "e="});
  EXPECT_THAT(Overrides(), ElementsAre("a.b=1", "c={d: 2}", "e="));
  Accept({});
  EXPECT_THAT(Overrides(), IsEmpty());
}

TEST_F(FlagsTest, WhatIsNoFlagIsGivenBack) {
  EXPECT_THAT(Accept({"a", "--flags_test_count=1", "-", "-3", "b"}),
              ElementsAre("a", "-", "-3", "b"));
  EXPECT_THAT(Accept({"a", "--", "--config=x", "--"}), ElementsAre("a", "--config=x", "--"));
  EXPECT_EQ(FLAGS_config, "");
}

TEST(Flags, UnknownOnesAreErrorsWithASuggestion) {
  const Outcome outcome = Parse({"--confg=x"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(outcome.err,
            "cairn try: no flag \"--confg\"; did you mean \"--config\"?\n"
            "`cairn try --help` shows examples and flags.\n");
  EXPECT_THAT(Parse({"--flags-test-cuont=3"}).err, HasSubstr("\"--flags_test_count\"?"));
  EXPECT_EQ(Parse({"---config=x"}).code, 2);
  EXPECT_EQ(Parse({"--="}).code, 2);
  EXPECT_EQ(Parse({"--no"}).code, 2);
  EXPECT_EQ(Parse({"--noconfig"}).code, 2) << "not a boolean";
}

TEST(Flags, OfOtherCommandsAndLibrariesAreUnknown) {
  for (const char* flag : {"--flags_test_other=x", "--minloglevel=0", "--flagfile=/etc/passwd",
                           "--fromenv=config", "--helpfull", "--tab_completion_word=x"}) {
    EXPECT_EQ(Parse({flag}).code, 2) << flag;
  }
}

TEST(Flags, BadValues) {
  EXPECT_THAT(Parse({"--flags_test_count=many"}).err,
              HasSubstr("--flags_test_count cannot be \"many\": it takes a value of type int32"));
  EXPECT_EQ(Parse({"--flags_test_count=99999999999"}).code, 2);
  EXPECT_EQ(Parse({"--flags_test_fast=perhaps"}).code, 2);
  EXPECT_THAT(Parse({"--config"}).err, HasSubstr("--config needs a value"));
  EXPECT_THAT(Parse({"--config", "--flags_test_fast"}).err, HasSubstr("--config needs a value"));
}

TEST(Flags, ArgumentsOnlyWhereTheyAreTaken) {
  constexpr Usage kNone = {.command = "cairn none",
                           .examples = "  cairn none\n",
                           .summary = "Nothing.\n",
                           .arguments = "",
                           .flags = {}};
  EXPECT_FALSE(Parse({}, kNone).code.has_value());
  const Outcome outcome = Parse({"file"}, kNone);
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, StartsWith("cairn none: cannot make sense of \"file\""));
}

TEST(Flags, HelpStartsWithExamplesAndListsOwnFlagsOnly) {
  for (const char* flag : {"--help", "-help", "-h"}) {
    const Outcome outcome = Parse({"x", flag, "--nonsense"});
    EXPECT_EQ(outcome.code, 0);
    EXPECT_EQ(outcome.err, "");
    EXPECT_EQ(outcome.out,
              "Examples:\n"
              "  cairn try --config=job FILE\n"
              "\n"
              "Usage: cairn try FILE [flags]\n"
              "Tries.\n"
              "\n"
              "Flags:\n"
              "  --config=JOB            the job file\n"
              "  --set=PATH=VALUE        overrides a field of the job; may be given several times\n"
              "  --flags_test_count=COUNT  how many (default: 7)\n"
              "  --flags_test_fast       be quick (default: false)\n"
              "  --verbose               log what happens inside, on stderr (default: false)\n"
              "  --help                  print this\n");
  }
}

}  // namespace
}  // namespace cairn::launch
