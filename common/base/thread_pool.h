// A fixed team of threads for data-parallel work inside one step.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

#include "common/base/mutex.h"

namespace cairn {

// Runs one function on every thread of the team and waits for all of them. Which thread does what
// is decided by the caller from the thread's index, so results do not depend on scheduling.
// Between runs the threads spin for some microseconds, then sleep.
// Thread-safety: Run() is called by one thread at a time and not from inside a run (CHECK).
class ThreadPool {
 public:
  // threads >= 1 (CHECK). The caller of Run() is thread 0; threads - 1 further ones are started.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls work(t) for each t in [0, threads()) at the same time, t = 0 on the calling thread, and
  // returns when all calls have returned; what they wrote is then visible to the caller. `work`
  // must not throw. Never allocates.
  template <typename Work>
  void Run(Work&& work) {
    using Target = std::remove_reference_t<Work>;
    RunErased([](void* target, int thread) { (*static_cast<Target*>(target))(thread); },
              const_cast<void*>(static_cast<const void*>(&work)));
  }

 private:
  using Call = void (*)(void* target, int thread);

  void RunErased(Call call, void* target);
  void WorkerLoop(int thread);

  // Written by Run() before it raises `round_`, read by the workers after they see it.
  Call call_ = nullptr;
  void* target_ = nullptr;
  std::atomic<std::uint64_t> round_{0};
  std::atomic<int> unfinished_{0};
  std::atomic<bool> running_{false};
  std::atomic<bool> stop_{false};

  Mutex mu_;
  CondVar wake_;  // a round began, or stop_
  CondVar done_;  // unfinished_ fell to 0
  std::vector<std::thread> workers_;
};

// First index of part `part` when `items` are cut into `parts` nearly equal ranges.
constexpr std::size_t PartBegin(std::size_t items, std::size_t parts, std::size_t part) {
  return items / parts * part + (part < items % parts ? part : items % parts);
}

}  // namespace cairn
