#include "launch/commands/signals.h"

#include <unistd.h>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <utility>

namespace cairn::launch {
namespace {

// SIGUSR1 ends the waiting thread; nothing else in the process uses it.
constexpr int kEndOfWaiting = SIGUSR1;
std::atomic<int> received_signal{0};

sigset_t StopSet() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, kEndOfWaiting);
  return set;
}

}  // namespace

StopSignals::StopSignals(std::function<void()> on_stop) {
  received_signal.store(0);
  std::signal(SIGPIPE, SIG_IGN);
  const sigset_t set = StopSet();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  thread_ = std::thread([on_stop = std::move(on_stop), set] {
    for (;;) {
      int signal = 0;
      if (sigwait(&set, &signal) != 0) continue;
      if (signal == kEndOfWaiting) return;
      if (received_signal.exchange(signal) != 0) _exit(128 + signal);
      std::fprintf(stderr, "%s: stopping in order; once more ends at once\n",
                   signal == SIGINT ? "interrupted" : "terminated");
      on_stop();
    }
  });
}

StopSignals::~StopSignals() {
  pthread_kill(thread_.native_handle(), kEndOfWaiting);
  thread_.join();
}

int StopSignals::received() const { return received_signal.load(); }

}  // namespace cairn::launch
