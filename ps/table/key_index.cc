#include "ps/table/key_index.h"

#include <algorithm>
#include <limits>

#include <glog/logging.h>

#include "ps/table/key_groups.h"

namespace cairn::ps {
namespace {

// Above this share of filled places the index grows; at 3/4 a search reads 1.1 buckets.
constexpr std::size_t kLoadNumerator = 3, kLoadDenominator = 4;

}  // namespace

void KeyIndex::Reserve(std::size_t more) {
  const std::size_t wanted = size_ + more;
  if (wanted * kLoadDenominator > bucket_count_ * kBucketKeys * kLoadNumerator) {
    Grow(std::max(wanted, size_ + size_ / 2));
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
  KeyIndex larger;
  larger.bucket_count_ = keys * kLoadDenominator / (kLoadNumerator * kBucketKeys) + 1;
  CHECK_LE(larger.bucket_count_, std::numeric_limits<std::uint32_t>::max());
  larger.memory_ = Pages(larger.bucket_count_ * sizeof(Bucket), Pages::Huge::kAdvise);
  ForEach([&larger](std::uint64_t key, std::uint32_t row, bool dirty) {
    larger.Insert(key, static_cast<std::uint32_t>(MixedKey(key)), row, dirty);
  });
  *this = std::move(larger);
}

void KeyIndex::MarkAllClean() {
  for (std::size_t b = 0; b < bucket_count_; ++b) buckets()[b].dirty = 0;
}

}  // namespace cairn::ps
