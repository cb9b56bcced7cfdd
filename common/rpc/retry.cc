#include "common/rpc/retry.h"

#include <glog/logging.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "common/math/rng.h"

namespace cairn {
namespace {

class SystemClock : public RetryClock {
 public:
  std::int64_t NowMs() override {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
  bool Wait(std::int64_t milliseconds, const CancelToken* cancel) override {
    static const CancelToken never;
    return (cancel == nullptr ? never : *cancel).WaitFor(milliseconds);
  }
};

std::string Seconds(std::int64_t milliseconds) {
  return StrCat(milliseconds / 1000, ".", milliseconds % 1000 / 100, " s");
}

std::string Tries(int n) { return StrCat(n, n == 1 ? " try" : " tries"); }

// One line each time `log_every_ms` have passed, not one for each try.
class WaitLog {
 public:
  WaitLog(const RetryPolicy& policy, const std::string& what, std::int64_t start_ms)
      : policy_(policy), what_(what), start_ms_(start_ms), last_ms_(start_ms) {}

  void MayTell(std::int64_t now_ms, int tries, const Status& last) {
    if (policy_.log_every_ms <= 0 || now_ms - last_ms_ < policy_.log_every_ms) return;
    last_ms_ = now_ms;
    LOG(WARNING) << "waiting for " << what_ << " since " << Seconds(now_ms - start_ms_) << ", "
                 << Tries(tries) << ", limit " << Seconds(policy_.total_ms) << ": "
                 << last.message();
  }

 private:
  const RetryPolicy& policy_;
  const std::string& what_;
  const std::int64_t start_ms_;
  std::int64_t last_ms_;
};

bool IsWorthARetry(const RetryPolicy& policy, const Status& status) {
  return status.code() == absl::StatusCode::kUnavailable ||
         status.code() == absl::StatusCode::kDeadlineExceeded ||
         (policy.also_retry && policy.also_retry(status));
}

Status Cancelled(const std::string& what, int tries) {
  return absl::CancelledError(StrCat(what, ": cancelled after ", Tries(tries)));
}

}  // namespace

void CancelToken::Cancel() {
  MutexLock lock(mu_);
  cancelled_ = true;
  changed_.NotifyAll();
}

bool CancelToken::IsCancelled() const {
  MutexLock lock(mu_);
  return cancelled_;
}

bool CancelToken::WaitFor(std::int64_t milliseconds) const {
  MutexLock lock(mu_);
  return changed_.WaitFor(mu_, std::chrono::milliseconds(milliseconds),
                          [this] { return cancelled_; });
}

RetryClock* RetryClock::System() {
  static SystemClock clock;
  return &clock;
}

std::int64_t RetryPauseMs(const RetryPolicy& policy, int n) {
  double pause = static_cast<double>(policy.first_pause_ms);
  const double largest = static_cast<double>(policy.largest_pause_ms);
  for (int i = 0; i < n && pause < largest; ++i) pause *= 2;
  const double factor = 0.5 + 0.5 * Rng(policy.seed, static_cast<std::uint64_t>(n)).NextDouble();
  return static_cast<std::int64_t>(std::min(pause, largest) * factor);
}

Status CallWithRetry(const RetryPolicy& policy, const std::string& what,
                     const std::function<Status(std::int64_t deadline_ms)>& try_once) {
  RetryClock& clock = *policy.clock;
  const std::int64_t start = clock.NowMs();
  WaitLog log(policy, what, start);
  for (int tries = 1;; ++tries) {
    if (policy.cancel != nullptr && policy.cancel->IsCancelled()) {
      return Cancelled(what, tries - 1);
    }
    const std::int64_t left = policy.total_ms - (clock.NowMs() - start);
    const Status status = try_once(std::max<std::int64_t>(1, std::min(policy.deadline_ms, left)));
    if (status.ok()) return status;
    if (!IsWorthARetry(policy, status)) return Annotate(status, what);
    const std::int64_t spent = clock.NowMs() - start;
    const std::int64_t pause = RetryPauseMs(policy, tries - 1);
    if (spent + pause >= policy.total_ms) {
      return Annotate(status,
                      StrCat(what, ": gave up after ", Tries(tries), " in ", Seconds(spent)));
    }
    log.MayTell(clock.NowMs(), tries, status);
    if (clock.Wait(pause, policy.cancel)) return Cancelled(what, tries);
  }
}

}  // namespace cairn
