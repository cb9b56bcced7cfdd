#include "ps/checkpoint/flush.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

namespace cairn::ps {
namespace {

struct DirtyRow {
  RowKey key;
  std::uint32_t row;  // number in its table
};

// Splits the slots into ranges with at most about `rows_at_once` dirty rows each; one slot is never
// split. Returns the first slot of each range, and the end.
std::vector<std::uint32_t> Rounds(std::span<const std::uint64_t> rows_of_slot,
                                  std::uint32_t first_slot, std::size_t rows_at_once) {
  std::vector<std::uint32_t> begins = {first_slot};
  std::uint64_t rows = 0;
  for (std::size_t i = 0; i < rows_of_slot.size(); ++i) {
    if (rows > 0 && rows + rows_of_slot[i] > rows_at_once) {
      begins.push_back(first_slot + static_cast<std::uint32_t>(i));
      rows = 0;
    }
    rows += rows_of_slot[i];
  }
  begins.push_back(first_slot + static_cast<std::uint32_t>(rows_of_slot.size()));
  return begins;
}

Status FlushRound(std::span<const std::unique_ptr<EmbeddingTable>> tables, const SlotRange& slots,
                  std::uint32_t begin_slot, std::uint32_t end_slot, std::vector<DirtyRow>& rows,
                  RowStore& store) {
  rows.clear();
  std::uint64_t bytes = 0;
  for (std::size_t t = 0; t < tables.size(); ++t) {
    const std::size_t before = rows.size();
    tables[t]->ForEachDirtyRow([&](std::uint64_t key, std::uint32_t row) {
      const std::uint32_t slot = slots.SlotOfMixed(MixedKey(key));
      if (slot < begin_slot || slot >= end_slot) return;
      rows.push_back({{static_cast<std::uint16_t>(slot), static_cast<std::uint16_t>(t), key}, row});
    });
    bytes += (rows.size() - before) * (kRowKeyBytes + tables[t]->layout().RecordBytes());
  }
  std::ranges::sort(rows, {}, &DirtyRow::key);
  EncodedRowKey key;
  std::vector<std::byte> record;
  return store.PutSorted(Family::kRows, rows.size(), bytes, [&](std::size_t i) {
    // Rows lie in memory in no order of keys: each is asked for some records ahead of its turn.
    constexpr std::size_t kAhead = 16;
    if (i + kAhead < rows.size()) {
      const DirtyRow& ahead = rows[i + kAhead];
      tables[ahead.key.table]->PrefetchRecord(ahead.row);
    }
    const EmbeddingTable& table = *tables[rows[i].key.table];
    key = EncodeRowKey(rows[i].key);
    record.resize(table.layout().RecordBytes());
    table.CopyRecord(rows[i].row, record.data());
    return StoreRecord{{key.data(), key.size()},
                       {reinterpret_cast<const char*>(record.data()), record.size()}};
  });
}

}  // namespace

Status FlushDense(const DenseParameters& dense, RowStore& store) {
  std::vector<std::pair<std::string, std::string>> chunks;
  std::uint64_t bytes = 0;
  dense.ForEachDirty([&](const std::string& key, const std::string& record) {
    bytes += key.size() + record.size();
    chunks.emplace_back(key, record);
  });
  return store.PutSorted(Family::kDense, chunks.size(), bytes, [&](std::size_t i) {
    return StoreRecord{chunks[i].first, chunks[i].second};
  });
}

Status FlushDirty(std::span<const std::unique_ptr<EmbeddingTable>> tables,
                  const DenseParameters& dense, const SlotRange& slots, RowStore& store,
                  std::size_t rows_at_once) {
  std::vector<std::uint64_t> rows_of_slot(slots.count);
  for (const auto& table : tables) {
    table->ForEachDirtyRow([&](std::uint64_t key, std::uint32_t) {
      ++rows_of_slot[slots.SlotOfMixed(MixedKey(key)) - slots.first];
    });
  }
  const auto rounds = Rounds(rows_of_slot, slots.first, rows_at_once);
  std::vector<DirtyRow> rows;
  rows.reserve(
      std::min(std::reduce(rows_of_slot.begin(), rows_of_slot.end()), std::uint64_t{rows_at_once}));
  for (std::size_t i = 0; i + 1 < rounds.size(); ++i) {
    RETURN_IF_ERROR(FlushRound(tables, slots, rounds[i], rounds[i + 1], rows, store));
  }
  return FlushDense(dense, store);
}

}  // namespace cairn::ps
