#include "ps/table/embedding_table.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "proto/config.pb.h"
#include "ps/optim/optimizers.h"

namespace cairn::ps {
namespace {

// Keys whose buckets, and then rows, are fetched together.
constexpr std::size_t kBatch = 32;
// Records longer than this are left to the hardware's own prefetcher after the first lines.
constexpr std::size_t kMaxPrefetchBytes = 512;

void PrefetchForRead(const std::byte* begin, std::size_t bytes) {
  for (std::size_t i = 0; i < std::min(bytes, kMaxPrefetchBytes); i += 64) {
    __builtin_prefetch(begin + i, 0);
  }
}
void PrefetchForWrite(const std::byte* begin, std::size_t bytes) {
  for (std::size_t i = 0; i < std::min(bytes, kMaxPrefetchBytes); i += 64) {
    __builtin_prefetch(begin + i, 1);
  }
}

}  // namespace

struct alignas(64) EmbeddingTable::Stripe {
  mutable StripeLock lock;
  KeyIndex index GUARDED_BY(lock);
  std::uint32_t next_row GUARDED_BY(lock) = 0;  // in the block in use
  std::uint32_t rows_left GUARDED_BY(lock) = 0;
};

// Absent rows of one batch, to be initialised together.
struct EmbeddingTable::Batch {
  std::uint64_t keys[kBatch];
  float* values[kBatch];
  std::size_t size = 0;

