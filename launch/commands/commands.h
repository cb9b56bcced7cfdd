// The functions behind the subcommands: one file of this folder each, one line here, one line of
// the catalogue in command.cc. argc and argv are those of main() from the subcommand's name on; the
// result is the exit code.
#pragma once

namespace cairn::launch {

int RunCluster(int argc, char** argv);
int RunConfig(int argc, char** argv);
int RunCoordinator(int argc, char** argv);
int RunData(int argc, char** argv);
int RunEval(int argc, char** argv);
int RunInspect(int argc, char** argv);
int RunPredict(int argc, char** argv);
int RunPs(int argc, char** argv);
int RunTrain(int argc, char** argv);
int RunWorker(int argc, char** argv);

}  // namespace cairn::launch
