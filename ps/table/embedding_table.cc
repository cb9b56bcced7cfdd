#include "ps/table/embedding_table.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "proto/config.pb.h"
#include "ps/optim/optimizers.h"
#include "ps/table/embedding_table_impl.h"

namespace cairn::ps {
namespace {

// Constant sizes, so that a short row costs no call.
[[gnu::always_inline]] inline void CopyFloats(const float* from, std::size_t n, float* to) {
  for (; n >= 16; n -= 16, from += 16, to += 16) std::memcpy(to, from, 64);
  for (; n >= 4; n -= 4, from += 4, to += 4) std::memcpy(to, from, 16);
  for (; n > 0; --n) *to++ = *from++;
}

EvictionRule RuleOf(const proto::EvictionConfig& config) {
  return {config.max_age_pushes(), config.min_count(), config.min_norm(),
          config.min_count_age_pushes()};
}

std::optional<ValueCodec> MakeCodec(const proto::TableConfig& config, std::uint64_t seed) {
  const Storage storage = StorageOf(config);
  if (storage == Storage::kFloat32) return std::nullopt;
  return ValueCodec(Float16TypeOf(storage), RoundingStream(seed, TableSalt(config.name())));
}

}  // namespace

// Absent rows of one batch, to be initialised together.
struct EmbeddingTable::Fresh {
  std::uint64_t keys[kBatch];
  float* values[kBatch];
  std::size_t size = 0;

