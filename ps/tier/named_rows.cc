#include "ps/tier/named_rows.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace cairn::ps {
namespace {

constexpr int kBucketBits = 10;
constexpr std::size_t kLeastCompact = 4u << 20;  // keys, 64 MiB

void SortOut(std::vector<RowKey>* keys) {
  std::sort(keys->begin(), keys->end());
  keys->erase(std::unique(keys->begin(), keys->end()), keys->end());
}

}  // namespace

NamedRows::NamedRows(const SlotRange& slots, std::vector<std::size_t> row_bytes,
                     std::uint64_t most_bytes)
    : slots_(slots),
      row_bytes_(std::move(row_bytes)),
      most_bytes_(most_bytes),
      bucket_shift_(std::max(0, static_cast<int>(std::bit_width(slots.count - 1)) - kBucketBits)),
      buckets_(((slots.count - 1) >> bucket_shift_) + 1),
      compact_at_(kLeastCompact) {}

void NamedRows::Add(std::uint16_t table, std::span<const std::uint64_t> keys) {
  std::size_t added = 0;
  for (const std::uint64_t key : keys) {
    const std::uint32_t slot = slots_.SlotOfMixed(MixedKey(key));
    if (slot - slots_.first >= slots_.count) continue;
    buckets_[(slot - slots_.first) >> bucket_shift_].push_back(
        {static_cast<std::uint16_t>(slot), table, key});
    ++added;
  }
  keys_ += added;
  bytes_ += added * row_bytes_[table];
  if (bytes_ > most_bytes_ || keys_ > compact_at_) Compact();
}

void NamedRows::Compact() {
  std::vector<std::uint64_t> of_bucket;
  keys_ = 0;
  bytes_ = 0;
  for (std::vector<RowKey>& bucket : buckets_) {
    SortOut(&bucket);
    of_bucket.push_back(0);
    for (const RowKey& key : bucket) of_bucket.back() += row_bytes_[key.table];
    bytes_ += of_bucket.back();
    keys_ += bucket.size();
  }
  // Below the limit by a quarter, so that the next time is not soon.
  while (buckets_.size() > 1 && bytes_ > most_bytes_ - most_bytes_ / 4) {
    bytes_ -= of_bucket.back();
    keys_ -= buckets_.back().size();
    of_bucket.pop_back();
    buckets_.pop_back();
    slots_.count = static_cast<std::uint32_t>(buckets_.size()) << bucket_shift_;
  }
  compact_at_ = std::max(kLeastCompact, 2 * keys_);
}

void NamedRows::SortBucket(std::size_t bucket, std::span<std::uint64_t> rows) {
  SortOut(&buckets_[bucket]);
  for (const RowKey& key : buckets_[bucket]) ++rows[key.table];
}

void NamedRows::TakeBucket(std::size_t bucket, std::vector<RowKey>* out) {
  const std::vector<RowKey> keys = std::move(buckets_[bucket]);
  out->insert(out->end(), keys.begin(), keys.end());
}

}  // namespace cairn::ps
