#include "ps/server/request_stats.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "common/math/hash.h"
#include "proto/ps_service.pb.h"

namespace cairn::ps {
namespace {

// The smallest shift that leaves at most `most` groups.
int ShiftFor(std::uint32_t slots, std::uint32_t most) {
  int shift = 0;
  while ((slots + (1u << shift) - 1) >> shift > most) ++shift;
  return shift;
}

}  // namespace

SlotLoad::SlotLoad(const SlotRange& slots)
    : slots_(slots),
      slot_shift_(ShiftFor(slots.count, kMaxGroups)),
      groups_((slots.count + (1u << slot_shift_) - 1) >> slot_shift_) {}

void SlotLoad::Count(RequestKind kind, std::span<const std::uint64_t> keys) {
  const std::uint64_t request = requests_.fetch_add(1, std::memory_order_relaxed);
  for (std::size_t i = Mix64(request) % kSampledOneIn; i < keys.size(); i += kSampledOneIn) {
    Group& group = groups_[(slots_.SlotOfMixed(MixedKey(keys[i])) - slots_.first) >> slot_shift_];
    (kind == RequestKind::kPull ? group.pulled : group.pushed)
        .fetch_add(1, std::memory_order_relaxed);
  }
}

void SlotLoad::Tell(proto::SlotLoadStats* out) const {
  struct Load {
    std::uint32_t group;
    std::uint64_t pulled, pushed;
    std::uint64_t both() const { return pulled + pushed; }
  };
  std::vector<Load> loads(groups_.size());
  std::uint64_t pulled = 0;
  std::uint64_t pushed = 0;
  for (std::uint32_t g = 0; g < groups_.size(); ++g) {
    loads[g] = {g, groups_[g].pulled.load(std::memory_order_relaxed),
                groups_[g].pushed.load(std::memory_order_relaxed)};
    pulled += loads[g].pulled;
    pushed += loads[g].pushed;
  }
  out->Clear();
  out->set_sampled_one_in(kSampledOneIn);
  out->set_groups(static_cast<std::uint32_t>(groups_.size()));
  out->set_pulled_rows(pulled * kSampledOneIn);
  out->set_pushed_rows(pushed * kSampledOneIn);
  const auto most = loads.begin() + std::min<std::ptrdiff_t>(kMostLoaded, std::ssize(loads));
  std::ranges::partial_sort(loads, most, [](const Load& a, const Load& b) {
    return a.both() != b.both() ? a.both() > b.both() : a.group < b.group;
  });
  for (auto load = loads.begin(); load != most && load->both() > 0; ++load) {
    proto::SlotGroupLoad* const told = out->add_most_loaded();
    const std::uint32_t first = load->group << slot_shift_;
    const std::uint32_t end = std::min(slots_.count, first + (1u << slot_shift_));
    told->set_first_slot(slots_.first + first);
    told->set_last_slot(slots_.first + end - 1);
    told->set_pulled_rows(load->pulled * kSampledOneIn);
    told->set_pushed_rows(load->pushed * kSampledOneIn);
  }
}

void Staleness::Pulled(std::uint32_t worker, std::uint64_t client, std::uint64_t step, bool rows,
                       bool dense, std::uint64_t pushes) {
  if (step == 0) return;
  MutexLock lock(mu_);
  Worker& of = workers_[worker];
  if (of.client != client) of = {client, {}};
  Mark& mark = of.marks[step % kSteps];
  if (mark.step != step) mark = {step, {}, {}};
  // A pull that is sent again has read what its first answer would have said, or something newer.
  if (rows) mark.rows = pushes;
  if (dense) mark.dense = pushes;
}

void Staleness::Pushed(std::uint32_t worker, std::uint64_t client, std::uint64_t step,
                       std::uint64_t pushes) {
  if (step == 0) return;
  Mark mark;
  {
    MutexLock lock(mu_);
    Worker& of = workers_[worker];
    if (of.client != client || of.marks[step % kSteps].step != step) return;
    mark = std::exchange(of.marks[step % kSteps], {});
  }
  const auto record = [pushes](std::optional<std::uint64_t> read, Histogram* histogram) {
    if (read.has_value()) {
      histogram->Record(static_cast<double>(std::max(pushes, *read + 1) - *read));
    }
  };
  record(mark.rows, &rows_);
  record(mark.dense, &dense_);
}

}  // namespace cairn::ps
