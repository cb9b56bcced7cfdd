// The training steps of the workers that have rows to train on, for bounded staleness
// (proto/config.proto, Consistency): step t of a worker may read values once every worker has
// `t - staleness` steps done.
//
// A worker is in the clock while it has leases. One that enters goes on at the count of the
// slowest: it neither holds the others up nor runs ahead of them. Thread-safety: none; the caller
// locks.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

namespace cairn::launch {

class StepClock {
 public:
  // `done`: the incarnation's own count of steps that are done. Nothing if it is in the clock.
  void Enter(std::uint32_t worker, std::uint64_t done);
  void Leave(std::uint32_t worker) { workers_.erase(worker); }
  void Clear() { workers_.clear(); }

  // Own counts never go back; smaller ones, and those of workers that are not in the clock, are
  // ignored.
  void Done(std::uint32_t worker, std::uint64_t done);

  struct Slowest {
    std::uint32_t worker = 0;
    std::uint64_t behind = 0;  // steps behind the step that waits
  };
  // The worker that step `step` (steps of this incarnation before it) waits for; nothing if it may
  // begin, as every step of a worker that is not in the clock may.
  std::optional<Slowest> WaitsFor(std::uint32_t worker, std::uint64_t step,
                                  std::uint64_t staleness) const;

 private:
  struct Count {
    std::uint64_t first;  // own count when it entered
    std::uint64_t base;   // common count at that moment
    std::uint64_t done;   // own count
    std::uint64_t common() const { return base + done - first; }
  };
  std::map<std::uint32_t, Count> workers_;
};

}  // namespace cairn::launch
