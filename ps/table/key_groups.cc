#include "ps/table/key_groups.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include <glog/logging.h>

namespace cairn::ps {

std::optional<std::uint64_t> KeyGroups::Build(std::span<const std::uint64_t> keys,
                                              const SlotRange& slots) {
  CHECK_LT(keys.size(), std::numeric_limits<std::uint32_t>::max());
  std::array<std::uint32_t, kStripes> count{};
  bool all_ours = true;
  for (const std::uint64_t key : keys) {
    const std::uint64_t mixed = MixedKey(key);
    ++count[StripeOf(mixed)];
    all_ours &= slots.HasMixed(mixed);
  }
  if (!all_ours) {
    return *std::ranges::find_if(
        keys, [&slots](std::uint64_t key) { return !slots.HasMixed(MixedKey(key)); });
  }
  std::array<std::uint32_t, kStripes> next;
  std::uint32_t sum = 0;
  for (std::uint32_t s = 0; s < kStripes; ++s) {
    begin_[s] = next[s] = sum;
    sum += count[s];
  }
  begin_[kStripes] = sum;
  entries_.resize(keys.size());
  for (std::uint32_t i = 0; i < keys.size(); ++i) {
    const std::uint64_t mixed = MixedKey(keys[i]);
    entries_[next[StripeOf(mixed)]++] = {keys[i], static_cast<std::uint32_t>(mixed), i};
  }
  return std::nullopt;
}

void KeyGroups::BuildInside(std::span<const std::uint64_t> keys, const SlotRange& slots) {
  CHECK_LT(keys.size(), std::numeric_limits<std::uint32_t>::max());
  std::array<std::uint32_t, kStripes> next{};
  for (const std::uint64_t key : keys) {
    const std::uint64_t mixed = MixedKey(key);
    next[StripeOf(mixed)] += slots.HasMixed(mixed) ? 1u : 0u;
  }
  std::uint32_t sum = 0;
  for (std::uint32_t s = 0; s < kStripes; ++s) {
    begin_[s] = sum;
    sum += std::exchange(next[s], sum);
  }
  begin_[kStripes] = sum;
  entries_.resize(sum);
  for (std::uint32_t i = 0; i < keys.size(); ++i) {
    const std::uint64_t mixed = MixedKey(keys[i]);
    if (!slots.HasMixed(mixed)) continue;
    entries_[next[StripeOf(mixed)]++] = {keys[i], static_cast<std::uint32_t>(mixed), i};
  }
}

// Equal keys are in one group and have one hash: a bit of the hash that is set already is rare
// without a duplicate (about 1 in 64), and then the group is searched.
std::optional<std::uint64_t> KeyGroups::FindDuplicate() {
  for (std::uint32_t stripe = 0; stripe < kStripes; ++stripe) {
    const auto group = Group(stripe);
    if (group.size() < 2) continue;
    const std::size_t bits = std::bit_ceil(group.size() * 32);
    seen_.assign(bits / 64 + 1, 0);
    for (std::size_t i = 0; i < group.size(); ++i) {
      const std::size_t bit = group[i].hash & (bits - 1);
      std::uint64_t& word = seen_[bit / 64];
      const std::uint64_t mask = 1ull << (bit % 64);
      if ((word & mask) != 0) {
        for (std::size_t j = 0; j < i; ++j) {
          if (group[j].key == group[i].key) return group[i].key;
        }
      }
      word |= mask;
    }
  }
  return std::nullopt;
}

}  // namespace cairn::ps
