// Unique keys of a batch, and for each key its position among them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace cairn::worker {

// An open-addressing table with linear probing. Starting a table's keys costs nothing: entries of
// earlier rounds are told by their stamp. One object serves all tables of a batch in turn, so that
// it stays in the cache. Keys are hashes already: their low bits choose the bucket.
// Not thread-safe.
class KeyDedup {
 public:
  // Starts with no keys; `unique`, which is cleared, receives them until the next Begin().
  void Begin(std::vector<std::uint64_t>* unique);

  // index[i] = position of keys[i] in `unique`, to which unseen keys are appended in order.
  void Map(std::span<const std::uint64_t> keys, std::uint32_t* index);

 private:
  struct Entry {
    std::uint64_t key = 0;
    std::uint32_t stamp = 0;  // of the round that wrote the entry; 0: none
    std::uint32_t position = 0;
  };
  Entry* FindEntry(std::uint64_t key);
  void Grow();

  std::vector<Entry> entries_ = std::vector<Entry>(1 << 14);  // a power of two, at most half full
  std::uint32_t stamp_ = 0;
  std::vector<std::uint64_t>* unique_ = nullptr;
};

}  // namespace cairn::worker
