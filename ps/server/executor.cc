#include "ps/server/executor.h"

namespace cairn::ps {

Executor::Executor(int threads, std::size_t capacity) : tasks_(capacity) {
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this] {
      while (auto task = tasks_.Pop()) (*task)();
    });
  }
}

Executor::~Executor() { Stop(); }

void Executor::Stop() {
  tasks_.Close();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

}  // namespace cairn::ps
