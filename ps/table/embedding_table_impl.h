// Shared by the files of EmbeddingTable; nobody else includes it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "ps/table/embedding_table.h"

namespace cairn::ps {

// Keys of a stripe that are worked off together: first all are found, then their rows are used,
// each in a loop of its own that has kRowsAhead lines on their way from memory.
constexpr std::size_t kBatch = 512;
constexpr std::size_t kRowsAhead = 32;
// As EmbeddingTable::Make checks.
constexpr std::size_t kMaxDim = 4096;
// Free rows that a stripe keeps for itself, at most.
constexpr std::size_t kFreeRows = 64;
// Records longer than this are left to the hardware's own prefetcher after the first lines.
constexpr std::size_t kMaxPrefetchBytes = 512;

// Inlined without fail: GCC takes a function that only prefetches for one without effect and drops
// calls of it.
template <int kForWrite>
[[gnu::always_inline]] inline void Prefetch(const void* memory, std::size_t bytes) {
  const auto* const begin = static_cast<const std::byte*>(memory);
  const std::size_t size = std::min(bytes, kMaxPrefetchBytes);
  for (std::size_t i = 0; i < size; i += 64) __builtin_prefetch(begin + i, kForWrite);
  // Records start anywhere in a line: the last one may lie in one line more.
  __builtin_prefetch(begin + size - 1, kForWrite);
}

// Calls use(i) for i in [0, n), and prefetch(i) some calls before.
template <typename PrefetchOne, typename Use>
void WithPrefetch(std::size_t n, PrefetchOne prefetch, Use use) {
  for (std::size_t i = 0; i < std::min(kRowsAhead, n); ++i) prefetch(i);
  std::size_t i = 0;
  for (; i + kRowsAhead < n; ++i) {
    prefetch(i + kRowsAhead);
    use(i);
  }
  for (; i < n; ++i) use(i);
}

struct alignas(64) EmbeddingTable::Stripe {
  explicit Stripe(BlockPool* pool) : index(pool) {}
  mutable StripeLock lock;
  KeyIndex index GUARDED_BY(lock);
  std::vector<std::uint32_t> free_rows GUARDED_BY(lock);  // taken in advance, highest first
};

}  // namespace cairn::ps
