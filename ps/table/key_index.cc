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

// Above this share of filled places the index grows; at 3/4 a search reads 1.1 buckets.
constexpr std::size_t kLoadNumerator = 3, kLoadDenominator = 4;

constexpr unsigned kAllPlaces = (1u << KeyIndex::kBucketKeys) - 1;

// Bit i: keys[i] is filled and is `key`. Without branches: a wrong guess would wait for the line.
inline unsigned Match(const Bucket& bucket, std::uint64_t key) {
  unsigned match = 0;
  for (std::size_t i = 0; i < KeyIndex::kBucketKeys; ++i) {
    match |= static_cast<unsigned>(bucket.keys[i] == key) << i;
  }
  return match & ((1u << bucket.count) - 1);
}

// Goes on where the home bucket was full and did not have the key.
template <bool kMark>
[[gnu::noinline]] std::uint32_t FindFurther(Bucket* buckets, std::size_t count, std::size_t b,
                                            std::uint64_t key) {
  for (;;) {
    if (++b == count) b = 0;
    const unsigned match = Match(buckets[b], key);
    if (match != 0) {
      if constexpr (kMark) buckets[b].dirty |= static_cast<std::uint8_t>(match);
      return buckets[b].rows[std::countr_zero(match)];
    }
    if (buckets[b].count < KeyIndex::kBucketKeys) return KeyIndex::kNoRow;
  }
}

// What the home bucket says, `match` being its places with the key.
template <bool kMark>
CAIRN_KERNEL_BODY std::uint32_t Resolve(Bucket* buckets, std::size_t count, std::size_t b,
                                        std::uint64_t key, unsigned match) {
  if (match != 0) [[likely]] {
    if constexpr (kMark) buckets[b].dirty |= static_cast<std::uint8_t>(match);
    return buckets[b].rows[std::countr_zero(match)];
  }
  if (buckets[b].count < KeyIndex::kBucketKeys) return KeyIndex::kNoRow;
  return FindFurther<kMark>(buckets, count, b, key);
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
  PrefetchFirst(buckets, count, keys);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    // Near the end the last bucket is asked for again, which costs less than a second loop.
    const std::size_t ahead = std::min(i + kAhead, keys.size() - 1);
    __builtin_prefetch(buckets + HomeOf(keys[ahead], count));
    const std::size_t b = HomeOf(keys[i], count);
    rows[i] = Resolve<kMark>(buckets, count, b, keys[i].key, Match(buckets[b], keys[i].key));
  }
}

#if defined(__x86_64__)
// One comparison of the whole line.
template <bool kMark>
CAIRN_TARGET_AVX512 void FindAvx512(Bucket* buckets, std::size_t count,
                                    std::span<const IndexedKey> keys, std::uint32_t* rows) {
  PrefetchFirst(buckets, count, keys);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const std::size_t ahead = std::min(i + kAhead, keys.size() - 1);
    __builtin_prefetch(buckets + HomeOf(keys[ahead], count));
    const std::size_t b = HomeOf(keys[i], count);
    const __m512i line = _mm512_load_si512(buckets + b);
    const unsigned equal =
        _mm512_cmpeq_epi64_mask(line, _mm512_set1_epi64(static_cast<long long>(keys[i].key)));
    const unsigned match = equal & ((1u << buckets[b].count) - 1) & kAllPlaces;
    rows[i] = Resolve<kMark>(buckets, count, b, keys[i].key, match);
  }
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
  if (wanted * kLoadDenominator > bucket_count_ * kBucketKeys * kLoadNumerator) {
    Grow(std::max(wanted, size_ + size_ / 4));
  }
}

void KeyIndex::Insert(std::uint64_t key, std::uint32_t hash, std::uint32_t row, bool dirty) {
  Reserve(1);
  std::size_t b = Home(hash);
  while (buckets()[b].count == kBucketKeys) b = b + 1 == bucket_count_ ? 0 : b + 1;
  Bucket& bucket = buckets()[b];
  bucket.keys[bucket.count] = key;
  bucket.rows[bucket.count] = row;
  if (dirty) bucket.dirty |= static_cast<std::uint8_t>(1u << bucket.count);
  ++bucket.count;
  ++size_;
}

void KeyIndex::Grow(std::size_t keys) {
  KeyIndex larger(pool_);
  const std::size_t buckets = keys * kLoadDenominator / (kLoadNumerator * kBucketKeys) + 1;
  larger.memory_ = pool_->Allocate(buckets * sizeof(Bucket));
  larger.bucket_count_ = larger.memory_.bytes() / sizeof(Bucket);
  CHECK_LE(larger.bucket_count_, std::numeric_limits<std::uint32_t>::max());
  ForEach([&larger](std::uint64_t key, std::uint32_t row, bool dirty) {
    larger.Insert(key, static_cast<std::uint32_t>(MixedKey(key)), row, dirty);
  });
  *this = std::move(larger);
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
