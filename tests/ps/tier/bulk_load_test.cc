// Many rows from a store to memory at once, against what was put into it.
#include "ps/tier/bulk_load.h"

#include <cstring>
#include <limits>
#include <map>
#include <set>

#include "common/math/rng.h"
#include "google/protobuf/text_format.h"
#include "proto/config.pb.h"
#include "ps/tier/store_rows.h"
#include "tests/ps/store/store_kinds.h"
#include "tests/testing/failing_store.h"

namespace cairn::ps {
namespace {

constexpr SlotRange kSlots{10, 256, 512};
constexpr std::uint64_t kNoLimit = std::numeric_limits<std::uint64_t>::max();
// In memory; the exact size is not of interest.
const std::vector<std::size_t> kRowBytes = {64, 40};

std::vector<std::unique_ptr<EmbeddingTable>> MakeTables() {
  std::vector<std::unique_ptr<EmbeddingTable>> tables;
  for (const char* const text :
       {"name: 'a' dim: 5 optimizer { adagrad {} }", "name: 'b' dim: 2 optimizer { sgd {} }"}) {
    proto::TableConfig config;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &config));
    tables.push_back(EmbeddingTable::Make(config, 3).value());
  }
  return tables;
}

std::vector<std::uint64_t> KeysIn(const SlotRange& slots, std::size_t count, std::uint64_t seed) {
  Rng rng(seed, 9);
  std::vector<std::uint64_t> keys;
  while (keys.size() < count) {
    const std::uint64_t key = rng.NextU64();
    if (slots.HasMixed(MixedKey(key))) keys.push_back(key);
  }
  return keys;
}

using Rows = std::map<RowKey, std::string>;

Rows RowsOf(std::span<const std::unique_ptr<EmbeddingTable>> tables) {
  Rows rows;
  for (std::size_t t = 0; t < tables.size(); ++t) {
    tables[t]->ForEachRow([&](std::uint64_t key, const std::byte* record) {
      const auto slot = static_cast<std::uint16_t>(kSlots.SlotOfMixed(MixedKey(key)));
      rows[{slot, static_cast<std::uint16_t>(t), key}] = {reinterpret_cast<const char*>(record),
                                                          tables[t]->layout().RecordBytes()};
    });
  }
  return rows;
}

class BulkLoad : public RowStoreTest {
 protected:
  // `count` rows of each table with random bytes.
  void Fill(std::size_t count) {
    tables_ = MakeTables();
    store_ = Open("db");
    Rng rng(1, 1);
    for (std::uint16_t t = 0; t < 2; ++t) {
      for (const std::uint64_t key : KeysIn(kSlots, count, t)) {
        std::string record(tables_[t]->layout().RecordBytes(), 0);
        for (char& byte : record) byte = static_cast<char>(rng.NextBelow(100));
        stored_[{static_cast<std::uint16_t>(kSlots.SlotOfMixed(MixedKey(key))), t, key}] = record;
      }
      rows_.push_back(std::make_unique<StoreRows>(store_.get(), t, kSlots));
      tables_[t]->SetStore(rows_[t].get(), static_cast<std::int64_t>(count));
    }
    Put(stored_);
  }
  void Put(const Rows& rows) {
    auto at = rows.begin();
    EncodedRowKey key;
    ASSERT_EQ(store_->PutSorted(Family::kRows, rows.size(), 100 * rows.size(),
                                [&](std::size_t i) {
                                  if (i > 0) ++at;
                                  key = EncodeRowKey(at->first);
                                  return StoreRecord{{key.data(), key.size()}, at->second};
                                }),
              OkStatus());
    ASSERT_EQ(store_->Flush(), OkStatus());
  }
  // Every n-th row of each table, twice, and as many keys that have none.
  NamedRows NameEvery(std::size_t n, Rows* expected) {
    NamedRows named(kSlots, kRowBytes, kNoLimit);
    std::vector<std::uint64_t> keys[2] = {KeysIn(kSlots, 50, 100), KeysIn(kSlots, 50, 101)};
    std::size_t i = 0;
    for (const auto& [row, record] : stored_) {
      if (i++ % n != 0) continue;
      keys[row.table].push_back(row.key);
      expected->emplace(row, record);
    }
    for (int twice = 0; twice < 2; ++twice) {
      for (std::uint16_t t = 0; t < 2; ++t) named.Add(t, keys[t]);
    }
    return named;
  }