  void Add(std::uint64_t key, float* value) {
    keys[size] = key;
    values[size++] = value;
  }
};

Result<std::unique_ptr<EmbeddingTable>> EmbeddingTable::Make(const proto::TableConfig& config,
                                                             std::uint64_t seed) {
  ASSIGN_OR_RETURN(auto optimizer, MakeOptimizer(config.optimizer()), "table ", config.name(),
                   ": optimizer");
  ASSIGN_OR_RETURN(auto initializer,
                   MakeInitializer(config.initializer(), seed, TableSalt(config.name())), "table ",
                   config.name(), ": initializer");
  if (config.dim() < 1 || config.dim() > 4096) {
    return absl::InvalidArgumentError(
        StrCat("table ", config.name(), ": dim is ", config.dim(), ", must be in [1, 4096]"));
  }
  const auto l2 = static_cast<float>(config.l2());
  if (!(l2 >= 0 && l2 <= std::numeric_limits<float>::max())) {
    return absl::InvalidArgumentError(
        StrCat("table ", config.name(), ": l2 is ", config.l2(), ", must not be negative"));
  }
  return std::unique_ptr<EmbeddingTable>(new EmbeddingTable(
      config.name(), config.dim(), l2, std::move(optimizer), std::move(initializer)));
}

EmbeddingTable::EmbeddingTable(std::string name, std::size_t dim, float l2,
                               std::unique_ptr<RowOptimizer> optimizer,
                               std::unique_ptr<RowInitializer> initializer)
    : name_(std::move(name)),
      layout_(dim, optimizer->StateSize(dim)),
      stride_(layout_.StrideBytes()),
      l2_(l2),
      optimizer_(std::move(optimizer)),
      initializer_(std::move(initializer)),
      arena_(stride_),
      stripes_(new Stripe[kStripes]) {}

EmbeddingTable::~EmbeddingTable() = default;

void EmbeddingTable::Pull(const KeyGroups& keys, AbsentValue absent, float* values) {
  std::size_t missing = 0;
  for (std::uint32_t s = 0; s < kStripes; ++s) {
    const auto group = keys.Group(s);
    if (!group.empty()) missing += PullGroup(stripes_[s], group, absent, values);
  }
  pulled_rows_.fetch_add(keys.size(), std::memory_order_relaxed);
  pulled_absent_.fetch_add(missing, std::memory_order_relaxed);
}

std::size_t EmbeddingTable::PullGroup(Stripe& stripe, std::span<const KeyGroups::Entry> group,
                                      AbsentValue absent, float* values) {
  const std::size_t dim = layout_.dim();
  std::size_t missing = 0;
  ReadLock lock(stripe.lock);
  for (std::size_t i = 0; i < std::min(kBatch, group.size()); ++i) {
    stripe.index.Prefetch(group[i].hash);
  }
  for (std::size_t begin = 0; begin < group.size(); begin += kBatch) {
    const std::size_t n = std::min(kBatch, group.size() - begin);
    const KeyGroups::Entry* const entry = group.data() + begin;
    const std::size_t next = std::min(kBatch, group.size() - begin - n);
    const std::byte* rows[kBatch];
    for (std::size_t i = 0; i < n; ++i) {
      if (i < next) stripe.index.Prefetch(entry[n + i].hash);
      const std::uint32_t row = stripe.index.Find(entry[i].key, entry[i].hash);
      rows[i] = row == KeyIndex::kNoRow ? nullptr : arena_.Row(row);
      if (rows[i] != nullptr) PrefetchForRead(rows[i], dim * sizeof(float));
    }
    Batch fresh;
    for (std::size_t i = 0; i < n; ++i) {
      float* const out = values + std::size_t{entry[i].position} * dim;
      if (rows[i] != nullptr) {
        std::memcpy(out, rows[i], dim * sizeof(float));
      } else {
        fresh.Add(entry[i].key, out);
      }
    }
    missing += fresh.size;
    if (absent == AbsentValue::kInitial) {
      initializer_->Fill({fresh.keys, fresh.size}, dim, fresh.values);
    } else {
      for (std::size_t i = 0; i < fresh.size; ++i) std::fill_n(fresh.values[i], dim, 0.0f);
    }
  }
  return missing;
}

void EmbeddingTable::Push(const KeyGroups& keys, const float* gradients, float learning_rate_scale,
                          std::uint64_t step) {
  for (std::uint32_t s = 0; s < kStripes; ++s) {
    const auto group = keys.Group(s);
    if (!group.empty()) PushGroup(stripes_[s], group, gradients, learning_rate_scale, step);
  }
  pushed_rows_.fetch_add(keys.size(), std::memory_order_relaxed);
}

void EmbeddingTable::PushGroup(Stripe& stripe, std::span<const KeyGroups::Entry> group,
                               const float* gradients, float learning_rate_scale,
                               std::uint64_t step) {
  const std::size_t dim = layout_.dim();
  WriteLock lock(stripe.lock);
  for (std::size_t i = 0; i < std::min(kBatch, group.size()); ++i) {
    stripe.index.Prefetch(group[i].hash);
  }
  for (std::size_t begin = 0; begin < group.size(); begin += kBatch) {
    const std::size_t n = std::min(kBatch, group.size() - begin);
    const KeyGroups::Entry* const entry = group.data() + begin;
    const std::size_t next = std::min(kBatch, group.size() - begin - n);
    std::byte* rows[kBatch];
    Batch fresh;
    for (std::size_t i = 0; i < n; ++i) {
      if (i < next) stripe.index.Prefetch(entry[n + i].hash);
      const std::uint32_t row = stripe.index.FindAndMark(entry[i].key, entry[i].hash);
      if (row != KeyIndex::kNoRow) {
        rows[i] = arena_.Row(row);
        PrefetchForWrite(rows[i], stride_);
      } else {
        rows[i] = NewRow(stripe, entry[i].key, entry[i].hash, true);
        fresh.Add(entry[i].key, layout_.Value(rows[i]).data());
      }
    }
    initializer_->Fill({fresh.keys, fresh.size}, dim, fresh.values);
    for (std::size_t i = 0; i < n; ++i) {
      const RowMetadata metadata = NextMetadata(layout_.Metadata(rows[i]), step);
      layout_.SetMetadata(rows[i], metadata);
      optimizer_->Apply({layout_.Value(rows[i]), layout_.State(rows[i])},
                        {gradients + std::size_t{entry[i].position} * dim, dim},
                        {learning_rate_scale, l2_, metadata.version});
    }
  }
}

// A row whose state is set; value and metadata are for the caller to fill (metadata is zero).
std::byte* EmbeddingTable::NewRow(Stripe& stripe, std::uint64_t key, std::uint32_t hash,
                                  bool dirty) NO_THREAD_SAFETY_ANALYSIS {
  if (stripe.rows_left == 0) {
    stripe.next_row = arena_.AllocateBlock();
    stripe.rows_left = RowArena::kBlockRows;
  }
  const std::uint32_t row = stripe.next_row++;
  --stripe.rows_left;
  stripe.index.Insert(key, hash, row, dirty);
  std::byte* const record = arena_.Row(row);
  optimizer_->InitState(layout_.State(record));
  return record;
}

void EmbeddingTable::Load(std::uint64_t key, const void* record, bool dirty) {
  const std::uint64_t mixed = MixedKey(key);
  const auto hash = static_cast<std::uint32_t>(mixed);
  Stripe& stripe = stripes_[StripeOf(mixed)];
  WriteLock lock(stripe.lock);
  const std::uint32_t found =
      dirty ? stripe.index.FindAndMark(key, hash) : stripe.index.Find(key, hash);
  std::byte* const row =
      found == KeyIndex::kNoRow ? NewRow(stripe, key, hash, dirty) : arena_.Row(found);
  std::memcpy(row, record, layout_.RecordBytes());
}

void EmbeddingTable::ForEachRow(
    const std::function<void(std::uint64_t, const std::byte*)>& visit) const {
  for (std::uint32_t s = 0; s < kStripes; ++s) {
    ReadLock lock(stripes_[s].lock);
    stripes_[s].index.ForEach(
        [&](std::uint64_t key, std::uint32_t row, bool) { visit(key, arena_.Row(row)); });
  }
}

void EmbeddingTable::ForEachDirtyRow(
    const std::function<void(std::uint64_t, const std::byte*)>& visit) const {
  for (std::uint32_t s = 0; s < kStripes; ++s) {
    ReadLock lock(stripes_[s].lock);
    stripes_[s].index.ForEach([&](std::uint64_t key, std::uint32_t row, bool dirty) {
      if (dirty) visit(key, arena_.Row(row));
    });
  }
}

void EmbeddingTable::MarkAllClean() {
  for (std::uint32_t s = 0; s < kStripes; ++s) {
    WriteLock lock(stripes_[s].lock);
    stripes_[s].index.MarkAllClean();
  }
}

TableCounts EmbeddingTable::Counts() const {
  TableCounts counts;
  std::uint64_t index_bytes = 0;
  for (std::uint32_t s = 0; s < kStripes; ++s) {
    ReadLock lock(stripes_[s].lock);
    counts.rows += stripes_[s].index.size();
    index_bytes += stripes_[s].index.bytes();
  }
  counts.bytes = counts.rows * stride_ + index_bytes;
  counts.pulled_rows = pulled_rows_.load(std::memory_order_relaxed);
  counts.pulled_absent = pulled_absent_.load(std::memory_order_relaxed);
  counts.pushed_rows = pushed_rows_.load(std::memory_order_relaxed);
  return counts;
}

}  // namespace cairn::ps
