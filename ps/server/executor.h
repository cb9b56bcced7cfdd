// A fixed number of threads that run tasks in the order in which they came.
// Thread-safety: Run may be called from any thread; Stop once at a time.
#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "common/base/bounded_queue.h"

namespace cairn::ps {

class Executor {
 public:
  // `capacity` tasks may wait; Run blocks while that many do.
  Executor(int threads, std::size_t capacity);
  ~Executor();

  // False, and the task is dropped, after Stop.
  bool Run(std::function<void()> task) { return tasks_.Push(std::move(task)); }

  // Finishes the tasks that wait, then ends the threads. Idempotent. Not from a task.
  void Stop();

 private:
  BoundedQueue<std::function<void()>> tasks_;
  std::vector<std::thread> threads_;
};

}  // namespace cairn::ps
