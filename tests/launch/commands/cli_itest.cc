// Runs the golden command-line cases of tests/golden/cli: each *.case file is one test.
//
//   case    = { "#" comment line } { section }
//   section = "== " title, then lines up to the next section
//   titles  : "file NAME"    a file that is there when the command runs
//             "run"          the command, for /bin/sh, in a fresh folder; `cairn` is the program,
//             $SOURCE the folder of the sources
//             "exit"         the expected exit code
//             "stdout", "stderr"   expected output; a section that is left out means none
//   In expected output "*" stands for any characters of a line, a line "..." for any lines.
//   A section's lines lose a leading "\", so that a line may begin with "==".
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "common/io/file.h"

namespace cairn {
namespace {

using Lines = std::vector<std::string>;

Lines LinesOf(const std::string& text) {
  Lines lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

struct Case {
  std::map<std::string, std::string> files;
  std::string run;
  int exit_code = 0;
  Lines out;
  Lines err;
};

Result<Case> ReadCase(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  Case result;
  std::map<std::string, std::string> sections;
  std::string* section = nullptr;
  for (const std::string& line : LinesOf(text)) {
    if (line.starts_with("== ")) {
      section = &sections[line.substr(3)];
    } else if (section != nullptr) {
      StrAppend(*section, line.starts_with('\\') ? line.substr(1) : line, "\n");
    } else if (!line.empty() && !line.starts_with('#')) {
      return absl::InvalidArgumentError(StrCat(path, ": text before the first section"));
    }
  }
  for (const auto& [title, body] : sections) {
    if (title.starts_with("file ")) {
      result.files[title.substr(5)] = body;
    } else if (title == "run") {
      result.run = body;
    } else if (title == "exit") {
      result.exit_code = std::atoi(body.c_str());
    } else if (title == "stdout") {
      result.out = LinesOf(body);
    } else if (title == "stderr") {
      result.err = LinesOf(body);
    } else {
      return absl::InvalidArgumentError(StrCat(path, ": no section is called \"", title, "\""));
    }
  }
  if (result.run.empty() || sections.count("exit") == 0) {
    return absl::InvalidArgumentError(StrCat(path, ": needs \"== run\" and \"== exit\""));
  }
  return result;
}

// "*" in the pattern stands for any characters.
bool LineMatches(std::string_view pattern, std::string_view line) {
  const std::size_t star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == line;
  if (!line.starts_with(pattern.substr(0, star))) return false;
  const std::string_view rest = pattern.substr(star + 1);
  for (std::size_t i = star; i <= line.size(); ++i) {
    if (LineMatches(rest, line.substr(i))) return true;
  }
  return false;
}

bool LinesMatch(const Lines& patterns, std::size_t p, const Lines& lines, std::size_t l) {
  if (p == patterns.size()) return l == lines.size();
  if (patterns[p] == "...") {
    for (std::size_t skip = l; skip <= lines.size(); ++skip) {
      if (LinesMatch(patterns, p + 1, lines, skip)) return true;
    }
    return false;
  }
  return l < lines.size() && LineMatches(patterns[p], lines[l]) &&
         LinesMatch(patterns, p + 1, lines, l + 1);
}

std::string Joined(const Lines& lines) {
  std::string text;
  for (const std::string& line : lines) StrAppend(text, line, "\n");
  return text;
}

std::vector<std::string> CaseNames() {
  std::vector<std::string> names;
  const Result<std::vector<std::string>> files = ListFolder(CAIRN_CASES, ListMode::kEntries);
  if (!files.ok()) return names;
  for (const std::string& file : *files) {
    if (file.ends_with(".case")) names.push_back(file.substr(0, file.size() - 5));
  }
  return names;
}

class Cli : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    std::string pattern = JoinPath(testing::TempDir(), "cairn_cli_XXXXXX");
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { EXPECT_TRUE(RemoveTree(folder_).ok()); }

  // Exit code of the command, run in a folder of its own beside its output.
  int Run(const std::string& command) {
    const std::string script =
        StrCat("cairn() { '", CAIRN_BINARY, "' \"$@\"; }\nSOURCE='", CAIRN_SOURCE, "'\n", command);
    EXPECT_TRUE(WriteFileAtomically(JoinPath(folder_, "script"), script).ok());
    const int status = std::system(
        StrCat("cd '", folder_, "/work' && /bin/sh ../script </dev/null", " >../stdout 2>../stderr")
            .c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  Lines Output(std::string_view name) {
    const Result<std::string> text = ReadFile(JoinPath(folder_, name));
    EXPECT_TRUE(text.ok()) << text.status();
    return text.ok() ? LinesOf(*text) : Lines();
  }
  std::string folder_;
};

TEST_P(Cli, BehavesAsWritten) {
  const Result<Case> golden = ReadCase(JoinPath(CAIRN_CASES, GetParam() + ".case"));
  ASSERT_TRUE(golden.ok()) << golden.status();
  ASSERT_TRUE(MakeFolders(JoinPath(folder_, "work")).ok());
  for (const auto& [name, content] : golden->files) {
    const std::string path = StrCat(folder_, "/work/", name);
    ASSERT_TRUE(MakeFolders(FolderOf(path)).ok());
    ASSERT_TRUE(WriteFileAtomically(path, content).ok());
  }
  EXPECT_EQ(Run(golden->run), golden->exit_code);
  const Lines out = Output("stdout");
  const Lines err = Output("stderr");
  EXPECT_TRUE(LinesMatch(golden->out, 0, out, 0)) << "expected stdout:\n"
                                                  << Joined(golden->out) << "got:\n"
                                                  << Joined(out);
  EXPECT_TRUE(LinesMatch(golden->err, 0, err, 0)) << "expected stderr:\n"
                                                  << Joined(golden->err) << "got:\n"
                                                  << Joined(err);
}

INSTANTIATE_TEST_SUITE_P(Golden, Cli, testing::ValuesIn(CaseNames()),
                         [](const auto& instance) { return instance.param; });

TEST(CliCases, AreThere) { EXPECT_GE(CaseNames().size(), 15u); }

TEST(CliCases, WildcardsMatchWhatTheySay) {
  EXPECT_TRUE(LineMatches("a*c", "abc"));
  EXPECT_TRUE(LineMatches("a*c", "ac"));
  EXPECT_TRUE(LineMatches("*", ""));
  EXPECT_TRUE(LineMatches("a*b*c", "a-b-b-c"));
  EXPECT_FALSE(LineMatches("a*c", "abd"));
  EXPECT_FALSE(LineMatches("abc", "abcd"));
  EXPECT_TRUE(LinesMatch({"a", "...", "b"}, 0, {"a", "b"}, 0));
  EXPECT_TRUE(LinesMatch({"a", "...", "b"}, 0, {"a", "x", "y", "b"}, 0));
  EXPECT_FALSE(LinesMatch({"a", "...", "b"}, 0, {"a", "x"}, 0));
  EXPECT_FALSE(LinesMatch({}, 0, {"a"}, 0));
}

}  // namespace
}  // namespace cairn
