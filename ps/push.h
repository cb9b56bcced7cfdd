// What one push brings: the gradients of rows and dense chunks, and who sent it.
#pragma once

#include <cstdint>
#include <span>

namespace cairn::ps {

struct RowsUpdate {
  std::uint32_t table = 0;
  std::span<const std::uint64_t> keys;  // each at most once
  const float* gradients = nullptr;     // [keys, dim], any alignment of 4 bytes
};

// The floats of one chunk: tensor = index in the registered layout.
struct DenseChunkUpdate {
  std::uint32_t tensor = 0;
  std::uint32_t chunk = 0;
  std::span<const float> gradient;
};

// Identifies a push for exactly-once application: a client numbers its pushes 1, 2, 3, ...
struct PushId {
  std::uint64_t client = 0;  // worker number and incarnation, mixed; 0: not deduplicated
  std::uint64_t sequence = 0;
};

}  // namespace cairn::ps
