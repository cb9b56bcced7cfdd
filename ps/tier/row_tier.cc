#include "ps/tier/row_tier.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "ps/tier/anonymous_memory.h"

namespace cairn::ps {
namespace {

// Shares of the limit: rows leave above the first until the second is reached.
constexpr double kHighMark = 0.97, kLowMark = 0.94;
// Share of the rows that a round's rule names.
constexpr double kColdShare = 0.25;
constexpr std::size_t kSample = 8192;
// What may be free between rows in use: of rows that left in a round, and not yet moved together.
constexpr double kFreeShare = (kHighMark - kLowMark) + 1.0 / EmbeddingTable::kSpareRows;
// The rest may take most of the memory, but not all.
constexpr std::int64_t kLeastShareOfRows = 4;  // one in so many
// By which part of its excess a maximum that was higher goes down in a round.
constexpr std::int64_t kForget = 8;
constexpr std::uint64_t kSmallestBatch = 256u << 10, kLargestBatch = 64u << 20;
// Of requests and of the store's merges, at first: later it is known.
constexpr std::int64_t kBuffers = 12 << 20;

}  // namespace

Status WriteRows(TableSpan tables, const SlotRange& slots, RowStore& store, RowBatch* batch,
                 const std::function<Status()>& before) {
  if (batch->size() == 0) return OkStatus();
  batch->Sort();
  EncodedRowKey key;
  Status written = before ? before() : OkStatus();
  if (written.ok()) {
    written = store.PutSorted(Family::kRows, batch->size(), batch->bytes(), [&](std::size_t i) {
      key = EncodeRowKey(batch->key(i));
      return StoreRecord{{key.data(), key.size()}, batch->record(i)};
    });
  }
  if (!written.ok()) {
    std::vector<std::vector<std::uint64_t>> keys(tables.size());
    for (std::size_t i = 0; i < batch->size(); ++i) {
      keys[batch->key(i).table].push_back(batch->key(i).key);
    }
    KeyGroups groups;
    for (std::size_t t = 0; t < tables.size(); ++t) {
      if (!keys[t].empty() && !groups.Build(keys[t], slots)) tables[t]->MarkDirty(groups);
    }
  }
  batch->Clear();
  return written;
}

std::int64_t RowTier::MemoryOf(TableSpan tables) {
  std::int64_t sum = 0;
  for (const auto& table : tables) sum += table->memory_bytes();
  return sum;
}

bool RowTier::NeedsRoom(TableSpan tables) const {
  return is_bounded() &&
         static_cast<double>(MemoryOf(tables)) >
             kHighMark * static_cast<double>(limit_.load(std::memory_order_relaxed));
}

bool RowTier::IsFull(TableSpan tables) const {
  return is_bounded() && MemoryOf(tables) > limit_.load(std::memory_order_relaxed);
}

std::size_t RowTier::MostBatchBytes() const {
  return is_bounded() ? std::clamp(memory_bytes_ / 16, kSmallestBatch, kLargestBatch)
                      : kLargestBatch / 2;
}

void RowTier::MeasureRest(TableSpan tables, const RowStore& store) {
  if (!is_bounded()) return;
  std::int64_t reserved = 0, unusable = 0;
  for (const auto& table : tables) {
    reserved += table->reserved_bytes();
    unusable += table->unusable_bytes();
  }
  const auto anonymous = static_cast<std::int64_t>(AnonymousMemoryBytes());
  // A round seldom writes more at once; keys and places take a quarter beside the records.
  auto rest = static_cast<std::int64_t>(store.MemoryBytes() + BatchBytes() / 4 * 5);
  if (scope_ == Scope::kProcess) rest = std::max(rest + kBuffers, anonymous - reserved);
  rest_ = std::max(rest, rest_ - (rest_ - rest) / kForget);
  const std::int64_t taken = rest_ + unusable;
  const auto whole = static_cast<std::int64_t>(memory_bytes_);
  const std::int64_t least = whole / kLeastShareOfRows;
  if (whole - taken < least && !std::exchange(told_, true)) {
    LOG(WARNING) << "server.memory_mib is " << (whole >> 20) << ", but " << (taken >> 20)
                 << " MiB are needed beside the rows; more than the limit will be used";
  }
  // Not what is free now: rows that have left would then make others leave.
  const auto rows = static_cast<std::int64_t>(static_cast<double>(std::max(whole - taken, least)) *
                                              (1 - kFreeShare));
  limit_ = std::max<std::int64_t>(rows - set_aside_, 0);
}

SpillRule RowTier::MakeRule(TableSpan tables, std::uint64_t now) {
  const auto all = static_cast<double>(std::max<std::int64_t>(MemoryOf(tables), 1));
  std::vector<float> sample;
  for (const auto& table : tables) {
    if (table->updates_all_rows()) continue;
    const double share = static_cast<double>(table->memory_bytes()) / all;
    const auto count = static_cast<std::size_t>(share * static_cast<double>(kSample));
    if (count > 0) table->SampleColdness(count, now, round_, &sample);
  }
  if (sample.empty()) return {now, 0};
  const auto at =
      static_cast<std::ptrdiff_t>((1 - kColdShare) * static_cast<double>(sample.size()));
  std::ranges::nth_element(sample, sample.begin() + at);
  return {now, sample[static_cast<std::size_t>(at)]};
}

Status RowTier::WriteBack(TableSpan tables, const SlotRange& slots, RowStore& store,
                          std::uint64_t now, const std::function<Status()>& before) {
  ++round_;
  stops_.clear();
  MeasureRest(tables, store);
  rule_ = MakeRule(tables, now);
  const std::int64_t wanted =
      MemoryOf(tables) - static_cast<std::int64_t>(kLowMark * static_cast<double>(limit_.load(
                                                                  std::memory_order_relaxed)));
  std::int64_t freed = 0;
  batch_.Clear();
  const std::size_t all_stops = tables.size() * kStripes;
  while (freed < wanted && stops_.size() < all_stops) {
    if (next_.table >= tables.size()) next_ = {0, 0};
    stops_.push_back(next_);
    EmbeddingTable& table = *tables[next_.table];
    if (!table.updates_all_rows()) {
      freed += static_cast<std::int64_t>(table.WriteBack(
          next_.stripe, &rule_, static_cast<std::uint16_t>(next_.table), slots, &batch_));
    }
    if (++next_.stripe == kStripes) next_ = {next_.table + 1, 0};
    if (batch_.bytes() >= MostBatchBytes())
      RETURN_IF_ERROR(WriteRows(tables, slots, store, &batch_, before));
  }
  return WriteRows(tables, slots, store, &batch_, before);
}

std::uint64_t RowTier::Drop(TableSpan tables) {
  std::uint64_t freed = 0;
  for (const Stop& stop : stops_) {
    EmbeddingTable& table = *tables[stop.table];
    if (!table.updates_all_rows()) freed += table.Drop(stop.stripe, rule_);
  }
  stops_.clear();
  return freed;
}

}  // namespace cairn::ps
