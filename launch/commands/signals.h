// Orderly ends on SIGINT and SIGTERM, without work in signal handlers.
#pragma once

#include <functional>
#include <thread>

namespace cairn::launch {

// Turns the first SIGINT or SIGTERM into a call of `on_stop` on a thread of its own; a second one
// ends the process at once with 128 + signal. Make it before any other thread: it blocks the two
// signals in the calling thread, and threads inherit that. SIGPIPE is ignored: a broken pipe is an
// error of the write. One at a time in a process.
class StopSignals {
 public:
  explicit StopSignals(std::function<void()> on_stop);
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // The signal that came, 0 if none. The exit code after an orderly stop is 128 + it.
  int received() const;

 private:
  std::thread thread_;
};

}  // namespace cairn::launch
