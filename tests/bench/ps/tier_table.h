// A checkpoint of one server with a table that was trained for a while, for bench_tier.
#pragma once

#include <cstdint>
#include <string>

#include "common/base/status.h"
#include "common/math/hash.h"

namespace cairn::proto {
class JobConfig;
}  // namespace cairn::proto

namespace cairn::bench {

// Key of the row with that rank of popularity, from 0.
inline std::uint64_t KeyOfRank(std::uint64_t rank) { return Mix64(rank + 1); }

// Writes `rows` rows for the one table of `job`, which must be of float32, to a checkpoint in
// `folder`: sorted files in the order of their keys, a part of the slots at a time, so that it
// takes 128 MiB of memory at most.
Status MakeTierCheckpoint(const proto::JobConfig& job, std::uint64_t rows,
                          const std::string& folder);

}  // namespace cairn::bench
