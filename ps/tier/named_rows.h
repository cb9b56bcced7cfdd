// The rows that a log names: their keys, collected in passes over the log so that the rows of one
// pass fit in memory. A pass is for the slots from a first one on, as many as fit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ps/table/key_groups.h"
#include "ps/table/row_layout.h"

namespace cairn::ps {

// Takes 16 bytes of memory for each key, and up to twice that while keys that were named several
// times have not been sorted out. Thread-safety: compatible.
class NamedRows {
 public:
  // row_bytes[t] = what a row of table t takes in memory. When the rows take more than `most_bytes`
  // the last slots are given up.
  NamedRows(const SlotRange& slots, std::vector<std::size_t> row_bytes, std::uint64_t most_bytes);

  // Keys outside slots() are left out, also those that were added before slots() became less.
  void Add(std::uint16_t table, std::span<const std::uint64_t> keys);

  // At least the first slots that share a bucket, whether they fit or not.
  const SlotRange& slots() const { return slots_; }
  // What the rows take, or more: keys may count several times.
  std::uint64_t bytes() const { return bytes_; }
  bool fits() const { return bytes_ <= most_bytes_; }

  // The keys lie in buckets by slot, which are in the order of the store.
  std::size_t bucket_count() const { return buckets_.size(); }
  std::size_t bucket_size(std::size_t bucket) const { return buckets_[bucket].size(); }
  // Puts the keys of a bucket in order, each once, and adds their number to rows[table]. Then no
  // keys may be added to it. Several threads may sort different buckets at once.
  void SortBucket(std::size_t bucket, std::span<std::uint64_t> rows);
  // Appends the keys of a sorted bucket to `out` and forgets them. Several threads, as above.
  void TakeBucket(std::size_t bucket, std::vector<RowKey>* out);

 private:
  void Compact();

  SlotRange slots_;
  const std::vector<std::size_t> row_bytes_;
  const std::uint64_t most_bytes_;
  int bucket_shift_ = 0;  // a bucket has 2^bucket_shift_ slots
  std::vector<std::vector<RowKey>> buckets_;
  std::uint64_t bytes_ = 0;
  std::size_t keys_ = 0;
  std::size_t compact_at_;  // keys
};

}  // namespace cairn::ps
