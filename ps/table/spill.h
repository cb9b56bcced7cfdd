// Which rows leave memory when there is too little of it, and what is written of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "ps/table/row_layout.h"

namespace cairn::ps {

// How little a row is worth its memory: its age in pushes times its mean distance between pushes.
// Both are guesses of when it is named next; the age alone forgets that a row was popular, the
// mean alone that it is so no more.
inline float Coldness(const RowMetadata& row, std::uint64_t now) {
  const std::uint64_t age = now > row.last_step ? now - row.last_step : 0;
  return static_cast<float>(age + 1) *
         (static_cast<float>(now + 1) / static_cast<float>(std::max(row.count, 1u)));
}

// Rows that are at least so cold, and did not come to memory since the last sweep.
struct SpillRule {
  std::uint64_t now = 0;  // number of the last push
  float threshold = 0;
};

// Copies of rows on their way to the store; many tables' at once.
class RowBatch {
 public:
  // Memory for so many rows and bytes at once: a vector that grows by itself takes thrice as much.
  void Reserve(std::size_t rows, std::size_t record_bytes) {
    entries_.reserve(rows);
    records_.reserve(record_bytes);
  }
  // Room for one more record, to be filled by the caller before the next call.
  std::byte* Add(const RowKey& key, std::size_t record_bytes) {
    entries_.push_back({key, records_.size(), static_cast<std::uint32_t>(record_bytes)});
    records_.resize(records_.size() + record_bytes);
    return records_.data() + entries_.back().at;
  }
  void Sort() {
    std::ranges::sort(entries_, {}, [](const Entry& entry) { return entry.key; });
  }
  void Clear() {
    entries_.clear();
    records_.clear();
  }
  std::size_t size() const { return entries_.size(); }
  std::size_t bytes() const { return records_.size() + entries_.size() * kRowKeyBytes; }
  const RowKey& key(std::size_t i) const { return entries_[i].key; }
  std::string_view record(std::size_t i) const {
    return {reinterpret_cast<const char*>(records_.data()) + entries_[i].at, entries_[i].bytes};
  }

 private:
  struct Entry {
    RowKey key;
    std::size_t at;
    std::uint32_t bytes;
  };
  std::vector<Entry> entries_;
  std::vector<std::byte> records_;
};

}  // namespace cairn::ps