  std::vector<std::unique_ptr<EmbeddingTable>> tables_;
  std::unique_ptr<RowStore> store_;
  std::vector<std::unique_ptr<StoreRows>> rows_;
  Rows stored_;
};

// From all rows, by scans, to so few that they are looked up.
TEST_P(BulkLoad, BringsTheNamedRowsAndNoOthers) {
  Fill(40'000);
  for (const std::size_t every : {1, 3, 10, 40, 500}) {
    SCOPED_TRACE(every);
    std::vector<std::unique_ptr<EmbeddingTable>> fresh = MakeTables();
    for (std::size_t t = 0; t < 2; ++t) fresh[t]->SetStore(rows_[t].get(), 40'000);
    Rows expected;
    NamedRows named = NameEvery(every, &expected);
    FailingStore counting(store_.get());
    ASSERT_EQ(LoadNamedRows(counting, fresh, kSlots, &named), OkStatus());
    EXPECT_EQ(RowsOf(fresh), expected);
    EXPECT_EQ(counting.reads() > 0, every >= 40) << "look-ups";
    std::uint64_t resident = 0;
    for (const auto& table : fresh) {
      const TableCounts counts = table->Counts();
      EXPECT_EQ(counts.rows, 40'000u);
      EXPECT_EQ(table->memory_bytes(), static_cast<std::int64_t>(counts.bytes));
      EXPECT_EQ(counts.fetched_rows, 0u) << "no request named them";
      resident += counts.resident_rows;
    }
    EXPECT_EQ(resident, expected.size());
  }
}

TEST_P(BulkLoad, RowsInMemoryStayAsTheyAre) {
  Fill(3000);
  const auto keys = KeysIn(kSlots, 3000, 0);  // those of table 0
  KeyGroups some;
  ASSERT_EQ(some.Build({keys.data(), 1000}, kSlots), std::nullopt);
  ASSERT_EQ(tables_[0]->MakeResident(some), OkStatus());
  tables_[0]->Push(some, std::vector<float>(5000, 1).data(), 1, 7);
  Rows expected = stored_;
  for (const auto& [row, record] : RowsOf(tables_)) expected[row] = record;
  EXPECT_NE(expected, stored_);
  Rows named_rows;
  NamedRows named = NameEvery(1, &named_rows);
  ASSERT_EQ(LoadNamedRows(*store_, tables_, kSlots, &named), OkStatus());
  EXPECT_EQ(RowsOf(tables_), expected);
  std::size_t dirty = 0;
  for (const auto& table : tables_) {
    table->ForEachDirtyRow([&](std::uint64_t, std::uint32_t) { ++dirty; });
  }
  EXPECT_EQ(dirty, 1000u);
}

TEST_P(BulkLoad, ReadsTheWholeStorePieceByPiece) {
  Fill(2500);
  std::string next;
  std::size_t pieces = 0, resident = 0;
  do {
    ASSERT_EQ(LoadNextRows(*store_, tables_, kSlots, 700, &next), OkStatus());
    const std::size_t before = std::exchange(resident, RowsOf(tables_).size());
    EXPECT_EQ(resident - before, std::min<std::size_t>(700, 5000 - before));
    ++pieces;
  } while (!next.empty());
  EXPECT_EQ(pieces, 8u);
  EXPECT_EQ(RowsOf(tables_), stored_);
}

TEST_P(BulkLoad, ARecordOfAWrongSizeIsDataLoss) {
  Fill(100);
  auto damaged = *stored_.begin();
  damaged.second.pop_back();
  Put({damaged});
  Rows expected;
  NamedRows named = NameEvery(1, &expected);
  const Status status = LoadNamedRows(*store_, tables_, kSlots, &named);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_NE(status.message().find(StrCat("key ", damaged.first.key)), std::string::npos) << status;
  std::string next;
  EXPECT_EQ(LoadNextRows(*store_, tables_, kSlots, 1000, &next).code(),
            absl::StatusCode::kDataLoss);
}

TEST_P(BulkLoad, ErrorsOfTheStoreAreReported) {
  Fill(40'000);
  Rows expected;
  NamedRows named = NameEvery(500, &expected);
  FailingStore failing(store_.get());
  failing.FailReads(1024);
  EXPECT_EQ(LoadNamedRows(failing, tables_, kSlots, &named).code(), absl::StatusCode::kUnavailable);
}

INSTANTIATE_TEST_SUITE_P(Stores, BulkLoad,
                         testing::Values(AllStores()[0], AllStores()[1], AllStores()[2]), kNameOf);

// All keys that are taken, by table.
std::vector<RowKey> TakeAll(NamedRows* named) {
  std::vector<RowKey> all;
  std::vector<std::uint64_t> rows(kRowBytes.size());
  for (std::size_t b = 0; b < named->bucket_count(); ++b) {
    named->SortBucket(b, rows);
    named->TakeBucket(b, &all);
  }
  EXPECT_TRUE(std::ranges::is_sorted(all));
  EXPECT_EQ(rows[0] + rows[1], all.size());
  return all;
}

std::set<RowKey> Expected(const std::vector<std::uint64_t>* keys, const SlotRange& slots) {
  std::set<RowKey> expected;
  for (std::uint16_t t = 0; t < 2; ++t) {
    for (const std::uint64_t key : keys[t]) {
      const std::uint64_t mixed = MixedKey(key);
      if (!slots.HasMixed(mixed)) continue;
      expected.insert({static_cast<std::uint16_t>(slots.SlotOfMixed(mixed)), t, key});
    }
  }
  return expected;
}

// Passes over the same keys, each as far as its rows fit, name every row once. Keys come in pieces,
// some of them again and again.
TEST(NamedRowsTest, PassesNameEveryRowOnce) {
  for (const SlotRange& slots :
       {SlotRange{10, 0, 1024}, SlotRange{10, 700, 324}, SlotRange{16, 1000, 5001},
        SlotRange{3, 1, 6}, SlotRange{0, 0, 1}}) {
    const std::vector<std::uint64_t> keys[2] = {KeysIn(slots, 4000, 5), KeysIn(slots, 3000, 6)};
    for (const std::uint64_t most : {kNoLimit, std::uint64_t{100'000}, std::uint64_t{30'000}}) {
      SCOPED_TRACE(StrCat(slots.bits, " bits, first ", slots.first, ", most ", most));
      SlotRange rest = slots;
      std::vector<RowKey> all;
      int passes = 0;
      for (; rest.count > 0; ++passes) {
        NamedRows named(rest, kRowBytes, most);
        for (int twice = 0; twice < 2; ++twice) {
          for (std::size_t from = 0; from < 4000; from += 500) {
            for (std::uint16_t t = 0; t < 2; ++t) {
              if (from < keys[t].size()) named.Add(t, {keys[t].data() + from, 500});
            }
          }
        }
        const SlotRange now = named.slots();
        EXPECT_EQ(now.first, rest.first);
        ASSERT_GT(now.count, 0u);
        ASSERT_LE(now.count, rest.count);
        EXPECT_TRUE(named.fits() || named.bucket_count() == 1);
        const auto taken = TakeAll(&named);
        const auto expected = Expected(keys, now);
        EXPECT_TRUE(std::ranges::equal(taken, expected));
        all.insert(all.end(), taken.begin(), taken.end());
        rest = {rest.bits, now.first + now.count, rest.count - now.count};
      }
      EXPECT_EQ(all.size(), 7000u);
      if (most == kNoLimit || slots.bits == 0) {
        EXPECT_EQ(passes, 1);
      } else {
        EXPECT_GT(passes, 2);
      }
    }
  }
}

TEST(NamedRowsTest, RowsThatDoNotFitInOneBucketAreSaidSo) {
  const auto keys = KeysIn({}, 1000, 5);
  NamedRows named({}, kRowBytes, 1000 * 64 - 1);
  named.Add(0, {keys.data(), 999});
  EXPECT_TRUE(named.fits());
  named.Add(0, keys);
  EXPECT_FALSE(named.fits());
  EXPECT_EQ(named.bytes(), 1000u * 64);
  EXPECT_EQ(named.slots().count, 1u);
}

}  // namespace
}  // namespace cairn::ps
