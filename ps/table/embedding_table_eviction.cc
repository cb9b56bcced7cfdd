// The part of EmbeddingTable that finds and forgets rows that are removed for good.
#include <algorithm>
#include <cstring>

#include "ps/table/embedding_table.h"
#include "ps/table/embedding_table_impl.h"

namespace cairn::ps {
namespace {

// Looked at under one lock of a stripe.
constexpr std::size_t kBucketsAtOnce = 4096;

}  // namespace

EvictionReason EmbeddingTable::ReasonFor(const std::byte* value, const RowMetadata& metadata,
                                         const EvictionTime& time) const {
  return eviction_.ReasonFor(metadata, time, [this, value] {
    alignas(64) float floats[kMaxDim];
    if (codec_.has_value()) {
      codec_->Decode(reinterpret_cast<const std::uint16_t*>(value), layout_.dim(), floats);
    } else {
      std::memcpy(floats, value, layout_.ValueBytes());
    }
    return SquaredNorm({floats, layout_.dim()});
  });
}

EvictionReason EmbeddingTable::ReasonForRow(std::uint32_t row, const EvictionTime& time) const {
  return ReasonFor(memory_.Value(row), layout_.MetadataOfRest(memory_.Rest(row)), time);
}

EvictionReason EmbeddingTable::ReasonForRecord(const std::byte* record,
                                               const EvictionTime& time) const {
  return ReasonFor(record, layout_.Metadata(record), time);
}

void EmbeddingTable::FindEvictable(
    std::uint32_t stripe_number, const EvictionTime& time,
    const std::function<void(std::uint64_t, EvictionReason)>& visit) const {
  const Stripe& stripe = *stripes_[stripe_number];
  for (std::size_t bucket = 0;; bucket += kBucketsAtOnce) {
    ReadLock lock(stripe.lock);
    if (bucket >= stripe.index.bucket_count()) return;
    stripe.index.ForEachIn(bucket, kBucketsAtOnce, [&](std::uint64_t key, std::uint32_t row, bool) {
      const EvictionReason reason = ReasonForRow(row, time);
      if (reason != EvictionReason::kNone) visit(key, reason);
    });
  }
}

std::optional<EvictionReason> EmbeddingTable::ReasonForResident(std::uint64_t key,
                                                                const EvictionTime& time) const {
  const std::uint64_t mixed = MixedKey(key);
  const Stripe& stripe = *stripes_[StripeOf(mixed)];
  const IndexedKey indexed{key, static_cast<std::uint32_t>(mixed), 0};
  std::uint32_t row;
  ReadLock lock(stripe.lock);
  stripe.index.Find({&indexed, 1}, &row);
  if (row == KeyIndex::kNoRow) return std::nullopt;
  return ReasonForRow(row, time);
}

void EmbeddingTable::Evict(std::uint64_t key, EvictionReason reason) {
  const std::uint64_t mixed = MixedKey(key);
  const auto hash = static_cast<std::uint32_t>(mixed);
  Stripe& stripe = *stripes_[StripeOf(mixed)];
  WriteLock lock(stripe.lock);
  const std::uint32_t row = stripe.index.Remove(key, hash);
  if (row == KeyIndex::kNoRow) {
    cold_rows_.fetch_sub(1, std::memory_order_relaxed);
  } else {
    memory_.Return({&row, 1});
    memory_bytes_.fetch_sub(static_cast<std::int64_t>(layout_.RecordBytes()),
                            std::memory_order_relaxed);
  }
  evicted_[static_cast<std::size_t>(reason)].fetch_add(1, std::memory_order_relaxed);
}

}  // namespace cairn::ps
