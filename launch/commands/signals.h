// Orderly ends on SIGINT and SIGTERM, without work in signal handlers.
#pragma once

#include <functional>
#include <thread>

#include "common/base/mutex.h"

namespace cairn::launch {

// Blocks SIGINT and SIGTERM in the calling thread and all threads that it makes later, and waits
// for them on a thread of its own: so make it before any other thread. A second signal ends the
// process at once with 128 + signal. SIGPIPE is ignored: a broken pipe is an error of the write.
// One at a time in a process.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // What the first signal does, on the waiting thread; at once on the calling thread if it came
  // before. Once this returns, an earlier function is not running and not called again; an empty
  // one means that there is nothing to stop any more.
  void OnStop(std::function<void()> stop);

  // The signal that came, 0 if none. The exit code after an orderly stop is 128 + it.
  int received() const;

 private:
  void WaitLoop();

  mutable Mutex mu_;
  int received_ GUARDED_BY(mu_) = 0;
  std::function<void()> stop_ GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace cairn::launch
