#include "ps/table/key_index.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <bit>
#include <limits>

#include <glog/logging.h>

#include "ps/optim/isa.h"
#include "ps/table/key_groups.h"

namespace cairn::ps {
namespace {

using Bucket = KeyIndex::Bucket;

// Above this share of filled places the index grows, by a sixteenth once it is large: 15 to 16
// bytes a key. Fuller, more keys live behind two full buckets: at 9/10 look-ups take twice as long.
constexpr std::size_t kLoadNumerator = 22, kLoadDenominator = 25;
constexpr std::size_t kSmallIndex = 4096;  // keys; below, it grows by half
// Below this one it shrinks, to well between the two.
constexpr std::size_t kSparseNumerator = 3, kSparseDenominator = 5;

constexpr unsigned kAllPlaces = (1u << KeyIndex::kBucketKeys) - 1;

// Bit i: keys[i] is filled and is `key`. Without branches: a wrong guess would wait for the line.
inline unsigned Match(const Bucket& bucket, std::uint64_t key) {
  unsigned match = 0;
  for (std::size_t i = 0; i < KeyIndex::kBucketKeys; ++i) {
    match |= static_cast<unsigned>(bucket.keys[i] == key) << i;
  }
  return match & ((1u << bucket.count) - 1);
}

inline void Mark(Bucket& bucket, unsigned match) {
  bucket.dirty |= static_cast<std::uint8_t>(match);
  bucket.recent &= static_cast<std::uint8_t>(~match);
}

// Keys that their home bucket does not have though keys went past it: looked for after the others,
// when the second bucket has come from memory.
struct Pending {
  static constexpr std::size_t kMost = 64;
  std::uint32_t keys[kMost];
  std::size_t size = 0;
};

template <bool kMark>
[[gnu::noinline]] void FindFurther(Bucket* buckets, std::size_t count,
                                   std::span<const IndexedKey> keys, Pending& pending,
                                   std::uint32_t* rows) {
  for (std::size_t p = 0; p < pending.size; ++p) {
    const std::uint32_t i = pending.keys[p];
    KeyIndex::Probe probe(keys[i].hash, count);
    for (probe.Next(); !probe.at_end(); probe.Next()) {
      Bucket& bucket = buckets[probe.bucket()];
      const unsigned match = Match(bucket, keys[i].key);
      if (match != 0) {
        if constexpr (kMark) Mark(bucket, match);
        rows[i] = bucket.rows[std::countr_zero(match)];
        break;
      }
      if (bucket.passed == 0) break;
    }
  }
  pending.size = 0;
}

// What the home bucket of keys[i] says, `match` being its places with the key.
template <bool kMark>
CAIRN_KERNEL_BODY void Resolve(Bucket* buckets, std::size_t count, std::size_t b, std::uint32_t i,
                               unsigned match, std::span<const IndexedKey> keys, Pending& pending,
                               std::uint32_t* rows) {
  if (match != 0) [[likely]] {
    if constexpr (kMark) Mark(buckets[b], match);
    rows[i] = buckets[b].rows[std::countr_zero(match)];
    return;
  }
  rows[i] = KeyIndex::kNoRow;
  if (buckets[b].passed == 0) return;
  KeyIndex::Probe probe(keys[i].hash, count);
  probe.Next();
  __builtin_prefetch(buckets + probe.bucket());
  pending.keys[pending.size++] = i;
  if (pending.size == Pending::kMost) FindFurther<kMark>(buckets, count, keys, pending, rows);
}

// Buckets on their way from memory.
constexpr std::size_t kAhead = 32;

inline std::size_t HomeOf(const IndexedKey& key, std::size_t count) {
  return static_cast<std::size_t>(std::uint64_t{key.hash} * count >> 32);
}

inline void PrefetchFirst(const Bucket* buckets, std::size_t count,
                          std::span<const IndexedKey> keys) {
  for (std::size_t i = 0; i < std::min(kAhead, keys.size()); ++i) {
    __builtin_prefetch(buckets + HomeOf(keys[i], count));
  }
}

template <bool kMark>
void FindPlain(Bucket* buckets, std::size_t count, std::span<const IndexedKey> keys,
               std::uint32_t* rows) {
  Pending pending;
  PrefetchFirst(buckets, count, keys);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    // Near the end the last bucket is asked for again, which costs less than a second loop.
    const std::size_t ahead = std::min(i + kAhead, keys.size() - 1);
    __builtin_prefetch(buckets + HomeOf(keys[ahead], count));
    const std::size_t b = HomeOf(keys[i], count);
    Resolve<kMark>(buckets, count, b, static_cast<std::uint32_t>(i), Match(buckets[b], keys[i].key),
                   keys, pending, rows);
  }
  FindFurther<kMark>(buckets, count, keys, pending, rows);
}

#if defined(__x86_64__)
// One comparison of the whole line.
template <bool kMark>
CAIRN_TARGET_AVX512 void FindAvx512(Bucket* buckets, std::size_t count,
                                    std::span<const IndexedKey> keys, std::uint32_t* rows) {
  Pending pending;
  PrefetchFirst(buckets, count, keys);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const std::size_t ahead = std::min(i + kAhead, keys.size() - 1);
    __builtin_prefetch(buckets + HomeOf(keys[ahead], count));
    const std::size_t b = HomeOf(keys[i], count);
    const __m512i line = _mm512_load_si512(buckets + b);
    const unsigned equal =
        _mm512_cmpeq_epi64_mask(line, _mm512_set1_epi64(static_cast<long long>(keys[i].key)));
    const unsigned match = equal & ((1u << buckets[b].count) - 1) & kAllPlaces;
    Resolve<kMark>(buckets, count, b, static_cast<std::uint32_t>(i), match, keys, pending, rows);
  }
  FindFurther<kMark>(buckets, count, keys, pending, rows);
}
template <bool kMark>
auto PickFind() {
  return BestIsa() == Isa::kAvx512 ? &FindAvx512<kMark> : &FindPlain<kMark>;
}
#else
template <bool kMark>
auto PickFind() {
  return &FindPlain<kMark>;
}
#endif

}  // namespace

