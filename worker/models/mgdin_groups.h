// What MGDIN decides before any row is seen: the order of the fields, the windows that make tokens
// of them, and which pairs of tokens a layer's static mask lets interact. docs/models/mgdin.md
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/base/status.h"
#include "worker/data/batch.h"

namespace cairn::proto {
class MgdinConfig;
}

namespace cairn::worker::mgdin {

// The fields in the order that config.order() asks for; fields of equal density stay in job order.
// FailedPrecondition, naming the field, if an order by density lacks one.
Result<std::vector<FieldSpec>> OrderFields(const proto::MgdinConfig& config,
                                           std::span<const FieldSpec> fields, std::uint64_t seed);

// Consecutive windows of `size` ordered fields, one token each. Where size does not divide the
// number of fields, all-zero dummies stand at the sparse end of the order: in front of
// DENSITY_REVERSED, behind any other.
struct Windows {
  std::uint32_t size = 1;
  std::uint32_t count = 0;
  std::uint32_t dummies = 0;
  bool dummies_first = false;
  // Of each window: its place when windows are sorted by the mean density of their fields, the
  // densest first; by position where a field has no density. Equal ones by position.
  std::vector<std::uint32_t> rank = {};
};
// size: at most fields.size(). ordered: as OrderFields returns them.
Windows CutWindows(const proto::MgdinConfig& config, std::span<const FieldSpec> ordered,
                   std::uint32_t size);

// k_l: how many of the tokens^2 pairs interact in layer `layer` = 1..layers of the schedules by
// pair: floor(layer / layers * tokens^2), at least 1.
std::uint32_t ActivePairs(std::uint32_t layer, std::uint32_t layers, std::uint32_t tokens);

// Masks [tokens * tokens], row-major, 1 where query and key interact in a layer.
// Schedule GROUP: both windows among the ceil(layer / layers * count) densest, or one and the same.
std::vector<std::uint8_t> GroupMask(const Windows& windows, std::uint32_t layer,
                                    std::uint32_t layers);
// Schedule PAIR_RANDOM: the first `active` pairs of an order drawn from (seed, size of the
// windows), so that masks of growing `active` are nested.
std::vector<std::uint8_t> RandomMask(const Windows& windows, std::uint32_t active,
                                     std::uint64_t seed);

}  // namespace cairn::worker::mgdin
