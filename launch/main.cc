#include "launch/commands/command.h"

int main(int argc, char** argv) { return cairn::launch::RunCairn(argc, argv); }
