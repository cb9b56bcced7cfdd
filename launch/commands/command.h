// The subcommands of `cairn`. Each is one file of this folder with a function Run... declared in
// commands.h; the catalogue is command.cc.
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

// Sorted by name.
std::span<const Command> Commands();

// Picks the subcommand from argv[1], runs it and returns its exit code. Prints help for none,
// "help" or "--help" (0), the version for "--version" (0); an unknown one is an error (2). Standard
// output that cannot be written is an error (138), but a reader that has seen enough is not.
int RunCairn(int argc, char** argv);

}  // namespace cairn::launch
