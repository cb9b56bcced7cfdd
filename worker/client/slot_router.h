// Which server owns what. The key space is cut into 2^slot_bits slots; server p of n owns the slots
// [p * slots / n, (p + 1) * slots / n). See common/math/hash.h for the slot of a key.
// Thread-safety: immutable.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/client/ps_client.h"

namespace cairn::worker {

// The keys of one table grouped by server, in their order within each group.
struct KeySplit {
  std::vector<std::uint64_t> keys;
  std::vector<std::uint32_t> positions;  // of each in the unsplit list
  std::vector<std::size_t> begin;        // group of server s: [begin[s], begin[s + 1])

  std::size_t Count(std::uint32_t server) const { return begin[server + 1] - begin[server]; }
  std::span<const std::uint64_t> Keys(std::uint32_t server) const {
    return std::span(keys).subspan(begin[server], Count(server));
  }
  std::span<const std::uint32_t> Positions(std::uint32_t server) const {
    return std::span(positions).subspan(begin[server], Count(server));
  }
};

// Floats [offset, offset + floats) of the flat vector of dense parameters.
struct DenseRun {
  std::uint64_t offset = 0;
  std::uint64_t floats = 0;
};

class SlotRouter {
 public:
  // slot_bits in [0, 24], servers in [1, 65535].
  SlotRouter(int slot_bits, std::uint32_t servers);

  std::uint32_t servers() const { return servers_; }
  std::uint32_t OwnerOf(std::uint64_t key) const;

  // Fills `split`, whose memory is reused. At most 2^32 - 1 keys.
  void Split(std::span<const std::uint64_t> keys, KeySplit* split) const;

  // For each server the chunks that it owns, in layout order; neighbours are joined.
  std::vector<std::vector<DenseRun>> DenseRuns(const DenseLayout& layout) const;

 private:
  const int slot_bits_;
  const std::uint32_t servers_;
  std::vector<std::uint16_t> owner_;  // [slots]
};

}  // namespace cairn::worker
