// Memory of one table's rows. A row has a number and two parts, each in an array of its own: the
// value, which pulls read, and the rest (optimizer state, metadata), which only pushes touch. So a
// pull of a row with a power of two of floats reads whole cache lines and nothing else.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/base/mutex.h"
#include "ps/table/row_arena.h"

namespace cairn::ps {

// Thread-safety: all methods at once. The caller orders use of a row after its allocation.
class RowMemory {
 public:
  static constexpr std::uint32_t kBlockRows = RowArena::kBlockRows;

  // Bytes of the two parts of a row, each above 0.
  RowMemory(std::size_t value_bytes, std::size_t rest_bytes)
      : values_(value_bytes), rests_(rest_bytes) {}

  // Number of the first row of a block of kBlockRows that nobody else has; all bytes are 0.
  std::uint32_t AllocateBlock() EXCLUDES(mu_) {
    MutexLock lock(mu_);
    rests_.AllocateBlock();
    return values_.AllocateBlock();
  }

  std::byte* Value(std::uint32_t row) const { return values_.Row(row); }
  std::byte* Rest(std::uint32_t row) const { return rests_.Row(row); }

 private:
  Mutex mu_;  // the arenas number their rows alike
  RowArena values_;
  RowArena rests_;
};

}  // namespace cairn::ps
