#include "launch/commands/signals.h"

#include <unistd.h>
#include <csignal>
#include <cstdio>
#include <utility>

namespace cairn::launch {
namespace {

// Ends the waiting thread; nothing else in the process uses it.
constexpr int kEndOfWaiting = SIGUSR1;

sigset_t StopSet() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, kEndOfWaiting);
  return set;
}

}  // namespace

StopSignals::StopSignals() {
  std::signal(SIGPIPE, SIG_IGN);
  // A background job of a shell has SIGINT ignored, and an ignored signal is never waited for.
  std::signal(SIGINT, SIG_DFL);
  const sigset_t set = StopSet();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  thread_ = std::thread([this] { WaitLoop(); });
}

StopSignals::~StopSignals() {
  pthread_kill(thread_.native_handle(), kEndOfWaiting);
  thread_.join();
}

void StopSignals::WaitLoop() {
  const sigset_t set = StopSet();
  for (;;) {
    int signal = 0;
    if (sigwait(&set, &signal) != 0) continue;
    if (signal == kEndOfWaiting) return;
    MutexLock lock(mu_);
    if (received_ != 0) _exit(128 + signal);
    received_ = signal;
    std::fprintf(stderr, "%s: stopping in order; once more ends at once\n",
                 signal == SIGINT ? "interrupted" : "terminated");
    if (stop_) stop_();
  }
}

void StopSignals::OnStop(std::function<void()> stop) {
  MutexLock lock(mu_);
  stop_ = std::move(stop);
  if (received_ != 0 && stop_) stop_();
}

int StopSignals::received() const {
  MutexLock lock(mu_);
  return received_;
}

}  // namespace cairn::launch