  void Add(std::uint64_t key, float* value) {
    keys[size] = key;
    values[size++] = value;
  }
};

// Of the rows of a batch that a push has just made, where they are not made in place.
struct EmbeddingTable::InitialValues {
  std::vector<float> floats;
  const float* of[kBatch];  // null: the row was there
};

Result<std::unique_ptr<EmbeddingTable>> EmbeddingTable::Make(const proto::TableConfig& config,
                                                             std::uint64_t seed) {
  ASSIGN_OR_RETURN(auto optimizer, MakeOptimizer(config.optimizer()), "table ", config.name(),
                   ": optimizer");
  ASSIGN_OR_RETURN(auto initializer,
                   MakeInitializer(config.initializer(), seed, TableSalt(config.name())), "table ",
                   config.name(), ": initializer");
  if (config.dim() < 1 || config.dim() > kMaxDim) {
    return absl::InvalidArgumentError(StrCat("table ", config.name(), ": dim is ", config.dim(),
                                             ", must be in [1, ", kMaxDim, "]"));
  }
  const auto l2 = static_cast<float>(config.l2());
  if (!(l2 >= 0 && l2 <= std::numeric_limits<float>::max())) {
    return absl::InvalidArgumentError(
        StrCat("table ", config.name(), ": l2 is ", config.l2(), ", must not be negative"));
  }
  if (RuleOf(config.eviction()).evicts() && config.l2_rows() == proto::TableConfig::ALL) {
    return absl::InvalidArgumentError(
        StrCat("table ", config.name(), ": eviction goes by the pushes since a row's last step, ",
               "but with l2_rows: ALL every row takes every step"));
  }
  return std::unique_ptr<EmbeddingTable>(
      new EmbeddingTable(config, seed, std::move(optimizer), std::move(initializer)));
}

EmbeddingTable::EmbeddingTable(const proto::TableConfig& config, std::uint64_t seed,
                               std::unique_ptr<RowOptimizer> optimizer,
                               std::unique_ptr<RowInitializer> initializer)
    : name_(config.name()),
      layout_(config.dim(), optimizer->StateSize(config.dim()), StorageOf(config)),
      codec_(MakeCodec(config, seed)),
      l2_(static_cast<float>(config.l2())),
      eviction_(RuleOf(config.eviction())),
      updates_all_rows_(config.l2_rows() == proto::TableConfig::ALL),
      no_gradient_(config.dim(), 0.0f),
      optimizer_(std::move(optimizer)),
      initializer_(std::move(initializer)),
      memory_(layout_.ValueBytes(), layout_.RestBytes()) {
  for (auto& stripe : stripes_) stripe = std::make_unique<Stripe>(&index_memory_);
}

EmbeddingTable::~EmbeddingTable() = default;

Status EmbeddingTable::Pull(const KeyGroups& keys, AbsentValue absent, float* values) {
  std::size_t missing = 0;
  std::vector<IndexedKey> misses;
  for (std::uint32_t s = 0; s < kStripes; ++s) {
    const auto group = keys.Group(s);
    if (group.empty()) continue;
    std::vector<IndexedKey>* const wanted = store_ == nullptr ? nullptr : &misses;
    missing += codec_.has_value() ? PullGroup<true>(*stripes_[s], group, absent, values, wanted)
                                  : PullGroup<false>(*stripes_[s], group, absent, values, wanted);
  }
  pulled_rows_.fetch_add(keys.size(), std::memory_order_relaxed);
  if (misses.empty()) {
    pulled_absent_.fetch_add(missing, std::memory_order_relaxed);
    return OkStatus();
  }
  return PullCold(misses, absent, values);
}

template <bool kCoded>
std::size_t EmbeddingTable::PullGroup(Stripe& stripe, std::span<const IndexedKey> group,
                                      AbsentValue absent, float* values,
                                      std::vector<IndexedKey>* misses) {
  const std::size_t dim = layout_.dim();
  const std::size_t bytes = layout_.ValueBytes();
  std::size_t missing = 0;
  std::uint32_t rows[kBatch];
  ReadLock lock(stripe.lock);
  for (; !group.empty(); group = group.subspan(std::min(kBatch, group.size()))) {
    const auto keys = group.first(std::min(kBatch, group.size()));
    stripe.index.Find(keys, rows);
    IndexedKey absent_keys[kBatch];
    std::size_t absent_count = 0;
    WithPrefetch(
        keys.size(),
        [&](std::size_t i) {
          if (rows[i] != KeyIndex::kNoRow) Prefetch<0>(memory_.Value(rows[i]), bytes);
          Prefetch<1>(values + std::size_t{keys[i].position} * dim, dim * sizeof(float));
        },
        [&](std::size_t i) {
          float* const out = values + std::size_t{keys[i].position} * dim;
          if (rows[i] != KeyIndex::kNoRow) {
            if constexpr (kCoded) {
              codec_->Decode(CodesOf(rows[i]), dim, out);
            } else {
              CopyFloats(ValueOf(rows[i]), dim, out);
            }
          } else {
            absent_keys[absent_count++] = keys[i];
          }
        });
    missing += absent_count;
    if (misses != nullptr) {
      misses->insert(misses->end(), absent_keys, absent_keys + absent_count);
    } else {
      FillAbsent({absent_keys, absent_count}, absent, values);
    }
  }
  return missing;
}

void EmbeddingTable::FillAbsent(std::span<const IndexedKey> keys, AbsentValue absent,
                                float* values) const {
  const std::size_t dim = layout_.dim();
  for (; !keys.empty(); keys = keys.subspan(std::min(kBatch, keys.size()))) {
    Fresh fresh;
    for (const IndexedKey& key : keys.first(std::min(kBatch, keys.size()))) {
      fresh.Add(key.key, values + std::size_t{key.position} * dim);
    }
    if (absent == AbsentValue::kInitial) {
      initializer_->Fill({fresh.keys, fresh.size}, dim, fresh.values);
    } else {
      for (std::size_t i = 0; i < fresh.size; ++i) std::fill_n(fresh.values[i], dim, 0.0f);
    }
  }
}

void EmbeddingTable::PushRows(const KeyGroups& keys, const float* gradients, const PushStep& step) {
  for (std::uint32_t s = 0; s < kStripes; ++s) {
    const auto group = keys.Group(s);
    if (updates_all_rows_ || !group.empty()) {
      if (codec_.has_value()) {
        PushGroup<true>(*stripes_[s], group, gradients, step);
      } else {
        PushGroup<false>(*stripes_[s], group, gradients, step);
      }
    }
  }
  pushed_rows_.fetch_add(keys.size(), std::memory_order_relaxed);
}

template <bool kCoded>
[[gnu::always_inline]] inline void EmbeddingTable::StepRow(std::uint64_t key, std::uint32_t row,
                                                           const float* initial,
                                                           const float* gradient,
                                                           const PushStep& step,
                                                           std::uint32_t version) {
  const std::size_t dim = layout_.dim();
  const std::span<float> state = layout_.StateOfRest(memory_.Rest(row));
  const StepInfo info{step.learning_rate_scale, l2_, version};
  if constexpr (kCoded) {
    alignas(64) float value[kMaxDim];
    if (initial != nullptr) {
      std::copy_n(initial, dim, value);
    } else {
      codec_->Decode(CodesOf(row), dim, value);
    }
    optimizer_->Apply({{value, dim}, state}, {gradient, dim}, info);
    codec_->Encode(value, dim, CodesOf(row), key, step.number);
  } else {
    optimizer_->Apply({{ValueOf(row), dim}, state}, {gradient, dim}, info);
  }
}

template <bool kCoded>
void EmbeddingTable::PushGroup(Stripe& stripe, std::span<const IndexedKey> group,
                               const float* gradients, const PushStep& step) {
  const std::size_t dim = layout_.dim();
  std::uint32_t rows[kBatch];
  InitialValues initial;
  WriteLock lock(stripe.lock);
  for (; !group.empty(); group = group.subspan(std::min(kBatch, group.size()))) {
    const auto keys = group.first(std::min(kBatch, group.size()));
    stripe.index.FindAndMark(keys, rows);
    MakeAbsentRows<kCoded>(stripe, keys, rows, &initial);
    WithPrefetch(
        keys.size(),
        [&](std::size_t i) {
          Prefetch<0>(gradients + std::size_t{keys[i].position} * dim, dim * sizeof(float));
          Prefetch<1>(memory_.Value(rows[i]), layout_.ValueBytes());
          Prefetch<1>(memory_.Rest(rows[i]), layout_.RestBytes());
        },
        [&](std::size_t i) {
          std::byte* const rest = memory_.Rest(rows[i]);
          const RowMetadata before = layout_.MetadataOfRest(rest);
          if (step.is_replay && before.last_step >= step.number) return;
          const RowMetadata metadata = NextMetadata(before, step.number);
          layout_.SetMetadataOfRest(rest, metadata);
          StepRow<kCoded>(keys[i].key, rows[i], kCoded ? initial.of[i] : nullptr,
                          gradients + std::size_t{keys[i].position} * dim, step, metadata.version);
        });
  }
  if (updates_all_rows_) StepOtherRows<kCoded>(stripe, step);
}

template <bool kCoded>
void EmbeddingTable::StepOtherRows(Stripe& stripe, const PushStep& step) NO_THREAD_SAFETY_ANALYSIS {
  stripe.index.MarkAllDirty();
  stripe.index.ForEach([&](std::uint64_t key, std::uint32_t index, bool) {
    std::byte* const rest = memory_.Rest(index);
    const RowMetadata before = layout_.MetadataOfRest(rest);
    if (before.last_step == step.number) return;  // named by this push
    if (step.is_replay && before.last_step > step.number) return;
    const RowMetadata metadata = NextUnnamedMetadata(before, step.number);
    layout_.SetMetadataOfRest(rest, metadata);
    StepRow<kCoded>(key, index, nullptr, no_gradient_.data(), step, metadata.version);
  });
}

// Makes the rows of the batch that are kNoRow, with their initial values. Those of 16-bit values
// are put aside: they are encoded after the first step.
template <bool kCoded>
void EmbeddingTable::MakeAbsentRows(Stripe& stripe, std::span<const IndexedKey> keys,
                                    std::uint32_t* rows, InitialValues* initial) {
  if constexpr (kCoded) {
    std::fill_n(initial->of, keys.size(), nullptr);
    initial->floats.resize(layout_.dim() * static_cast<std::size_t>(std::count(
                                               rows, rows + keys.size(), KeyIndex::kNoRow)));
  }
  Fresh fresh;
  const std::int64_t before = MeasureStripe(stripe);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (rows[i] != KeyIndex::kNoRow) continue;
    rows[i] = NewRow(stripe, keys[i].key, keys[i].hash, true);
    float* value = nullptr;
    if constexpr (kCoded) {
      value = initial->floats.data() + fresh.size * layout_.dim();
      initial->of[i] = value;
    } else {
      value = ValueOf(rows[i]);
    }
    fresh.Add(keys[i].key, value);
  }
  if (fresh.size == 0) return;
  initializer_->Fill({fresh.keys, fresh.size}, layout_.dim(), fresh.values);
  memory_bytes_.fetch_add(MeasureStripe(stripe) - before, std::memory_order_relaxed);
}

