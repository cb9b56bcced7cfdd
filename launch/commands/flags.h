// Command-line flags. Flags are gflags, one namespace for the whole program: those that several
// commands take are defined here, a command's own ones in its file. A command names the flags it
// takes; all others, also those of libraries, are unknown to it.
//
//   constexpr Usage kUsage = {.command = "cairn train", .examples = "  cairn train --config=...\n",
//                             ...};
//   int RunTrain(int argc, char** argv) {
//     if (const std::optional<int> code = ParseFlags(kUsage, &argc, &argv)) return *code;
//     ...
//   }
//
// Flags are read before any thread starts; nothing here is thread-safe.
#pragma once

#include <gflags/gflags_declare.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "common/base/status.h"

DECLARE_string(config);   // job file
DECLARE_string(run_dir);  // "" when not given: the command chooses
DECLARE_string(format);   // of results: table, json, csv
DECLARE_int32(ps);
DECLARE_int32(workers);
DECLARE_bool(verbose);  // taken by every command without being named

namespace cairn::launch {

struct Usage {
  std::string_view command;    // "cairn train"
  std::string_view examples;   // lines that begin with two spaces, each a whole command
  std::string_view summary;    // what the command does; lines
  std::string_view arguments;  // of the usage line, such as "CHECKPOINT VERB"; "": takes none
  std::span<const std::string_view> flags;  // names, in the order of the help; "set" for --set
};

// Reads the flags of argv[1..] into their variables; argv is left with argv[0] and what is no flag.
// Empty: go on. Otherwise the exit code to return at once: 0 after --help (on stdout), 2 after an
// unknown flag, a bad value or an argument that the command does not take (on stderr).
// --a-b and --a_b are the same flag, one dash does as well; values follow "=" or as the next word;
// booleans take none, or true or false, and have a form --no...; what follows "--" is no flag.
// In the description of a flag, a first word in capitals before a colon names its value in the
// help: "JOB: the job file".
std::optional<int> ParseFlags(const Usage& usage, int* argc, char*** argv);

// Values of all --set flags of the last ParseFlags, in order.
std::span<const std::string> Overrides();

// The override that makes `files` (names or globs, with commas between them) the test split.
std::string InputOverride(std::string_view files);

// Says what is wrong with the command line, on stderr. Returns exit code 2.
int UsageError(const Usage& usage, std::string_view message);

// Prints the error's message on stderr and returns its exit code (common/base/status.h).
int ReportError(const Status& status);

// Logging to stderr, warnings and worse unless --verbose. Called once, by RunCairn.
void InitLogging();

}  // namespace cairn::launch
