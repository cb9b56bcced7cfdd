#include "ps/tier/evictor.h"

#include <algorithm>
#include <limits>
#include <string>

namespace cairn::ps {
namespace {

constexpr std::uint64_t kPassesPerAge = 4;
constexpr std::uint64_t kStepsPerPass = 8;

// Pushes that a pass takes; 0 if no table evicts.
std::uint64_t PassLength(TableSpan tables) {
  std::uint64_t age = std::numeric_limits<std::uint64_t>::max();
  bool evicts = false;
  for (const auto& table : tables) {
    if (!table->eviction().evicts()) continue;
    evicts = true;
    age = std::min(age, table->eviction().ShortestAge());
  }
  return evicts ? std::max<std::uint64_t>(age / kPassesPerAge, 1) : 0;
}

}  // namespace

void Evictor::Begin(TableSpan tables, std::uint64_t now) {
  began_ = now;
  next_ = 0;
  stops_in_memory_ = tables.size() * kStripes;
  stops_in_store_ = 0;
  std::uint64_t rows = 0;
  bool cold = false;
  for (const auto& table : tables) {
    rows += table->Counts().rows;
    cold |= table->eviction().evicts() && table->may_have_cold_rows();
  }
  if (!cold) return;
  stops_in_store_ =
      static_cast<std::uint32_t>(std::clamp<std::uint64_t>(rows / rows_of_stop_, 1, slots_.count));
}

bool Evictor::IsDue(TableSpan tables, std::uint64_t now) {
  const std::uint64_t length = PassLength(tables);
  if (length == 0) return false;
  const std::size_t stops = stops_in_memory_ + stops_in_store_;
  // At first, after the state was replaced, or after a whole pass.
  if (stops == 0 || now < began_ || (next_ >= stops && now - began_ >= length)) {
    Begin(tables, now);
    return false;
  }
  const std::uint64_t gone = std::min(now - began_, length);
  const auto steps = static_cast<std::uint64_t>(static_cast<double>(gone) /
                                                static_cast<double>(length) * kStepsPerPass);
  return next_ < stops * steps / kStepsPerPass;
}

Status Evictor::Look(TableSpan tables, const RowStore& store, const EvictionTime& time) {
  const std::size_t stop = next_++;
  if (stop < stops_in_memory_) {
    LookInMemory(tables, stop, time);
    return OkStatus();
  }
  const auto first_slot = [this](std::uint64_t part) {
    return slots_.first + static_cast<std::uint32_t>(slots_.count * part / stops_in_store_);
  };
  const std::uint64_t part = stop - stops_in_memory_;
  return LookInStore(tables, first_slot(part), first_slot(part + 1), store, time);
}

void Evictor::LookInMemory(TableSpan tables, std::size_t stop, const EvictionTime& time) {
  const std::size_t t = stop / kStripes;
  if (!tables[t]->eviction().evicts()) return;
  tables[t]->FindEvictable(static_cast<std::uint32_t>(stop % kStripes), time,
                           [&](std::uint64_t key, EvictionReason reason) {
                             const auto slot =
                                 static_cast<std::uint16_t>(slots_.SlotOfMixed(MixedKey(key)));
                             found_.push_back({{slot, static_cast<std::uint16_t>(t), key}, reason});
                           });
}

Status Evictor::LookInStore(TableSpan tables, std::uint32_t begin_slot, std::uint32_t end_slot,
                            const RowStore& store, const EvictionTime& time) {
  const auto bound = [](std::uint32_t of) {
    if (of > 0xffff) return std::string();
    const EncodedRowKey key = EncodeRowKey({static_cast<std::uint16_t>(of), 0, 0});
    return std::string(key.data(), key.size());
  };
  std::vector<Found> stored;
  std::vector<std::byte> aligned;
  Status status;
  RETURN_IF_ERROR(
      store.Scan(Family::kRows, bound(begin_slot), bound(end_slot), [&](const StoreRecord& record) {
        const auto key = DecodeRowKey(record.key);
        if (!key.has_value() || key->table >= tables.size()) return true;  // others tell of it
        const EmbeddingTable& table = *tables[key->table];
        if (!table.eviction().evicts()) return true;
        if (record.value.size() != table.layout().RecordBytes()) {
          status = absl::DataLossError(StrCat("table ", table.name(), ": the record of key ",
                                              key->key, " has ", record.value.size(), " bytes"));
          return false;
        }
        const auto bytes = std::as_bytes(std::span(record.value));
        aligned.assign(bytes.begin(), bytes.end());
        const EvictionReason reason = table.ReasonForRecord(aligned.data(), time);
        if (reason != EvictionReason::kNone) stored.push_back({*key, reason});
        return true;
      }));
  RETURN_IF_ERROR(status);
  // Of a row in memory the store may have an old record; the stripes are looked at for it.
  for (const Found& found : stored) {
    if (!tables[found.row.table]->ReasonForResident(found.row.key, time).has_value()) {
      found_.push_back(found);
    }
  }
  return OkStatus();
}

// A row that is not in memory has not changed since it was found: it would have had to come to
// memory, and none has left it.
void Evictor::Check(TableSpan tables, const EvictionTime& time) {
  std::ranges::sort(found_, {}, &Found::row);
  const auto doubles = std::ranges::unique(found_, {}, &Found::row);
  found_.erase(doubles.begin(), doubles.end());
  std::erase_if(found_, [&](Found& found) {
    const auto reason = tables[found.row.table]->ReasonForResident(found.row.key, time);
    if (reason.has_value()) found.reason = *reason;
    return found.reason == EvictionReason::kNone;
  });
}

Status Evictor::Remove(TableSpan tables, RowStore& store, const EvictionTime& time, bool durably) {
  Check(tables, time);
  if (found_.empty()) return OkStatus();
  EncodedRowKey key;
  const Status deleted = store.DeleteSorted(Family::kRows, found_.size(), [&](std::size_t i) {
    key = EncodeRowKey(found_[i].row);
    return std::string_view(key.data(), key.size());
  });
  const Status removed = deleted.ok() && durably ? store.Flush() : deleted;
  for (const Found& found : found_) {
    EmbeddingTable& table = *tables[found.row.table];
    // What has gone from the store and was nowhere else is gone, if not for certain.
    const bool is_gone = deleted.ok() && !table.ReasonForResident(found.row.key, time).has_value();
    if (removed.ok() || is_gone) {
      table.Evict(found.row.key, found.reason);
    } else {
      table.MarkDirty(found.row.key);  // the store may have lost it
    }
  }
  found_.clear();
  return removed;
}

}  // namespace cairn::ps