std::int64_t EmbeddingTable::MeasureStripe(const Stripe& stripe) const NO_THREAD_SAFETY_ANALYSIS {
  return static_cast<std::int64_t>(stripe.index.bytes() +
                                   stripe.index.size() * layout_.RecordBytes());
}

// A row whose state is set; value and metadata are for the caller to fill (metadata is zero).
std::uint32_t EmbeddingTable::NewRow(Stripe& stripe, std::uint64_t key, std::uint32_t hash,
                                     bool dirty) NO_THREAD_SAFETY_ANALYSIS {
  if (stripe.free_rows.empty()) {
    // A few at once, but not more than a small table has.
    memory_.Take(std::clamp<std::size_t>(stripe.index.size() / 8, 1, kFreeRows), &stripe.free_rows);
    std::ranges::reverse(stripe.free_rows);
  }
  const std::uint32_t row = stripe.free_rows.back();
  stripe.free_rows.pop_back();
  layout_.SetMetadataOfRest(memory_.Rest(row), {});
  stripe.index.Insert(key, hash, row, dirty);
  optimizer_->InitState(layout_.StateOfRest(memory_.Rest(row)));
  return row;
}

void EmbeddingTable::Load(const KeyGroups& keys, const std::byte* records, bool dirty) {
  for (std::uint32_t s = 0; s < kStripes; ++s) {
    const auto group = keys.Group(s);
    if (!group.empty()) LoadGroup(*stripes_[s], group, records, dirty);
  }
}

