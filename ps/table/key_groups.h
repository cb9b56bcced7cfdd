// The keys of one request, checked and grouped by the stripe of the table that holds them, so that
// each stripe is locked once.
//
// One mix of the key serves all: its high bits are the slot, bits 32 to 37 the stripe, and the low
// 32 bits the bucket in the stripe's index.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "common/math/hash.h"
#include "ps/table/key_index.h"

namespace cairn::ps {

// SlotOf(key, bits) == MixedKey(key) >> (64 - bits).
constexpr std::uint64_t MixedKey(std::uint64_t key) { return Mix64(key + 0x9e3779b97f4a7c15ull); }

inline constexpr std::uint32_t kStripes = 64;
// Slots may use the bits above the stripe's.
inline constexpr int kMaxSlotBits = 16;

constexpr std::uint32_t StripeOf(std::uint64_t mixed) {
  return static_cast<std::uint32_t>(mixed >> 32) % kStripes;
}

// The slots [first, first + count) out of 2^bits.
struct SlotRange {
  int bits = 0;
  std::uint32_t first = 0;
  std::uint32_t count = 1;

  std::uint32_t SlotOfMixed(std::uint64_t mixed) const {
    return bits == 0 ? 0u : static_cast<std::uint32_t>(mixed >> (64 - bits));
  }
  bool HasMixed(std::uint64_t mixed) const { return SlotOfMixed(mixed) - first < count; }
};

// Reusable: Build keeps the memory of earlier requests. Thread-safety: compatible.
class KeyGroups {
 public:
  using Entry = IndexedKey;

  // Groups `keys` (fewer than 2^32). Returns the first one outside `slots`, if any; the groups are
  // unusable then.
  std::optional<std::uint64_t> Build(std::span<const std::uint64_t> keys, const SlotRange& slots);
  // Groups those of `keys` that are in `slots` and leaves the others out.
  void BuildInside(std::span<const std::uint64_t> keys, const SlotRange& slots);

  std::span<const Entry> Group(std::uint32_t stripe) const {
    return {entries_.data() + begin_[stripe], begin_[stripe + 1] - begin_[stripe]};
  }
  std::size_t size() const { return entries_.size(); }

  // A key that occurs twice, if there is one.
  std::optional<std::uint64_t> FindDuplicate();

 private:
  std::vector<Entry> entries_;
  std::array<std::uint32_t, kStripes + 1> begin_{};
  std::vector<std::uint64_t> seen_;  // bit set for FindDuplicate
};

}  // namespace cairn::ps
