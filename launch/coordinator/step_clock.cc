#include "launch/coordinator/step_clock.h"

#include <algorithm>

namespace cairn::launch {
namespace {

template <typename Workers>
auto SlowestOf(const Workers& workers) {
  return std::ranges::min_element(workers, {},
                                  [](const auto& entry) { return entry.second.common(); });
}

}  // namespace

void StepClock::Enter(std::uint32_t worker, std::uint64_t done) {
  if (workers_.contains(worker)) return;
  const auto slowest = SlowestOf(workers_);
  workers_[worker] = {done, slowest == workers_.end() ? 0 : slowest->second.common(), done};
}

void StepClock::Done(std::uint32_t worker, std::uint64_t done) {
  const auto found = workers_.find(worker);
  if (found != workers_.end()) found->second.done = std::max(found->second.done, done);
}

std::optional<StepClock::Slowest> StepClock::WaitsFor(std::uint32_t worker, std::uint64_t step,
                                                      std::uint64_t staleness) const {
  const auto found = workers_.find(worker);
  if (found == workers_.end() || step <= found->second.first) return std::nullopt;
  const std::uint64_t wanted = found->second.base + step - found->second.first;
  const auto slowest = SlowestOf(workers_);
  const std::uint64_t done = slowest->second.common();
  if (wanted <= done + staleness) return std::nullopt;
  return Slowest{slowest->first, wanted - done};
}

}  // namespace cairn::launch