void KeyIndex::Find(std::span<const IndexedKey> keys, std::uint32_t* rows) const {
  static const auto find = PickFind<false>();
  if (bucket_count_ == 0) {
    std::fill_n(rows, keys.size(), kNoRow);
  } else {
    find(buckets(), bucket_count_, keys, rows);
  }
}

void KeyIndex::FindAndMark(std::span<const IndexedKey> keys, std::uint32_t* rows) {
  static const auto find = PickFind<true>();
  if (bucket_count_ == 0) {
    std::fill_n(rows, keys.size(), kNoRow);
  } else {
    find(buckets(), bucket_count_, keys, rows);
  }
}

void KeyIndex::Reserve(std::size_t more) {
  const std::size_t wanted = size_ + more;
  const std::size_t places = bucket_count_ * kBucketKeys;
  // Crowding at a low load comes from keys with equal hashes, which more room does not part.
  if (wanted * kLoadDenominator > places * kLoadNumerator || (crowded_ && wanted * 2 > places)) {
    Rebuild(std::max(wanted, size_ + size_ / (size_ < kSmallIndex ? 2 : 16)));
  }
}

void KeyIndex::Shrink() {
  if (size_ == 0) {
    *this = KeyIndex(pool_);
  } else if (size_ * kSparseDenominator < bucket_count_ * kBucketKeys * kSparseNumerator) {
    Rebuild(size_ + size_ / 5);
  }
}

void KeyIndex::Insert(std::uint64_t key, std::uint32_t hash, std::uint32_t row, bool dirty) {
  Reserve(1);
  Place(key, hash, row, dirty, /*recent=*/true);
}

void KeyIndex::Place(std::uint64_t key, std::uint32_t hash, std::uint32_t row, bool dirty,
                     bool recent) {
  Probe probe(hash, bucket_count_);
  for (; buckets()[probe.bucket()].count == kBucketKeys; probe.Next()) {
    Bucket& full = buckets()[probe.bucket()];
    if (full.passed < 255) ++full.passed;
    crowded_ |= full.passed == 255;
  }
  Bucket& bucket = buckets()[probe.bucket()];
  const std::size_t i = bucket.count++;
  bucket.keys[i] = key;
  bucket.rows[i] = row;
  SetBit(&bucket.dirty, i, dirty);
  SetBit(&bucket.recent, i, recent);
  ++size_;
}

std::uint32_t KeyIndex::Remove(std::uint64_t key, std::uint32_t hash) {
  if (bucket_count_ == 0) return kNoRow;
  for (Probe probe(hash, bucket_count_); !probe.at_end(); probe.Next()) {
    const Bucket& bucket = buckets()[probe.bucket()];
    for (std::size_t i = 0; i < bucket.count; ++i) {
      if (bucket.keys[i] != key) continue;
      const std::uint32_t row = bucket.rows[i];
      RemoveAt(probe.bucket(), i);
      return row;
    }
    if (bucket.passed == 0) return kNoRow;
  }
  return kNoRow;
}

// The last entry of the bucket takes the free place.
void KeyIndex::RemoveAt(std::size_t b, std::size_t i) {
  const auto hash = static_cast<std::uint32_t>(MixedKey(buckets()[b].keys[i]));
  for (Probe probe(hash, bucket_count_); probe.bucket() != b; probe.Next()) {
    Bucket& passed = buckets()[probe.bucket()];
    if (passed.passed < 255) --passed.passed;
  }
  Bucket& bucket = buckets()[b];
  const std::size_t last = --bucket.count;
  bucket.keys[i] = bucket.keys[last];
  bucket.rows[i] = bucket.rows[last];
  SetBit(&bucket.dirty, i, (bucket.dirty >> last & 1) != 0);
  SetBit(&bucket.recent, i, (bucket.recent >> last & 1) != 0);
  SetBit(&bucket.dirty, last, false);
  SetBit(&bucket.recent, last, false);
  --size_;
}

void KeyIndex::Rebuild(std::size_t keys) {
  KeyIndex rebuilt(pool_);
  const std::size_t buckets_wanted = keys * kLoadDenominator / (kLoadNumerator * kBucketKeys) + 1;
  rebuilt.memory_ = pool_->Allocate(buckets_wanted * sizeof(Bucket));
  rebuilt.bucket_count_ = rebuilt.memory_.bytes() / sizeof(Bucket);
  CHECK_LE(rebuilt.bucket_count_, std::numeric_limits<std::uint32_t>::max());
  for (std::size_t b = 0; b < bucket_count_; ++b) {
    const Bucket& bucket = buckets()[b];
    for (std::size_t i = 0; i < bucket.count; ++i) {
      rebuilt.Place(bucket.keys[i], static_cast<std::uint32_t>(MixedKey(bucket.keys[i])),
                    bucket.rows[i], (bucket.dirty >> i & 1) != 0, (bucket.recent >> i & 1) != 0);
    }
  }
  *this = std::move(rebuilt);
}

void KeyIndex::MarkAllClean() {
  for (std::size_t b = 0; b < bucket_count_; ++b) buckets()[b].dirty = 0;
}

void KeyIndex::MarkAllDirty() {
  for (std::size_t b = 0; b < bucket_count_; ++b) {
    buckets()[b].dirty = static_cast<std::uint8_t>((1u << buckets()[b].count) - 1);
  }
}

}  // namespace cairn::ps
