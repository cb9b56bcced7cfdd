// Which rows leave memory when there is too little of it, and what is written of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "ps/table/row_layout.h"

namespace cairn::ps {

// How little a row is worth its memory: its age in pushes plus a quarter of its mean distance
// between pushes. Both are guesses of when it is named next; the age alone (LRU) forgets that a row
// was popular, the mean alone (LFU) that it is so no more. docs/storage.md has the hit rates.
inline float Coldness(const RowMetadata& row, std::uint64_t now) {
  const std::uint64_t age = now > row.last_step ? now - row.last_step : 0;
  return static_cast<float>(age + 1) +
         static_cast<float>(now + 1) / (4 * static_cast<float>(std::max(row.count, 1u)));
}

// Rows that are at least so cold, and did not come to memory since the last sweep.
struct SpillRule {
  std::uint64_t now = 0;  // number of the last push
  float threshold = 0;
};

// Copies of rows on their way to the store; many tables' at once. Its memory is kept for the next
// rows.
class RowBatch {
 public:
  // Room for one more record, to be filled by the caller.
  std::byte* Add(const RowKey& key, std::size_t record_bytes) {
    if (record_bytes > left_) NextChunk(record_bytes);
    std::byte* const record = at_;
    at_ += record_bytes;
    left_ -= record_bytes;
    bytes_ += record_bytes;
    entries_.push_back({key, record, static_cast<std::uint32_t>(record_bytes)});
    return record;
  }
  void Sort() {
    std::ranges::sort(entries_, {}, [](const Entry& entry) { return entry.key; });
  }
  void Clear() {
    entries_.clear();
    next_chunk_ = 0;
    left_ = 0;
    bytes_ = 0;
  }
  std::size_t size() const { return entries_.size(); }
  std::size_t bytes() const { return bytes_ + entries_.size() * kRowKeyBytes; }
  const RowKey& key(std::size_t i) const { return entries_[i].key; }
  std::string_view record(std::size_t i) const {
    return {reinterpret_cast<const char*>(entries_[i].record), entries_[i].bytes};
  }

 private:
  static constexpr std::size_t kChunkBytes = 256u << 10;  // holds the longest record
  struct Entry {
    RowKey key;
    const std::byte* record;
    std::uint32_t bytes;
  };

  void NextChunk(std::size_t record_bytes) {
    const std::size_t size = std::max(kChunkBytes, record_bytes);
    if (next_chunk_ == chunks_.size()) chunks_.emplace_back();
    auto& [memory, bytes] = chunks_[next_chunk_++];
    if (bytes < size) {
      memory = std::make_unique_for_overwrite<std::byte[]>(size);
      bytes = size;
    }
    at_ = memory.get();
    left_ = bytes;
  }

  std::vector<Entry> entries_;
  std::vector<std::pair<std::unique_ptr<std::byte[]>, std::size_t>> chunks_;  // and their bytes
  std::size_t next_chunk_ = 0;
  std::byte* at_ = nullptr;  // in the last chunk in use
  std::size_t left_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace cairn::ps
