// Calls a peer until it answers, within a limit, and says whom it waits for.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "common/base/mutex.h"
#include "common/base/status.h"

namespace cairn {

// Stops waits from another thread. Thread-safe. Cancelling is final.
class CancelToken {
 public:
  void Cancel() EXCLUDES(mu_);
  bool IsCancelled() const EXCLUDES(mu_);
  // Waits; true at once when it is or gets cancelled, false after the time.
  bool WaitFor(std::int64_t milliseconds) const EXCLUDES(mu_);

 private:
  mutable Mutex mu_;
  mutable CondVar changed_;
  bool cancelled_ GUARDED_BY(mu_) = false;
};

// The time that retries see; tests put in their own. Thread-safe.
class RetryClock {
 public:
  virtual ~RetryClock() = default;
  // Milliseconds of a clock that only goes forward.
  virtual std::int64_t NowMs() = 0;
  // Waits; true if `cancel` (may be null) ended it.
  virtual bool Wait(std::int64_t milliseconds, const CancelToken* cancel) = 0;
  // The machine's own; lives for ever.
  static RetryClock* System();
};

struct RetryPolicy {
  // Of one try. While a try lasts nothing is logged: keep it within log_every_ms.
  std::int64_t deadline_ms = 10'000;
  std::int64_t total_ms = 60'000;  // of all tries and the pauses between them
  // Pause before the next try: doubles from the first to the largest, times a factor in [0.5, 1).
  std::int64_t first_pause_ms = 50;
  std::int64_t largest_pause_ms = 2'000;
  // The factors are a pure function of (seed, try), so that clients with different seeds spread out
  // and a run can be repeated.
  std::uint64_t seed = 0;
  std::int64_t log_every_ms = 10'000;  // a line about a wait that lasts; 0: none
  // Codes worth another try, beside Unavailable and DeadlineExceeded. May be empty.
  std::function<bool(const Status&)> also_retry;
  const CancelToken* cancel = nullptr;  // may be null; outlives the call
  RetryClock* clock = RetryClock::System();
};

// Calls `try_once(deadline_ms)` until it gives something else than Unavailable or DeadlineExceeded,
// with a deadline that never reaches beyond the total. `what` names call and peer, such as
// "pull from ps 1 (10.0.0.2:7001)"; it is in every log line and in the error.
// Errors: the last one's code once the total is used up, with "what: gave up after N tries in
// T s: last error"; Cancelled when the token stopped it; any error that is not worth a retry as it
// is, with `what` before it. At least one try is made unless cancelled before.
// Thread-safe: one policy may serve many calls at once if also_retry may.
Status CallWithRetry(const RetryPolicy& policy, const std::string& what,
                     const std::function<Status(std::int64_t deadline_ms)>& try_once);

// Pause after try `n` (from 0), in milliseconds.
std::int64_t RetryPauseMs(const RetryPolicy& policy, int n);

}  // namespace cairn
