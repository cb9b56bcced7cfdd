#include "launch/supervise/failure_report.h"

#include <glog/logging.h>

#include "launch/supervise/log_follower.h"
#include "launch/text/human.h"
#include "launch/text/table.h"

namespace cairn::launch {
namespace {

constexpr std::size_t kLogLines = 20;

// Whether the way it ended says that something else was wrong.
bool IsConsequence(const Failure& failure) {
  if (!failure.what.empty() || failure.exit.signal != 0) return false;
  return failure.exit.code == 138 || failure.name == "coordinator";
}

std::string How(const Failure& failure) {
  return failure.what.empty() ? DescribeExit(failure.exit) : failure.what;
}

}  // namespace

std::size_t FirstFailure(const std::vector<Failure>& failures) {
  CHECK(!failures.empty());
  for (std::size_t i = 0; i < failures.size(); ++i) {
    if (!IsConsequence(failures[i])) return i;
  }
  // All are of that kind. A worker or server that met an error told the coordinator before it left.
  for (std::size_t i = 0; i < failures.size(); ++i) {
    if (failures[i].name != "coordinator") return i;
  }
  return 0;
}

std::string FailureLine(const Failure& failure) {
  return StrCat(failure.name, " (pid ", failure.pid, ") ", How(failure), " after ",
                HumanSeconds(failure.ran_s));
}

std::string FailureReport(const std::vector<Failure>& failures) {
  const std::size_t first = FirstFailure(failures);
  Table table({{"time", true}, {"process"}, {"pid", true}, {"ran", true}, {"ended"}, {""}});
  for (std::size_t i = 0; i < failures.size(); ++i) {
    const Failure& failure = failures[i];
    table.AddRow({StrCat("+", HumanSeconds(failure.at_s)), failure.name, StrCat(failure.pid),
                  HumanSeconds(failure.ran_s), How(failure), i == first ? "<- first failure" : ""});
  }
  std::string text = table.Aligned("  ");
  const Failure& failure = failures[first];
  const std::vector<std::string> lines = LastLines(failure.log, failure.log_offset, kLogLines);
  if (lines.empty()) {
    StrAppend(text, "the log of ", failure.name, " is empty: ", failure.log, "\n");
    return text;
  }
  StrAppend(text, "last lines of ", failure.log, ":\n");
  for (const std::string& line : lines) StrAppend(text, "  | ", line, "\n");
  return text;
}

}  // namespace cairn::launch
