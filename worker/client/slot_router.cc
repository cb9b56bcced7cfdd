#include "worker/client/slot_router.h"

#include <glog/logging.h>

#include <algorithm>

#include "common/math/hash.h"

namespace cairn::worker {

SlotRouter::SlotRouter(int slot_bits, std::uint32_t servers)
    : slot_bits_(slot_bits), servers_(servers) {
  CHECK(slot_bits >= 0 && slot_bits <= 24) << slot_bits;
  CHECK(servers >= 1 && servers <= 65535) << servers;
  const std::uint64_t slots = std::uint64_t{1} << slot_bits;
  owner_.resize(slots);
  for (std::uint64_t p = 0; p < servers; ++p) {
    const auto first = static_cast<std::ptrdiff_t>(p * slots / servers);
    const auto last = static_cast<std::ptrdiff_t>((p + 1) * slots / servers);
    std::fill(owner_.begin() + first, owner_.begin() + last, static_cast<std::uint16_t>(p));
  }
}

std::uint32_t SlotRouter::OwnerOf(std::uint64_t key) const {
  return owner_[SlotOf(key, slot_bits_)];
}

void SlotRouter::Split(std::span<const std::uint64_t> keys, KeySplit* split) const {
  const std::size_t count = keys.size();
  split->keys.resize(count);
  split->positions.resize(count);
  split->begin.assign(servers_ + 1, 0);
  for (const std::uint64_t key : keys) ++split->begin[OwnerOf(key) + 1];
  for (std::uint32_t s = 0; s < servers_; ++s) split->begin[s + 1] += split->begin[s];
  std::vector<std::size_t> next(split->begin.begin(), split->begin.end() - 1);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t at = next[OwnerOf(keys[i])]++;
    split->keys[at] = keys[i];
    split->positions[at] = static_cast<std::uint32_t>(i);
  }
}

std::vector<std::vector<DenseRun>> SlotRouter::DenseRuns(const DenseLayout& layout) const {
  std::vector<std::vector<DenseRun>> runs(servers_);
  std::uint64_t offset = 0;
  for (const DenseTensor& tensor : layout) {
    const std::uint64_t end = offset + tensor.Floats();
    for (std::uint64_t chunk = 0; offset < end; ++chunk) {
      const std::uint64_t floats = std::min(kDenseChunkFloats, end - offset);
      auto& own = runs[OwnerOf(DenseChunkKey(tensor.name, chunk))];
      if (!own.empty() && own.back().offset + own.back().floats == offset) {
        own.back().floats += floats;
      } else {
        own.push_back({offset, floats});
      }
      offset += floats;
    }
  }
  return runs;
}

}  // namespace cairn::worker
