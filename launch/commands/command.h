// The subcommands of `cairn`. Each is one file of this folder with a function Run...; the catalogue
// is command.cc.
#pragma once

#include <span>
#include <string_view>

namespace cairn::launch {

struct Command {
  std::string_view name;
  std::string_view summary;  // one line for `cairn --help`
  // argv as main() gets it, without the program's name but with the subcommand's as argv[0].
  // Returns the exit code.
  int (*run)(int argc, char** argv);
};

// Picks the subcommand from argv[1], runs it and returns its exit code; prints help for none,
// "help" or "--help".
int RunCairn(int argc, char** argv);

}  // namespace cairn::launch
