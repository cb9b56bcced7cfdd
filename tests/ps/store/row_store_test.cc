// The conformance suite of row stores: every store, and RocksDB by both ways of writing.
#include "ps/store/row_store.h"

#include <atomic>
#include <filesystem>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "tests/ps/store/store_kinds.h"

namespace cairn::ps {
namespace {

constexpr Family kFamilies[] = {Family::kRows, Family::kDense, Family::kMeta};

// A store that must be opened again.
class DurableRowStoreTest : public RowStoreTest {};

TEST_P(RowStoreTest, RecordsAreReadAsTheyWereWrittenInTheFamilyTheyWereWrittenTo) {
  const auto store = Open("db");
  const std::vector<Records> expected = {RandomRecords(1, 3000), RandomRecords(2, 10),
                                         RandomRecords(3, 5)};
  for (std::size_t i = 0; i < 3; ++i) ASSERT_EQ(Put(*store, kFamilies[i], expected[i]), OkStatus());
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(ScanAll(*store, kFamilies[i]), expected[i]);
    EXPECT_EQ(GetAll(*store, kFamilies[i], KeysOf(expected[i])), expected[i]);
    std::string value;
    for (const auto& [key, wanted] : expected[i]) {
      ASSERT_EQ(store->Get(kFamilies[i], key, &value), OkStatus());
      EXPECT_EQ(value, wanted);
    }
    EXPECT_EQ(store->Get(kFamilies[i], "a key that is too long", &value).code(),
              absl::StatusCode::kNotFound);
  }
}

TEST_P(RowStoreTest, AFamilyIsEmptyUntilSomethingIsInIt) {
  const auto store = Open("db");
  for (const Family family : kFamilies) {
    EXPECT_TRUE(ScanAll(*store, family).empty());
    EXPECT_TRUE(GetAll(*store, family, {"a", "b"}).empty());
  }
  EXPECT_EQ(Put(*store, Family::kRows, {}), OkStatus());
  EXPECT_EQ(Delete(*store, Family::kRows, {}), OkStatus());
  EXPECT_TRUE(ScanAll(*store, Family::kRows).empty());
  ASSERT_EQ(Put(*store, Family::kRows, {{"a", "1"}}), OkStatus());
  EXPECT_EQ(ScanAll(*store, Family::kRows).size(), 1u);
  EXPECT_TRUE(ScanAll(*store, Family::kDense).empty());
  ASSERT_EQ(Delete(*store, Family::kRows, {"a"}), OkStatus());
  EXPECT_TRUE(ScanAll(*store, Family::kRows).empty());
}

TEST_P(RowStoreTest, GetManyVisitsTheRecordsThatAreThereAndNoOthers) {
  const auto store = Open("db");
  const Records records = RandomRecords(1, 3000);
  ASSERT_EQ(Put(*store, Family::kRows, records), OkStatus());
  Records expected;
  std::set<std::string> keys;
  std::size_t i = 0;
  for (const auto& [key, value] : records) {
    if (++i % 3 == 0) keys.insert(key + "x");
    if (i % 2 == 0) continue;
    keys.insert(key);
    expected[key] = value;
  }
  for (const std::string& key : keys) {
    if (const auto it = records.find(key); it != records.end()) expected[key] = it->second;
  }
  EXPECT_EQ(GetAll(*store, Family::kRows, {keys.begin(), keys.end()}), expected);
  EXPECT_TRUE(GetAll(*store, Family::kRows, {}).empty());
}

TEST_P(RowStoreTest, ARecordOfNoBytesOrOfZerosIsThere) {
  const auto store = Open("db");
  const Records records = {{"empty", ""}, {"zeros", std::string(144, '\0')}};
  ASSERT_EQ(Put(*store, Family::kRows, records), OkStatus());
  EXPECT_EQ(GetAll(*store, Family::kRows, {"empty", "none", "zeros"}), records);
}

TEST_P(RowStoreTest, LaterRecordsReplaceEarlierOnes) {
  const auto store = Open("db");
  Records expected = RandomRecords(1, 2000);
  ASSERT_EQ(Put(*store, Family::kRows, expected), OkStatus());
  for (std::uint64_t round = 2; round < 6; ++round) {
    Records changed = RandomRecords(round, 100);
    std::size_t i = 0;
    for (auto& [key, value] : expected) {
      if (++i % 7 == 0) changed[key] = value + "x";
    }
    ASSERT_EQ(Put(*store, Family::kRows, changed), OkStatus());
    for (const auto& [key, value] : changed) expected[key] = value;
  }
  EXPECT_EQ(ScanAll(*store, Family::kRows), expected);
  EXPECT_EQ(GetAll(*store, Family::kRows, KeysOf(expected)), expected);
}

TEST_P(RowStoreTest, RemovedRecordsAreGoneUntilTheyArePutAgain) {
  const auto store = Open("db");
  const Records records = RandomRecords(1, 2000);
  ASSERT_EQ(Put(*store, Family::kRows, records), OkStatus());
  Records expected;
  std::vector<std::string> removed;
  for (const auto& [key, value] : records) {
    if (removed.size() < expected.size()) {
      removed.push_back(key);
    } else {
      expected.emplace(key, value);
    }
  }
  ASSERT_EQ(Delete(*store, Family::kRows, removed), OkStatus());
  ASSERT_EQ(Delete(*store, Family::kRows, removed), OkStatus());
  EXPECT_EQ(ScanAll(*store, Family::kRows), expected);
  EXPECT_EQ(GetAll(*store, Family::kRows, KeysOf(records)), expected);
  std::string value;
  EXPECT_EQ(store->Get(Family::kRows, removed[0], &value).code(), absl::StatusCode::kNotFound);
  ASSERT_EQ(Put(*store, Family::kRows, {{removed[0], "again"}}), OkStatus());
  EXPECT_EQ(GetAll(*store, Family::kRows, {removed[0]}), (Records{{removed[0], "again"}}));
}

TEST_P(RowStoreTest, AScanKeepsToItsRangeAndStopsWhenTold) {
  const auto store = Open("db");
  ASSERT_EQ(Put(*store, Family::kRows, {{"a", "1"}, {"b", "2"}, {"ba", "3"}, {"c", "4"}}),
            OkStatus());
  EXPECT_EQ(ScanAll(*store, Family::kRows, "b", "c"), (Records{{"b", "2"}, {"ba", "3"}}));
  EXPECT_EQ(ScanAll(*store, Family::kRows, "bb"), (Records{{"c", "4"}}));
  EXPECT_TRUE(ScanAll(*store, Family::kRows, "d").empty());
  int seen = 0;
  ASSERT_EQ(store->Scan(Family::kRows, "", "", [&](const StoreRecord&) { return ++seen < 2; }),
            OkStatus());
  EXPECT_EQ(seen, 2);
}

TEST_P(RowStoreTest, KeysThatDoNotAscendAreRefused) {
  const auto store = Open("db");
  for (const std::vector<std::string>& keys :
       {std::vector<std::string>{"b", "a"}, std::vector<std::string>{"a", "a"}}) {
    const auto put = store->PutSorted(Family::kRows, 2, 4, [&](std::size_t i) {
      return StoreRecord{keys[i], "v"};
    });
    EXPECT_EQ(put.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(Delete(*store, Family::kRows, keys).code(), absl::StatusCode::kInvalidArgument);
    const std::vector<std::string_view> views(keys.begin(), keys.end());
    EXPECT_EQ(store->GetMany(Family::kRows, views, [](std::size_t, std::string_view) {}).code(),
              absl::StatusCode::kInvalidArgument);
  }
  // The store is as good as before.
  ASSERT_EQ(Put(*store, Family::kRows, {{"a", "1"}, {"b", "2"}}), OkStatus());
  EXPECT_EQ(ScanAll(*store, Family::kRows), (Records{{"a", "1"}, {"b", "2"}}));
}

// One thread writes rising versions of all records and takes away and puts back the odd ones, while
// others read: a record is whole, never older than what was there when the read began.
TEST_P(RowStoreTest, ReadsRunBesideWrites) {
  constexpr std::size_t kKeys = 400;
  constexpr std::uint64_t kVersions = 24;
  const auto store = Open("db");
  std::vector<std::string> keys, odd;
  for (std::size_t i = 0; i < kKeys; ++i) {
    keys.push_back(StrCat("key ", 1000 + i));
    if (i % 2 == 1) odd.push_back(keys.back());
  }
  const auto put = [&](std::uint64_t version) {
    Records records;
    for (const std::string& key : keys) {
      std::string value(64, static_cast<char>(version));
      records[key] = value;
    }
    return Put(*store, Family::kRows, records);
  };
  ASSERT_EQ(put(1), OkStatus());
  std::atomic<std::uint64_t> written{1};
  std::atomic<bool> is_over{false};
  const auto check = [&](std::uint64_t oldest, std::string_view value) {
    ASSERT_EQ(value.size(), 64u);
    EXPECT_EQ(value.find_first_not_of(value[0]), std::string_view::npos) << "a torn record";
    EXPECT_GE(static_cast<std::uint64_t>(value[0]), oldest);
  };
  std::vector<std::thread> readers;
  readers.emplace_back([&] {
    const std::vector<std::string_view> views(keys.begin(), keys.end());
    while (!is_over) {
      const std::uint64_t oldest = written;
      std::size_t even = 0;
      EXPECT_EQ(store->GetMany(Family::kRows, views,
                               [&](std::size_t i, std::string_view value) {
                                 even += i % 2 == 0 ? 1 : 0;
                                 check(oldest, value);
                               }),
                OkStatus());
      EXPECT_EQ(even, kKeys / 2);
    }
  });
  readers.emplace_back([&] {
    std::string value;
    while (!is_over) {
      std::uint64_t oldest = written;
      ASSERT_EQ(store->Get(Family::kRows, keys[0], &value), OkStatus());
      check(oldest, value);
      oldest = written;
      EXPECT_EQ(store->Scan(Family::kRows, "", "",
                            [&](const StoreRecord& record) {
                              check(oldest, record.value);
                              return true;
                            }),
                OkStatus());
      EXPECT_GT(store->MemoryBytes(), 0u);
    }
  });
  for (std::uint64_t version = 2; version <= kVersions; ++version) {
    EXPECT_EQ(Delete(*store, Family::kRows, odd), OkStatus());
    EXPECT_EQ(put(version), OkStatus());
    written = version;
    if (version % 8 == 0) {
      EXPECT_EQ(store->Flush(), OkStatus());
    }
  }
  is_over = true;
  for (std::thread& reader : readers) reader.join();
}

TEST_P(RowStoreTest, WritersOfSeveralThreadsDoNotHarmEachOther) {
  const auto store = Open("db");
  std::vector<std::thread> writers;
  for (const std::string name : {"a", "b", "c"}) {
    writers.emplace_back([&store, name] {
      for (std::size_t round = 0; round < 10; ++round) {
        Records records;
        for (std::size_t i = 0; i < 200 + 30 * round; ++i) {
          records[StrCat(name, 1000 + i)] = StrCat(round);
        }
        EXPECT_EQ(Put(*store, Family::kRows, records), OkStatus());
        EXPECT_EQ(store->Flush(), OkStatus());
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(ScanAll(*store, Family::kRows).size(), 3u * 470u);
}

TEST_P(RowStoreTest, MemoryBytesTellsOfWhatIsHeld) {
  const auto store = Open("db");
  const std::uint64_t empty = store->MemoryBytes();
  ASSERT_EQ(Put(*store, Family::kRows, RandomRecords(1, 20'000)), OkStatus());
  EXPECT_GT(store->MemoryBytes(), empty + 10'000);
}

TEST_P(DurableRowStoreTest, WhatWasFlushedIsThereWhenTheStoreIsOpenedAgain) {
  Records expected = RandomRecords(1, 1000);
  const Records meta = {{"position", "7"}, {"zero", ""}};
  {
    const auto store = Open("db");
    ASSERT_EQ(Put(*store, Family::kRows, expected), OkStatus());
    ASSERT_EQ(Put(*store, Family::kMeta, meta), OkStatus());
    ASSERT_EQ(Delete(*store, Family::kRows, {expected.begin()->first}), OkStatus());
    expected.erase(expected.begin());
    ASSERT_EQ(store->Flush(), OkStatus());
    // What a killed process leaves.
    std::filesystem::copy(folder_ + "/db", folder_ + "/killed");
  }
  for (const std::string name : {"killed", "db", "db"}) {
    const auto store = Open(name);
    EXPECT_EQ(ScanAll(*store, Family::kRows), expected);
    EXPECT_EQ(ScanAll(*store, Family::kMeta), meta);
    EXPECT_EQ(GetAll(*store, Family::kRows, KeysOf(expected)), expected);
  }
}

TEST_P(DurableRowStoreTest, ASnapshotStaysAsItWas) {
  const auto store = Open("db");
  const Records first = RandomRecords(1, 500), meta = {{"position", "7"}};
  ASSERT_EQ(Put(*store, Family::kRows, first), OkStatus());
  ASSERT_EQ(Put(*store, Family::kMeta, meta), OkStatus());
  ASSERT_EQ(store->Snapshot(folder_ + "/snapshot"), OkStatus());
  ASSERT_EQ(Put(*store, Family::kRows, RandomRecords(2, 500)), OkStatus());
  ASSERT_EQ(Delete(*store, Family::kRows, KeysOf(first)), OkStatus());
  const auto copy = Open("snapshot", true);
  EXPECT_EQ(ScanAll(*copy, Family::kRows), first);
  EXPECT_EQ(GetAll(*copy, Family::kRows, KeysOf(first)), first);
  EXPECT_EQ(ScanAll(*copy, Family::kMeta), meta);
  EXPECT_EQ(copy->VerifyBlocks(), OkStatus());
  constexpr auto kRefused = absl::StatusCode::kFailedPrecondition;
  EXPECT_EQ(Put(*copy, Family::kRows, first).code(), kRefused);
  EXPECT_EQ(Delete(*copy, Family::kRows, KeysOf(first)).code(), kRefused);
  EXPECT_EQ(copy->Flush().code(), kRefused);
}

TEST_P(DurableRowStoreTest, ASnapshotOfAnEmptyStoreIsEmpty) {
  const auto store = Open("db");
  ASSERT_EQ(store->Snapshot(folder_ + "/snapshot"), OkStatus());
  const auto copy = Open("snapshot", true);
  for (const Family family : kFamilies) EXPECT_TRUE(ScanAll(*copy, family).empty());
}

INSTANTIATE_TEST_SUITE_P(Stores, RowStoreTest, testing::ValuesIn(AllStores()), kNameOf);
INSTANTIATE_TEST_SUITE_P(Stores, DurableRowStoreTest, testing::ValuesIn(DurableStores()), kNameOf);

}  // namespace
}  // namespace cairn::ps
