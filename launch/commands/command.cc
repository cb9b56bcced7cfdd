#include "launch/commands/command.h"

namespace cairn::launch {

int RunCairn(int, char**) { return 0; }

}  // namespace cairn::launch
