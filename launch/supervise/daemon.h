// Running in the background, in a session of its own.
#pragma once

#include <functional>
#include <ostream>
#include <string>

#include "common/base/status.h"

namespace cairn::launch {

// Runs `body` in a daemon: no controlling terminal, stdin from /dev/null, stdout and stderr
// appended to `log`. The working directory stays. `body` gets a function to call once it is up, and
// returns the daemon's exit code.
// In the caller: 0 as soon as `body` says that it is up; when it ends before that, its exit code,
// after its part of the log was copied to `messages`. Unavailable when there can be no daemon.
// The process must have no other threads.
Result<int> RunDaemon(const std::string& log,
                      const std::function<int(const std::function<void()>& is_up)>& body,
                      std::ostream& messages);

}  // namespace cairn::launch
