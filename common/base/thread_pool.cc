#include "common/base/thread_pool.h"

#include <glog/logging.h>

namespace cairn {
namespace {

// About 10 to 40 microseconds: shorter than putting a thread to sleep and waking it.
constexpr int kSpins = 1000;

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

template <typename Ready>
bool SpinUntil(Ready ready) {
  for (int i = 0; i < kSpins; ++i) {
    if (ready()) return true;
    Pause();
  }
  return false;
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  CHECK_GE(threads, 1);
  workers_.reserve(static_cast<std::size_t>(threads) - 1);
  for (int t = 1; t < threads; ++t) workers_.emplace_back([this, t] { WorkerLoop(t); });
}

ThreadPool::~ThreadPool() {
  {
    MutexLock lock(mu_);
    stop_.store(true);
    wake_.NotifyAll();
  }
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::RunErased(Call call, void* target) {
  CHECK(!running_.exchange(true)) << "ThreadPool::Run called from two threads or from inside a run";
  call_ = call;
  target_ = target;
  if (!workers_.empty()) {
    unfinished_.store(static_cast<int>(workers_.size()));
    MutexLock lock(mu_);
    round_.fetch_add(1);
    wake_.NotifyAll();
  }
  call(target, 0);
  const auto finished = [this] { return unfinished_.load() == 0; };
  if (!SpinUntil(finished)) {
    MutexLock lock(mu_);
    done_.Wait(mu_, finished);
  }
  running_.store(false);
}

void ThreadPool::WorkerLoop(int thread) {
  std::uint64_t seen = 0;
  for (;;) {
    const auto begun = [this, seen] { return stop_.load() || round_.load() != seen; };
    if (!SpinUntil(begun)) {
      MutexLock lock(mu_);
      wake_.Wait(mu_, begun);
    }
    if (stop_.load()) return;
    ++seen;
    call_(target_, thread);
    if (unfinished_.fetch_sub(1) == 1) {
      MutexLock lock(mu_);
      done_.NotifyOne();
    }
  }
}

}  // namespace cairn
