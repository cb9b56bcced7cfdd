#include "launch/commands/command.h"

#include <google/protobuf/stubs/common.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "common/base/str_cat.h"
#include "common/config/suggest.h"
#include "launch/commands/commands.h"
#include "launch/commands/flags.h"

namespace cairn::launch {
namespace {

constexpr Command kCommands[] = {
    // sorted by name
    {"cluster", "run a job as processes, look at it, stop it", &RunCluster},
    {"config", "check or print a job file; print every default", &RunConfig},
    {"coordinator", "cluster role: hands out rows, runs checkpoints", &RunCoordinator},
    {"data", "make synthetic click data", &RunData},
    {"eval", "AUC and log loss of a checkpoint on a data set", &RunEval},
    {"inspect", "look into a checkpoint, or verify it", &RunInspect},
    {"predict", "probabilities of rows, by a checkpoint", &RunPredict},
    {"ps", "cluster role: a parameter server", &RunPs},
    {"train", "train a job in this process", &RunTrain},
    {"worker", "cluster role: reads, computes, pulls and pushes", &RunWorker},
};

void PrintHelp() {
  std::cout
      << "Examples:\n"
         "  cairn config check --config=launch/jobs/dlf_synth.textproto\n"
         "  cairn config defaults\n"
         "\n"
         "Usage: cairn COMMAND [flags]\n"
         "Trains click-through-rate models with large embedding tables, in one process or on\n"
         "parameter servers.\n"
         "\n"
         "Commands:\n";
  for (const Command& command : kCommands) {
    constexpr std::size_t kColumn = 14;
    std::string name(command.name);
    name.resize(std::max(kColumn, name.size() + 1), ' ');
    std::cout << "  " << name << command.summary << "\n";
  }
  std::cout
      << "\n`cairn COMMAND --help` shows a command's examples and flags; `cairn --version`.\n";
}

void PrintVersion() {
  std::cout << "cairn " << CAIRN_VERSION << "\ncompiler " << __VERSION__ << "\nprotobuf "
            << google::protobuf::internal::VersionString(GOOGLE_PROTOBUF_VERSION) << "\n";
}

int RunCommand(std::string_view name, int argc, char** argv) {
  std::vector<std::string> names;
  for (const Command& command : kCommands) {
    if (command.name == name) return command.run(argc, argv);
    names.emplace_back(command.name);
  }
  std::cerr << "cairn: no command \"" << name << "\"" << DidYouMean(name, names)
            << "\n`cairn --help` lists the commands.\n";
  return 2;
}

int Dispatch(int argc, char** argv) {
  const std::string_view name = argc > 1 ? argv[1] : "--help";
  if (name == "help" && argc > 2) {
    char help[] = "--help";
    char* arguments[] = {argv[2], help, nullptr};
    return RunCommand(argv[2], 2, arguments);
  }
  if (name == "help" || name == "--help" || name == "-help" || name == "-h") {
    PrintHelp();
    return 0;
  }
  if (name == "version" || name == "--version" || name == "-version") {
    PrintVersion();
    return 0;
  }
  return RunCommand(name, argc - 1, argv + 1);
}

// Whether nobody reads the other end of standard output any more.
bool ReaderIsGone() {
  pollfd out{STDOUT_FILENO, POLLOUT, 0};
  return ::poll(&out, 1, 0) == 1 && (out.revents & (POLLERR | POLLHUP)) != 0;
}

// A full disk behind "> file" is an error; a closed pipe ("| head") is not.
int FinishOutput(int code) {
  std::cout.flush();
  const bool failed = std::fflush(stdout) != 0 || std::ferror(stdout) != 0 || !std::cout;
  if (!failed || code != 0 || ReaderIsGone()) return code;
  constexpr int kTryAgain = 138;
  std::cerr << "cairn: cannot write to standard output\n";
  return kTryAgain;
}

}  // namespace

std::span<const Command> Commands() { return kCommands; }

int RunCairn(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  InitLogging();
  return FinishOutput(Dispatch(argc, argv));
}

}  // namespace cairn::launch
