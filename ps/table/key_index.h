// Open-addressing index of one stripe: key -> row number, with a mark for rows that changed since
// the last snapshot.
//
// Buckets of five keys with their row numbers fill one cache line each, so that a look-up costs one
// miss. A key lives in its home bucket or, when that is full, in the next one with room; nothing is
// ever removed, so a search ends at the first bucket that is not full.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ps/table/pages.h"

namespace cairn::ps {

// Thread-safety: compatible; the stripe's lock guards it.
class KeyIndex {
 public:
  static constexpr std::uint32_t kNoRow = 0xffffffffu;

  // `hash`: the low 32 bits of MixedKey(key), for all methods.
  void Prefetch(std::uint32_t hash) const {
    if (bucket_count_ != 0) __builtin_prefetch(buckets() + Home(hash));
  }
  // Row of the key, or kNoRow.
  std::uint32_t Find(std::uint64_t key, std::uint32_t hash) const;
  // The same; marks the row dirty if it is there.
  std::uint32_t FindAndMark(std::uint64_t key, std::uint32_t hash);
  // Adds a key that is not there.
  void Insert(std::uint64_t key, std::uint32_t hash, std::uint32_t row, bool dirty);
  // Makes room for `more` insertions without growth in between.
  void Reserve(std::size_t more);

  std::size_t size() const { return size_; }
  std::size_t bytes() const { return memory_.bytes(); }

  // visit(key, row, dirty) for every key, in no order.
  template <typename Visitor>
  void ForEach(Visitor visit) const {
    for (std::size_t b = 0; b < bucket_count_; ++b) {
      const Bucket& bucket = buckets()[b];
      for (std::size_t i = 0; i < bucket.count; ++i) {
        visit(bucket.keys[i], bucket.rows[i], (bucket.dirty >> i & 1) != 0);
      }
    }
  }
  void MarkAllClean();

 private:
  static constexpr std::size_t kBucketKeys = 5;
  struct alignas(64) Bucket {
    std::uint64_t keys[kBucketKeys];
    std::uint32_t rows[kBucketKeys];
    std::uint8_t count;
    std::uint8_t dirty;  // bit i: keys[i]
  };
  static_assert(sizeof(Bucket) == 64);

  Bucket* buckets() const { return reinterpret_cast<Bucket*>(memory_.data()); }
  std::size_t Home(std::uint32_t hash) const {
    return static_cast<std::size_t>(std::uint64_t{hash} * bucket_count_ >> 32);
  }
  void Grow(std::size_t keys);

  Pages memory_;
  std::size_t bucket_count_ = 0;
  std::size_t size_ = 0;
};

inline std::uint32_t KeyIndex::Find(std::uint64_t key, std::uint32_t hash) const {
  if (bucket_count_ == 0) return kNoRow;
  for (std::size_t b = Home(hash);;) {
    const Bucket& bucket = buckets()[b];
    for (std::size_t i = 0; i < kBucketKeys; ++i) {
      if (bucket.keys[i] == key && i < bucket.count) return bucket.rows[i];
    }
    if (bucket.count < kBucketKeys) return kNoRow;
    if (++b == bucket_count_) b = 0;
  }
}

inline std::uint32_t KeyIndex::FindAndMark(std::uint64_t key, std::uint32_t hash) {
  if (bucket_count_ == 0) return kNoRow;
  for (std::size_t b = Home(hash);;) {
    Bucket& bucket = buckets()[b];
    for (std::size_t i = 0; i < kBucketKeys; ++i) {
      if (bucket.keys[i] == key && i < bucket.count) {
        bucket.dirty |= static_cast<std::uint8_t>(1u << i);
        return bucket.rows[i];
      }
    }
    if (bucket.count < kBucketKeys) return kNoRow;
    if (++b == bucket_count_) b = 0;
  }
}

}  // namespace cairn::ps
