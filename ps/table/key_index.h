// Open-addressing index of one stripe: key -> row number, with two marks for each row: dirty
// (changed since it was last written to the database) and recent (came or came back since the last
// sweep, and was not marked dirty since).
//
// Buckets of five keys with their row numbers fill one cache line each, so that a look-up costs one
// miss. A key lives in its home bucket or, when that is full, in a second one that its hash names,
// or in the first one behind that with room: full buckets do not fill their neighbours. A bucket
// counts the keys that went past it, so a search ends at the first bucket that no key has passed,
// and removal needs no tombstones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "ps/table/block_pool.h"

namespace cairn::ps {

// A key and where it stands in its request.
struct IndexedKey {
  std::uint64_t key;
  std::uint32_t hash;  // low 32 bits of MixedKey(key)
  std::uint32_t position;
};

// Thread-safety: compatible; the stripe's lock guards it. Row numbers are below kNoRow.
class KeyIndex {
 public:
  static constexpr std::uint32_t kNoRow = 0xffffffffu;

  explicit KeyIndex(BlockPool* pool) : pool_(pool) {}

  // rows[i] = row of keys[i], or kNoRow. Buckets are prefetched some keys ahead, so many keys in
  // one call are found much faster than one by one.
  void Find(std::span<const IndexedKey> keys, std::uint32_t* rows) const;
  // The same; marks the rows that are there as dirty, and no longer recent.
  void FindAndMark(std::span<const IndexedKey> keys, std::uint32_t* rows);

  // Adds a key that is not there; it is recent.
  void Insert(std::uint64_t key, std::uint32_t hash, std::uint32_t row, bool dirty);
  // Removes a key; returns its row, or kNoRow if it is not there.
  std::uint32_t Remove(std::uint64_t key, std::uint32_t hash);
  // Makes room for `more` insertions without growth in between.
  void Reserve(std::size_t more);
  // Gives memory back after many removals: all of it when no key is left.
  void Shrink();

  std::size_t size() const { return size_; }
  std::size_t bytes() const { return memory_.bytes(); }

  // visit(key, row, dirty) for every key, in no order.
  template <typename Visitor>
  void ForEach(Visitor visit) const {
    ForEachIn(0, bucket_count_, visit);
  }
  // The same for the keys of up to `count` buckets from `first` on.
  template <typename Visitor>
  void ForEachIn(std::size_t first, std::size_t count, Visitor visit) const {
    const std::size_t end = count < bucket_count_ - first ? first + count : bucket_count_;
    for (std::size_t b = first; b < end; ++b) {
      const Bucket& bucket = buckets()[b];
      for (std::size_t i = 0; i < bucket.count; ++i) {
        visit(bucket.keys[i], bucket.rows[i], (bucket.dirty >> i & 1) != 0);
      }
    }
  }
  void MarkAllClean();
  void MarkAllDirty();

  // An entry as a sweep sees it; the row and the marks may be changed.
  struct Swept {
    std::uint64_t key;
    std::uint32_t row;
    bool dirty;
    bool recent;
  };
  // visit(Swept&) for the entries of up to `count` buckets from `first` on; entries for which it
  // returns true are removed. prefetch(row) is called for each entry some time before, so that what
  // the visitor reads of the row is there. Returns the bucket to go on with, 0 after the last one.
  template <typename Visitor, typename Prefetch>
  std::size_t Sweep(std::size_t first, std::size_t count, Visitor visit, Prefetch prefetch) {
    constexpr std::size_t kAhead = 6;
    const std::size_t end = count < bucket_count_ - first ? first + count : bucket_count_;
    for (std::size_t b = first; b < end; ++b) {
      if (b + kAhead < end) {
        const Bucket& ahead = buckets()[b + kAhead];
        for (std::size_t i = 0; i < ahead.count; ++i) prefetch(ahead.rows[i]);
      }
      Bucket& bucket = buckets()[b];
      for (std::size_t i = bucket.count; i-- > 0;) {
        Swept entry{bucket.keys[i], bucket.rows[i], (bucket.dirty >> i & 1) != 0,
                    (bucket.recent >> i & 1) != 0};
        const bool remove = visit(entry);
        bucket.rows[i] = entry.row;
        SetBit(&bucket.dirty, i, entry.dirty);
        SetBit(&bucket.recent, i, entry.recent);
        if (remove) RemoveAt(b, i);
      }
    }
    return end >= bucket_count_ ? 0 : end;
  }
  template <typename Visitor>
  std::size_t Sweep(std::size_t first, std::size_t count, Visitor visit) {
    return Sweep(first, count, visit, [](std::uint32_t) {});
  }
  std::size_t bucket_count() const { return bucket_count_; }

  static constexpr std::size_t kBucketKeys = 5;
  struct alignas(64) Bucket {
    std::uint64_t keys[kBucketKeys];
    std::uint32_t rows[kBucketKeys];
    std::uint8_t count;
    std::uint8_t passed;  // keys of this or an earlier home that live further on; 255: many
    std::uint8_t dirty;   // bit i: keys[i]
    std::uint8_t recent;  // bit i: keys[i]
  };
  static_assert(sizeof(Bucket) == 64);

  // The buckets in which a key may live, in order.
  class Probe {
   public:
    Probe(std::uint32_t hash, std::size_t count) : hash_(hash), count_(count), at_(Scale(hash)) {}
    std::size_t bucket() const { return at_; }
    void Next() {
      if (steps_++ == 0) {
        at_ = Scale(hash_ * 0x9e3779b1u);
      } else if (++at_ == count_) {
        at_ = 0;
      }
    }
    // Every bucket was passed.
    bool at_end() const { return steps_ > count_; }

   private:
    std::size_t Scale(std::uint32_t hash) const {
      return static_cast<std::size_t>(std::uint64_t{hash} * count_ >> 32);
    }
    std::uint32_t hash_;
    std::size_t count_;
    std::size_t at_;
    std::size_t steps_ = 0;
  };

 private:
  Bucket* buckets() const { return reinterpret_cast<Bucket*>(memory_.data()); }
  static void SetBit(std::uint8_t* bits, std::size_t i, bool on) {
    *bits = static_cast<std::uint8_t>((*bits & ~(1u << i)) | static_cast<unsigned>(on) << i);
  }
  void Place(std::uint64_t key, std::uint32_t hash, std::uint32_t row, bool dirty, bool recent);
  void RemoveAt(std::size_t b, std::size_t i);
  // Moves everything to memory for so many keys.
  void Rebuild(std::size_t keys);

  BlockPool* pool_;
  BlockPool::Block memory_;
  std::size_t bucket_count_ = 0;
  std::size_t size_ = 0;
  bool crowded_ = false;  // a bucket can no longer count who passed it
};

}  // namespace cairn::ps
