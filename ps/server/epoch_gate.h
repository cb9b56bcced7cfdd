// Lets through only requests of the job epoch in force, and none while state is being replaced.
// Thread-safety: every method may be called from any thread.
#pragma once

#include <cstdint>

#include "common/base/mutex.h"
#include "common/base/status.h"

namespace cairn::ps {

class EpochGate {
 public:
  // Leave is due when true `entered` goes out of scope.
  class Pass {
   public:
    Pass(EpochGate& gate, std::uint64_t epoch) : gate_(gate), status_(gate.Enter(epoch)) {}
    ~Pass() {
      if (status_.ok()) gate_.Leave();
    }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;
    // Aborted if `epoch` is not the one in force.
    const Status& status() const { return status_; }

   private:
    EpochGate& gate_;
    const Status status_;
  };

  // Aborted if `epoch` is not the one in force; does not wait.
  Status Check(std::uint64_t epoch) EXCLUDES(mu_) {
    MutexLock lock(mu_);
    return CheckLocked(epoch);
  }

  // Puts `epoch` in force, waits until nobody of the one before is inside, then runs `change`
  // alone.
  template <typename Change>
  Status Replace(std::uint64_t epoch, Change change) EXCLUDES(mu_) {
    {
      MutexLock lock(mu_);
      moved_.Wait(mu_, [this] { return !replacing_; });
      epoch_ = epoch;
      replacing_ = true;
      moved_.Wait(mu_, [this] { return inside_ == 0; });
    }
    Status status = change();
    MutexLock lock(mu_);
    replacing_ = false;
    moved_.NotifyAll();
    return status;
  }

 private:
  Status CheckLocked(std::uint64_t epoch) REQUIRES(mu_) {
    if (epoch == epoch_) return OkStatus();
    return absl::AbortedError(
        StrCat("request of job epoch ", epoch, ", the job is in epoch ", epoch_, "; join again"));
  }
  Status Enter(std::uint64_t epoch) EXCLUDES(mu_) {
    MutexLock lock(mu_);
    RETURN_IF_ERROR(CheckLocked(epoch));
    moved_.Wait(mu_, [this] { return !replacing_; });
    RETURN_IF_ERROR(CheckLocked(epoch));
    ++inside_;
    return OkStatus();
  }
  void Leave() EXCLUDES(mu_) {
    MutexLock lock(mu_);
    if (--inside_ == 0 && replacing_) moved_.NotifyAll();
  }

  Mutex mu_;
  CondVar moved_;
  std::uint64_t epoch_ GUARDED_BY(mu_) = 0;
  int inside_ GUARDED_BY(mu_) = 0;
  bool replacing_ GUARDED_BY(mu_) = false;
};

}  // namespace cairn::ps
