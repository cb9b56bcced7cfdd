// Lets numbered pushes through one after the other.
#pragma once

#include <cstdint>

#include "common/base/mutex.h"

namespace cairn::ps {

// Each push passes every gate; behind one gate the next push may enter it, so that pushes follow
// each other through the tables like wagons. Thread-safety: all methods at once.
class OrderGate {
 public:
  // The next push that may pass. Nobody waits meanwhile.
  void Reset(std::uint64_t next) EXCLUDES(mu_) {
    MutexLock lock(mu_);
    next_ = next;
  }

  // Inside the gate for as long as it lives.
  class Pass {
   public:
    Pass(OrderGate* gate, std::uint64_t number) : gate_(gate) { gate_->Enter(number); }
    ~Pass() { gate_->Leave(); }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

   private:
    OrderGate* gate_;
  };

 private:
  void Enter(std::uint64_t number) EXCLUDES(mu_) {
    MutexLock lock(mu_);
    turn_.Wait(mu_, [this, number]() NO_THREAD_SAFETY_ANALYSIS { return next_ == number; });
  }
  void Leave() EXCLUDES(mu_) {
    MutexLock lock(mu_);
    ++next_;
    turn_.NotifyAll();
  }

  Mutex mu_;
  CondVar turn_;
  std::uint64_t next_ GUARDED_BY(mu_) = 1;
};

}  // namespace cairn::ps