void EmbeddingTable::LoadGroup(Stripe& stripe, std::span<const IndexedKey> group,
                               const std::byte* records, bool dirty) {
  std::uint32_t rows[kBatch];
  WriteLock lock(stripe.lock);
  const std::int64_t before = MeasureStripe(stripe);
  for (; !group.empty(); group = group.subspan(std::min(kBatch, group.size()))) {
    const auto keys = group.first(std::min(kBatch, group.size()));
    if (dirty) {
      stripe.index.FindAndMark(keys, rows);
    } else {
      stripe.index.Find(keys, rows);
    }
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (rows[i] == KeyIndex::kNoRow) rows[i] = NewRow(stripe, keys[i].key, keys[i].hash, dirty);
      SetRecord(rows[i], records + keys[i].position * layout_.RecordBytes());
    }
  }
  memory_bytes_.fetch_add(MeasureStripe(stripe) - before, std::memory_order_relaxed);
}

void EmbeddingTable::SetRecord(std::uint32_t row, const std::byte* record) {
  std::memcpy(memory_.Value(row), record, layout_.ValueBytes());
  std::memcpy(memory_.Rest(row), record + layout_.ValueBytes(), layout_.RestBytes());
}

void EmbeddingTable::CopyRecord(std::uint32_t row, std::byte* record) const {
  std::memcpy(record, memory_.Value(row), layout_.ValueBytes());
  std::memcpy(record + layout_.ValueBytes(), memory_.Rest(row), layout_.RestBytes());
}

void EmbeddingTable::PrefetchRecord(std::uint32_t row) const {
  Prefetch<0>(memory_.Value(row), layout_.ValueBytes());
  Prefetch<0>(memory_.Rest(row), layout_.RestBytes());
}

void EmbeddingTable::ForEachRow(
    const std::function<void(std::uint64_t, const std::byte*)>& visit) const {
  std::vector<float> record((layout_.RecordBytes() + sizeof(float) - 1) / sizeof(float));
  auto* const bytes = reinterpret_cast<std::byte*>(record.data());
  for (std::uint32_t s = 0; s < kStripes; ++s) {
    ReadLock lock(stripes_[s]->lock);
    stripes_[s]->index.ForEach([&](std::uint64_t key, std::uint32_t row, bool) {
      CopyRecord(row, bytes);
      visit(key, bytes);
    });
  }
}

void EmbeddingTable::ForEachDirtyRow(
    const std::function<void(std::uint64_t, std::uint32_t)>& visit) const {
  for (std::uint32_t s = 0; s < kStripes; ++s) {
    ReadLock lock(stripes_[s]->lock);
    stripes_[s]->index.ForEach([&](std::uint64_t key, std::uint32_t row, bool dirty) {
      if (dirty) visit(key, row);
    });
  }
}

void EmbeddingTable::MarkAllClean() {
  for (std::uint32_t s = 0; s < kStripes; ++s) {
    WriteLock lock(stripes_[s]->lock);
    stripes_[s]->index.MarkAllClean();
  }
}

TableCounts EmbeddingTable::Counts() const {
  TableCounts counts;
  std::uint64_t index_bytes = 0;
  for (std::uint32_t s = 0; s < kStripes; ++s) {
    ReadLock lock(stripes_[s]->lock);
    counts.resident_rows += stripes_[s]->index.size();
    index_bytes += stripes_[s]->index.bytes();
  }
  const std::int64_t cold = cold_rows_.load(std::memory_order_relaxed);
  counts.rows = counts.resident_rows + static_cast<std::uint64_t>(std::max<std::int64_t>(cold, 0));
  counts.bytes = counts.resident_rows * layout_.RecordBytes() + index_bytes;
  const auto evicted = [this](EvictionReason reason) {
    return evicted_[static_cast<std::size_t>(reason)].load(std::memory_order_relaxed);
  };
  counts.evicted_age = evicted(EvictionReason::kAge);
  counts.evicted_count = evicted(EvictionReason::kCount);
  counts.evicted_norm = evicted(EvictionReason::kNorm);
  counts.fetched_rows = fetched_rows_.load(std::memory_order_relaxed);
  counts.spilled_rows = spilled_rows_.load(std::memory_order_relaxed);
  counts.pulled_rows = pulled_rows_.load(std::memory_order_relaxed);
  counts.pulled_absent = pulled_absent_.load(std::memory_order_relaxed);
  counts.pushed_rows = pushed_rows_.load(std::memory_order_relaxed);
  return counts;
}

}  // namespace cairn::ps
