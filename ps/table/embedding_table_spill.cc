// The part of EmbeddingTable that moves rows between memory and the store.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include <glog/logging.h>

#include "common/math/rng.h"
#include "ps/table/embedding_table.h"
#include "ps/table/embedding_table_impl.h"

namespace cairn::ps {
namespace {

// Looked for in the store together: more take more memory and are not found faster.
constexpr std::size_t kFetchRows = 8192;

}  // namespace

void EmbeddingTable::SetStore(const ColdRows* store, std::int64_t rows) {
  store_ = store;
  cold_rows_ = rows;
}

Status EmbeddingTable::PullCold(std::span<const IndexedKey> misses, AbsentValue absent,
                                float* values) {
  for (; !misses.empty(); misses = misses.subspan(std::min(kFetchRows, misses.size()))) {
    RETURN_IF_ERROR(
        PullSomeCold(misses.first(std::min(kFetchRows, misses.size())), absent, values));
  }
  return OkStatus();
}

Status EmbeddingTable::PullSomeCold(std::span<const IndexedKey> misses, AbsentValue absent,
                                    float* values) {
  std::vector<std::uint32_t> found;
  std::vector<std::byte> records;
  RETURN_IF_ERROR(Fetch(misses, &found, &records));
  const std::size_t dim = layout_.dim();
  std::vector<IndexedKey> nowhere;
  std::size_t next = 0;
  for (std::uint32_t i = 0; i < misses.size(); ++i) {
    if (next == found.size() || found[next] != i) {
      nowhere.push_back(misses[i]);
      continue;
    }
    const std::byte* const record = records.data() + next++ * layout_.RecordBytes();
    float* const out = values + std::size_t{misses[i].position} * dim;
    if (codec_.has_value()) {
      codec_->Decode(reinterpret_cast<const std::uint16_t*>(record), dim, out);
    } else {
      std::memcpy(out, record, layout_.ValueBytes());
    }
  }
  FillAbsent(nowhere, absent, values);
  pulled_absent_.fetch_add(nowhere.size(), std::memory_order_relaxed);
  if (absent == AbsentValue::kInitial) Promote(misses, found, records.data());
  return OkStatus();
}

Status EmbeddingTable::MakeResident(const KeyGroups& keys) {
  if (store_ == nullptr) return OkStatus();
  std::vector<IndexedKey> misses;
  std::uint32_t rows[kBatch];
  for (std::uint32_t s = 0; s < kStripes; ++s) {
    auto group = keys.Group(s);
    if (group.empty()) continue;
    ReadLock lock(stripes_[s]->lock);
    for (; !group.empty(); group = group.subspan(std::min(kBatch, group.size()))) {
      const auto batch = group.first(std::min(kBatch, group.size()));
      stripes_[s]->index.Find(batch, rows);
      for (std::size_t i = 0; i < batch.size(); ++i) {
        if (rows[i] == KeyIndex::kNoRow) misses.push_back(batch[i]);
      }
    }
  }
  for (std::size_t i = 0; i < misses.size(); i += kFetchRows) {
    const auto some = std::span<const IndexedKey>(misses).subspan(i).first(
        std::min(kFetchRows, misses.size() - i));
    std::vector<std::uint32_t> found;
    std::vector<std::byte> records;
    RETURN_IF_ERROR(Fetch(some, &found, &records));
    Promote(some, found, records.data());
  }
  return OkStatus();
}

Status EmbeddingTable::Fetch(std::span<const IndexedKey> keys, std::vector<std::uint32_t>* found,
                             std::vector<std::byte>* records) {
  std::vector<std::uint64_t> wanted;
  wanted.reserve(keys.size());
  for (const IndexedKey& key : keys) wanted.push_back(key.key);
  const std::size_t size = layout_.RecordBytes();
  std::vector<std::uint32_t> index;  // in the order of the store
  std::vector<std::byte> read;
  index.reserve(keys.size());
  read.reserve(keys.size() * size);
  Status damaged;
  RETURN_IF_ERROR(store_->Fetch(wanted,
                                [&](std::size_t i, std::string_view record) {
                                  if (record.size() != size) {
                                    damaged = absl::DataLossError(
                                        StrCat("table ", name_, ": the record of key ", wanted[i],
                                               " has ", record.size(), " bytes, not ", size));
                                    return;
                                  }
                                  index.push_back(static_cast<std::uint32_t>(i));
                                  const auto* const bytes =
                                      reinterpret_cast<const std::byte*>(record.data());
                                  read.insert(read.end(), bytes, bytes + size);
                                }),
                  "table ", name_);
  RETURN_IF_ERROR(damaged);
  fetched_rows_.fetch_add(index.size(), std::memory_order_relaxed);
  // Into the order of the keys, which is by stripe.
  constexpr std::uint32_t kNone = 0xffffffffu;
  std::vector<std::uint32_t> place(keys.size(), kNone);
  for (std::uint32_t r = 0; r < index.size(); ++r) place[index[r]] = r;
  found->reserve(index.size());
  records->reserve(read.size());
  for (std::uint32_t i = 0; i < keys.size(); ++i) {
    if (place[i] == kNone) continue;
    found->push_back(i);
    const std::byte* const record = read.data() + place[i] * size;
    records->insert(records->end(), record, record + size);
  }
  return OkStatus();
}

void EmbeddingTable::Promote(std::span<const IndexedKey> keys, std::span<const std::uint32_t> found,
                             const std::byte* records) {
  std::int64_t promoted = 0;
  for (std::size_t f = 0; f < found.size();) {
    const std::uint32_t s = StripeOf(MixedKey(keys[found[f]].key));
    Stripe& stripe = *stripes_[s];
    WriteLock lock(stripe.lock);
    const std::int64_t before = MeasureStripe(stripe);
    for (; f < found.size() && StripeOf(MixedKey(keys[found[f]].key)) == s; ++f) {
      const IndexedKey& key = keys[found[f]];
      std::uint32_t row;
      stripe.index.Find({&key, 1}, &row);
      if (row != KeyIndex::kNoRow) continue;  // another request brought it
      row = NewRow(stripe, key.key, key.hash, /*dirty=*/false);
      SetRecord(row, records + f * layout_.RecordBytes());
      ++promoted;
    }
    memory_bytes_.fetch_add(MeasureStripe(stripe) - before, std::memory_order_relaxed);
  }
  cold_rows_.fetch_sub(promoted, std::memory_order_relaxed);
}

void EmbeddingTable::AddFetched(const KeyGroups& keys, const std::byte* records) {
  std::int64_t added = 0;
  std::uint32_t rows[kBatch];
  for (std::uint32_t s = 0; s < kStripes; ++s) {
    auto group = keys.Group(s);
    if (group.empty()) continue;
    Stripe& stripe = *stripes_[s];
    WriteLock lock(stripe.lock);
    const std::int64_t before = MeasureStripe(stripe);
    for (; !group.empty(); group = group.subspan(std::min(kBatch, group.size()))) {
      const auto batch = group.first(std::min(kBatch, group.size()));
      stripe.index.Find(batch, rows);
      for (std::size_t i = 0; i < batch.size(); ++i) {
        if (rows[i] != KeyIndex::kNoRow) continue;
        const std::uint32_t row = NewRow(stripe, batch[i].key, batch[i].hash, /*dirty=*/false);
        SetRecord(row, records + batch[i].position * layout_.RecordBytes());
        ++added;
      }
    }
    memory_bytes_.fetch_add(MeasureStripe(stripe) - before, std::memory_order_relaxed);
  }
  cold_rows_.fetch_sub(added, std::memory_order_relaxed);
}

void EmbeddingTable::ReserveIndex(std::uint64_t rows) {
  // Stripes get about as many; few have four standard deviations more.
  const double mean = static_cast<double>(rows) / kStripes;
  const auto of_stripe = static_cast<std::size_t>(mean + 4 * std::sqrt(mean));
  for (const auto& stripe : stripes_) {
    WriteLock lock(stripe->lock);
    const std::int64_t before = MeasureStripe(*stripe);
    stripe->index.Reserve(of_stripe);
    memory_bytes_.fetch_add(MeasureStripe(*stripe) - before, std::memory_order_relaxed);
  }
}

void EmbeddingTable::SampleColdness(std::size_t count, std::uint64_t now, std::uint64_t seed,
                                    std::vector<float>* sample) const {
  Rng rng(seed, now);
  for (std::size_t drawn = 0; drawn < count;) {
    const Stripe& stripe = *stripes_[rng.NextBelow(kStripes)];
    ReadLock lock(stripe.lock);
    if (stripe.index.bucket_count() == 0) {
      drawn += 1;
      continue;
    }
    constexpr std::size_t kBuckets = 64;
    const std::size_t from = rng.NextBelow(stripe.index.bucket_count());
    stripe.index.ForEachIn(from, kBuckets, [&](std::uint64_t, std::uint32_t row, bool) {
      sample->push_back(Coldness(layout_.MetadataOfRest(memory_.Rest(row)), now));
    });
    drawn += kBuckets * KeyIndex::kBucketKeys;
  }
}

std::uint64_t EmbeddingTable::WriteBack(std::uint32_t stripe_number, const SpillRule* rule,
                                        std::uint16_t table, const SlotRange& slots,
                                        RowBatch* batch) {
  Stripe& stripe = *stripes_[stripe_number];
  const std::size_t size = layout_.RecordBytes();
  std::uint64_t freed = 0;
  WriteLock lock(stripe.lock);
  stripe.index.Sweep(
      0, stripe.index.bucket_count(),
      [&](KeyIndex::Swept& entry) {
        if (rule != nullptr) {
          if (entry.recent || !IsCold(entry.row, *rule)) return false;
          freed += size;
        }
        if (!entry.dirty) return false;
        const std::uint64_t mixed = MixedKey(entry.key);
        CopyRecord(entry.row, batch->Add({static_cast<std::uint16_t>(slots.SlotOfMixed(mixed)),
                                          table, entry.key},
                                         size));
        entry.dirty = false;
        return false;
      },
      PrefetchMetadata());
  return freed;
}

void EmbeddingTable::MarkDirty(const KeyGroups& keys) {
  std::uint32_t rows[kBatch];
  for (std::uint32_t s = 0; s < kStripes; ++s) {
    auto group = keys.Group(s);
    WriteLock lock(stripes_[s]->lock);
    for (; !group.empty(); group = group.subspan(std::min(kBatch, group.size()))) {
      stripes_[s]->index.FindAndMark(group.first(std::min(kBatch, group.size())), rows);
    }
  }
}

void EmbeddingTable::MarkDirty(std::uint64_t key) {
  const std::uint64_t mixed = MixedKey(key);
  const IndexedKey indexed{key, static_cast<std::uint32_t>(mixed), 0};
  std::uint32_t row;
  Stripe& stripe = *stripes_[StripeOf(mixed)];
  WriteLock lock(stripe.lock);
  stripe.index.FindAndMark({&indexed, 1}, &row);
}

std::int64_t EmbeddingTable::reserved_bytes() const {
  return static_cast<std::int64_t>(memory_.bytes() + index_memory_.bytes());
}

std::int64_t EmbeddingTable::unusable_bytes() const {
  const auto bytes_of = [this](std::uint32_t rows) {
    return static_cast<std::int64_t>(rows * memory_.row_bytes());
  };
  const std::int64_t index = memory_bytes() - bytes_of(memory_.used());
  return std::max<std::int64_t>(reserved_bytes() - bytes_of(memory_.end()) - index, 0);
}

void EmbeddingTable::CopyRow(std::uint32_t from, std::uint32_t to) {
  std::memcpy(memory_.Value(to), memory_.Value(from), layout_.ValueBytes());
  std::memcpy(memory_.Rest(to), memory_.Rest(from), layout_.RestBytes());
}

// Rows beyond the bound move to free ones below it, which the rows that go make more of.
std::uint64_t EmbeddingTable::Drop(std::uint32_t stripe_number, const SpillRule& rule) {
  Stripe& stripe = *stripes_[stripe_number];
  WriteLock lock(stripe.lock);
  const std::int64_t before = MeasureStripe(stripe);
  memory_.Return(stripe.free_rows);
  stripe.free_rows.clear();
  const std::uint32_t used = memory_.used();
  const std::uint32_t bound = used + used / kSpareRows;
  std::vector<std::uint32_t> freed;
  std::int64_t dropped = 0;
  stripe.index.Sweep(
      0, stripe.index.bucket_count(),
      [&](KeyIndex::Swept& entry) {
        const bool is_spared = std::exchange(entry.recent, false);
        if (!is_spared && !entry.dirty && IsCold(entry.row, rule)) {
          freed.push_back(entry.row);
          ++dropped;
          return true;
        }
        if (entry.row >= bound) {
          if (const auto row = memory_.TakeBelow(bound)) {
            CopyRow(entry.row, *row);
            freed.push_back(std::exchange(entry.row, *row));
          }
        }
        return false;
      },
      PrefetchMetadata());
  stripe.index.Shrink();
  memory_.Return(freed);
  memory_.Trim();
  cold_rows_.fetch_add(dropped, std::memory_order_relaxed);
  spilled_rows_.fetch_add(static_cast<std::uint64_t>(dropped), std::memory_order_relaxed);
  const std::int64_t gone = before - MeasureStripe(stripe);
  memory_bytes_.fetch_sub(gone, std::memory_order_relaxed);
  return static_cast<std::uint64_t>(gone);
}

}  // namespace cairn::ps
