// A bounded multi-producer, multi-consumer queue between the stages of a pipeline.
// Thread-safety: every method may be called from any thread.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

#include "common/base/mutex.h"

namespace cairn {

template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(std::size_t capacity) : capacity_(capacity) {}

  // Waits for room. False, and `item` is dropped, once the queue is closed.
  bool Push(T item) EXCLUDES(mu_) {
    MutexLock lock(mu_);
    room_.Wait(mu_, [this] { return closed_ || items_.size() < capacity_; });
    if (closed_) return false;
    items_.push_back(std::move(item));
    ready_.NotifyOne();
    return true;
  }

  // Waits until there is room, and takes none: for the only producer, whose next Push then does not
  // wait. False once the queue is closed.
  bool WaitForRoom() EXCLUDES(mu_) {
    MutexLock lock(mu_);
    room_.Wait(mu_, [this] { return closed_ || items_.size() < capacity_; });
    return !closed_;
  }

  // Waits for an item. Empty once the queue is closed and drained.
  std::optional<T> Pop() EXCLUDES(mu_) {
    MutexLock lock(mu_);
    ready_.Wait(mu_, [this] { return closed_ || !items_.empty(); });
    if (items_.empty()) return std::nullopt;
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    room_.NotifyAll();
    return item;
  }

  // No more items are taken; what is queued can still be popped.
  void Close() EXCLUDES(mu_) {
    MutexLock lock(mu_);
    closed_ = true;
    ready_.NotifyAll();
    room_.NotifyAll();
  }

 private:
  const std::size_t capacity_;
  Mutex mu_;
  CondVar ready_;
  CondVar room_;
  std::deque<T> items_ GUARDED_BY(mu_);
  bool closed_ GUARDED_BY(mu_) = false;
};

}  // namespace cairn
