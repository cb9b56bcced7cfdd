// What a server's requests took and which slots they named, since its process began.
//
// Thread-safety: everything may be called from any thread. Counting takes no lock and allocates
// nothing; what is told is of some moment during the call.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "common/base/mutex.h"
#include "common/metrics/metrics.h"
#include "ps/table/key_groups.h"

namespace cairn::proto {
class SlotLoadStats;
}  // namespace cairn::proto

namespace cairn::ps {

enum class RequestKind { kPull, kPush };

// Seconds of requests, from 1 us to 1000 s within 9 %; the longest one is kept exactly.
class RequestTimes {
 public:
  using Clock = std::chrono::steady_clock;

  // A request that began at `begin` has ended well just now.
  void Record(RequestKind kind, Clock::time_point begin) {
    Of(kind).Record(std::chrono::duration<double>(Clock::now() - begin).count());
  }
  const Histogram& pulls() const { return pulls_; }
  const Histogram& pushes() const { return pushes_; }

 private:
  static constexpr double kShortest = 1e-6;
  static constexpr double kLongest = 1e3;

  Histogram& Of(RequestKind kind) { return kind == RequestKind::kPull ? pulls_ : pushes_; }

  Histogram pulls_{kShortest, kLongest};
  Histogram pushes_{kShortest, kLongest};
};

// How often the slots were named, over all tables. One key in 64 is counted, so that counting is
// not felt beside the rows; where the count begins is drawn for each request, so that each of its
// keys has the same chance, whatever their order. A load that n counts stand for is known within
// 2 / sqrt(n), nineteen times out of twenty.
class SlotLoad {
 public:
  static constexpr std::size_t kSampledOneIn = 64;
  static constexpr std::uint32_t kMaxGroups = 1024;
  static constexpr int kMostLoaded = 8;

  explicit SlotLoad(const SlotRange& slots);

  // The keys of one request for one table; all of them in `slots`.
  void Count(RequestKind kind, std::span<const std::uint64_t> keys);

  void Tell(proto::SlotLoadStats* out) const;

 private:
  struct Group {
    std::atomic<std::uint64_t> pulled{0};
    std::atomic<std::uint64_t> pushed{0};
  };

  const SlotRange slots_;
  const int slot_shift_;  // 2^slot_shift_ slots are one group
  std::vector<Group> groups_;
  std::atomic<std::uint64_t> requests_{0};
};

// How many pushes of others were applied between what a step read and its own push, plus one: a
// histogram needs values above 0. Off by the pushes that are applied at the same time.
class Staleness {
 public:
  // A client reads rows or dense values for one of its steps, when `pushes` were applied.
  void Pulled(std::uint32_t worker, std::uint64_t client, std::uint64_t step, bool rows, bool dense,
              std::uint64_t pushes) EXCLUDES(mu_);
  // Its push is the latest of `pushes`.
  void Pushed(std::uint32_t worker, std::uint64_t client, std::uint64_t step, std::uint64_t pushes)
      EXCLUDES(mu_);

  const Histogram& rows() const { return rows_; }
  const Histogram& dense() const { return dense_; }

 private:
  static constexpr std::size_t kSteps = 64;  // that a worker has in hand, at most
  static constexpr double kMost = 1 << 20;
  struct Mark {
    std::uint64_t step = 0;  // 0: none
    std::optional<std::uint64_t> rows, dense;
  };
  struct Worker {
    std::uint64_t client = 0;
    std::array<Mark, kSteps> marks;
  };

  Mutex mu_;
  std::map<std::uint32_t, Worker> workers_ GUARDED_BY(mu_);  // latest client of each
  Histogram rows_{1, kMost};
  Histogram dense_{1, kMost};
};

}  // namespace cairn::ps
