// A table whose rows go to a store and come back, against one row at a time.
#include <optional>
#include <set>
#include <tuple>

#include "google/protobuf/text_format.h"
#include "ps/tier/row_tier.h"
#include "ps/tier/store_rows.h"
#include "tests/ps/store/store_kinds.h"
#include "tests/ps/tier/row_model.h"
#include "tests/testing/failing_store.h"

namespace cairn::ps {
namespace {

constexpr std::uint64_t kSeed = 5;
constexpr std::uint16_t kTable = 2;
constexpr SlotRange kSlots{10, 0, 1024};
constexpr SpillRule kAllRows{0, 0};

KeyGroups GroupsOf(const std::vector<std::uint64_t>& keys) {
  KeyGroups groups;
  EXPECT_EQ(groups.Build(keys, kSlots), std::nullopt);
  return groups;
}

proto::TableConfig Config(const std::string& text) {
  proto::TableConfig config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &config)) << text;
  return config;
}

// A table over a store that may fail, and its model. Every operation compares the two.
class TieredTable {
 public:
  using OpenStore = std::function<std::unique_ptr<RowStore>()>;
  TieredTable(const proto::TableConfig& config, OpenStore open)
      : config_(config), open_(std::move(open)), model_(config, kSeed) {
    tables_.resize(kTable + 1u);  // others' numbers
    Reopen(0);
  }

  FailingStore& store() { return *failing_; }
  EmbeddingTable& table() { return *tables_[kTable]; }
  RowModel& model() { return model_; }
  std::uint64_t step() const { return step_; }

  // False: the store failed.
  bool Pull(const std::vector<std::uint64_t>& keys, AbsentValue absent) {
    const std::size_t dim = table().layout().dim();
    const TableCounts before = table().Counts();
    std::vector<float> values(keys.size() * dim, 77.0f);
    if (!table().Pull(GroupsOf(keys), absent, values.data()).ok()) return false;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      const bool reads_zero = absent == AbsentValue::kZero && !model_.Has(keys[i]);
      const auto wanted = reads_zero ? std::vector<float>(dim) : model_.Value(keys[i]);
      const std::vector<float> got(values.begin() + static_cast<std::ptrdiff_t>(i * dim),
                                   values.begin() + static_cast<std::ptrdiff_t>((i + 1) * dim));
      EXPECT_EQ(got, wanted) << "key " << keys[i] << " at " << i;
    }
    if (absent == AbsentValue::kZero) {
      EXPECT_EQ(table().Counts().resident_rows, before.resident_rows) << "evaluation moves no row";
      EXPECT_EQ(table().memory_bytes(), static_cast<std::int64_t>(before.bytes));
    }
    ExpectCounts();
    return true;
  }

  // Keys differ. False, and nothing done: the store failed.
  bool Push(const std::vector<std::uint64_t>& keys, const std::vector<float>& gradients,
            float scale = 1) {
    const KeyGroups groups = GroupsOf(keys);
    if (!table().MakeResident(groups).ok()) {
      ExpectCounts();
      return false;
    }
    table().Push(groups, gradients.data(), scale, ++step_);
    for (std::size_t i = 0; i < keys.size(); ++i) {
      model_.Push(keys[i], gradients.data() + i * table().layout().dim(), scale, step_);
    }
    ExpectCounts();
    return true;
  }

  // Null: all dirty rows.
  Status WriteBack(std::uint32_t stripe, const SpillRule* rule) {
    RowBatch batch;
    table().WriteBack(stripe, rule, kTable, kSlots, &batch);
    return WriteRows(tables_, kSlots, *failing_, &batch);
  }
  Status WriteAllBack() {
    for (std::uint32_t s = 0; s < kStripes; ++s) RETURN_IF_ERROR(WriteBack(s, nullptr));
    return OkStatus();
  }
  // Until no row is in memory.
  void SpillAll() {
    for (int round = 0; round < 2; ++round) {  // the first one forgives rows that have just come
      for (std::uint32_t s = 0; s < kStripes; ++s) {
        ASSERT_EQ(WriteBack(s, &kAllRows), OkStatus());
        table().Drop(s, kAllRows);
      }
    }
    ASSERT_EQ(table().Counts().resident_rows, 0u);
    ExpectCounts();
  }

  // As a new process would: all rows are in the store.
  void Reopen(std::int64_t rows) {
    tables_[kTable] = nullptr;
    rows_.reset();
    failing_.reset();
    store_.reset();
    store_ = open_();
    ASSERT_NE(store_, nullptr);
    failing_ = std::make_unique<FailingStore>(store_.get());
    rows_ = std::make_unique<StoreRows>(failing_.get(), kTable, kSlots);
    for (auto& table : tables_) table = EmbeddingTable::Make(config_, kSeed).value();
    table().SetStore(rows_.get(), rows);
  }

  void ExpectCounts() {
    const TableCounts counts = table().Counts();
    EXPECT_EQ(counts.rows, model_.rows().size());
    EXPECT_LE(counts.resident_rows, counts.rows);
    EXPECT_EQ(table().memory_bytes(), static_cast<std::int64_t>(counts.bytes));
  }
  // Rows in memory are the model's; and after WriteAllBack the store has all of them.
  void ExpectRows() {
    table().ForEachRow([this](std::uint64_t key, const std::byte* record) {
      EXPECT_TRUE(model_.IsRecord(key, record, table().layout().RecordBytes())) << key;
    });
    ASSERT_EQ(WriteAllBack(), OkStatus());
    std::size_t stored = 0;
    ASSERT_EQ(store_->Scan(Family::kRows, {}, {},
                           [&](const StoreRecord& record) {
                             ++stored;
                             const auto key = DecodeRowKey(record.key);
                             EXPECT_TRUE(key.has_value() && key->table == kTable &&
                                         model_.IsRecord(key->key, record.value.data(),
                                                         record.value.size()));
                             return true;
                           }),
              OkStatus());
    EXPECT_EQ(stored, model_.rows().size());
  }

 private:
  const proto::TableConfig config_;
  const OpenStore open_;
  RowModel model_;
  std::unique_ptr<RowStore> store_;
  std::unique_ptr<FailingStore> failing_;
  std::unique_ptr<StoreRows> rows_;
  std::vector<std::unique_ptr<EmbeddingTable>> tables_;
  std::uint64_t step_ = 0;
};

struct Shape {
  int dim;
  const char* rest;  // of the table's config
};
constexpr const char* kSgd =
    "optimizer { sgd { learning_rate: 1 } } initializer { zero {} }";  // counts gradients
constexpr Shape kShapes[] = {
    {1, "optimizer { sgd {} } initializer { uniform { bound: 1 } }"},
    {5, "l2: 0.01 optimizer { adam {} } initializer { normal {} }"},
    {16, "optimizer { adagrad { initial_accumulator: 0.5 } } initializer { zero {} }"},
    {7, "optimizer { rowwise_adagrad {} } initializer { uniform { bound: 1 } }"},
    {40, "l2: 0.1 optimizer { ftrl {} } initializer { normal {} }"},
};

class TieredTableFolder : public StoreFolder {
 protected:
  std::unique_ptr<TieredTable> Make(bool on_disk, const std::string& config) {
    if (!on_disk) {
      // Outlives its users, as a database does.
      kept_ = MakeMemoryStore();
      return std::make_unique<TieredTable>(
          Config(config), [this] { return std::make_unique<FailingStore>(kept_.get()); });
    }
    return std::make_unique<TieredTable>(Config(config), [this] {
      auto store =
          OpenRocksStore(folder_ + "/db", {.memtable_bytes = 64u << 10, .ingest_records = 300});
      EXPECT_TRUE(store.ok()) << store.status();
      return std::move(*store);
    });
  }
  // `some` of `keys`, all different.
  static std::vector<std::uint64_t> Pick(Rng& rng, const std::vector<std::uint64_t>& keys,
                                         std::size_t some) {
    std::set<std::uint64_t> picked;
    for (std::size_t i = 0; i < some; ++i) {
      // The square makes some keys popular.
      const double u = rng.NextDouble();
      picked.insert(keys[static_cast<std::size_t>(u * u * static_cast<double>(keys.size()))]);
    }
    std::vector<std::uint64_t> out(picked.begin(), picked.end());
    for (std::size_t i = out.size(); i > 1; --i) std::swap(out[i - 1], out[rng.NextBelow(i)]);
    return out;
  }
  static std::vector<float> Random(Rng& rng, std::size_t n) {
    std::vector<float> out(n);
    for (float& x : out) x = static_cast<float>(rng.NextBelow(2000)) / 1000 - 1;
    return out;
  }

  std::unique_ptr<RowStore> kept_;
};

class TieredTableTest : public TieredTableFolder, public testing::WithParamInterface<bool> {
 protected:
  std::unique_ptr<TieredTable> Make(const std::string& config) {
    return TieredTableFolder::Make(GetParam(), config);
  }
};
class TieredShapesTest : public TieredTableFolder,
                         public testing::WithParamInterface<std::tuple<bool, int>> {
 protected:
  std::unique_ptr<TieredTable> MakeShape() {
    const Shape& shape = kShapes[std::get<1>(GetParam())];
    return Make(std::get<0>(GetParam()), StrCat("name: 't' dim: ", shape.dim, " ", shape.rest));
  }
};

TEST_P(TieredShapesTest, AgreesWithAMapUnderRandomUseAndFailures) {
  const auto tiered = MakeShape();
  const std::size_t dim = tiered->table().layout().dim();
  Rng rng(11, static_cast<std::uint64_t>(std::get<1>(GetParam())));
  std::vector<std::uint64_t> keys(3000);
  for (auto& key : keys) key = rng.NextU64();
  keys[0] = 0;
  keys[1] = ~0ull;
  std::uint64_t failed_requests = 0, failures = 0, fetched = 0, spilled = 0;
  for (int i = 0; i < 600 && !HasFailure(); ++i) {
    const std::uint64_t what = rng.NextBelow(100);
    if (what < 35) {
      const auto some = Pick(rng, keys, 1 + rng.NextBelow(700));
      failed_requests +=
          !tiered->Push(some, Random(rng, some.size() * dim), what < 5 ? 0.5f : 1.0f);
    } else if (what < 50) {
      failed_requests +=
          !tiered->Pull(Pick(rng, keys, 1 + rng.NextBelow(700)), AbsentValue::kInitial);
    } else if (what < 60) {
      failed_requests += !tiered->Pull(Pick(rng, keys, 1 + rng.NextBelow(700)), AbsentValue::kZero);
    } else if (what < 94) {
      // The keeper's two steps over some stripes, with requests between them now and then.
      std::vector<float> sample;
      tiered->table().SampleColdness(500, tiered->step(), static_cast<std::uint64_t>(i), &sample);
      SpillRule rule{tiered->step(), sample.empty() ? 0 : sample[rng.NextBelow(sample.size())]};
      if (rng.NextBelow(4) == 0) rule.threshold = 0;
      const auto first = static_cast<std::uint32_t>(rng.NextBelow(kStripes));
      const auto count = static_cast<std::uint32_t>(rng.NextBelow(kStripes));
      for (std::uint32_t s = 0; s < count; ++s) {
        (void)tiered->WriteBack((first + s) % kStripes, rng.NextBelow(8) == 0 ? nullptr : &rule);
      }
      if (rng.NextBelow(2) == 0) {
        const auto some = Pick(rng, keys, 300);
        failed_requests += !tiered->Push(some, Random(rng, some.size() * dim));
        failed_requests += !tiered->Pull(Pick(rng, keys, 300), AbsentValue::kInitial);
      }
      // Drop may come after a write that failed: it takes only what is clean.
      for (std::uint32_t s = 0; s < count; ++s) {
        tiered->table().Drop((first + s) % kStripes, rule);
      }
      tiered->ExpectCounts();
    } else if (what < 98) {
      tiered->store().FailWrites(rng.NextBelow(2) == 0 ? 300 : 0);
      tiered->store().FailReads(rng.NextBelow(2) == 0 ? 300 : 0);
    } else {
      failures += tiered->store().failures();
      fetched += tiered->table().Counts().fetched_rows;
      spilled += tiered->table().Counts().spilled_rows;
      tiered->store().FailWrites(0);
      ASSERT_EQ(tiered->WriteAllBack(), OkStatus());
      ASSERT_EQ(tiered->store().Flush(), OkStatus());
      tiered->Reopen(static_cast<std::int64_t>(tiered->model().rows().size()));
      tiered->ExpectCounts();
    }
  }
  EXPECT_GT(failures, 5u) << "the test should have met failures";
  EXPECT_GT(failed_requests, 0u);
  EXPECT_GT(fetched, 1000u);
  EXPECT_GT(spilled, 1000u);
  tiered->store().FailWrites(0);
  tiered->store().FailReads(0);
  EXPECT_TRUE(tiered->Pull(keys, AbsentValue::kZero));
  tiered->ExpectRows();
  EXPECT_TRUE(tiered->Pull(keys, AbsentValue::kInitial));
  tiered->ExpectRows();
}

// Keys in memory, in the store, and nowhere, in one request: each gradient meets its own key.
TEST_P(TieredShapesTest, ColdNewAndResidentKeysMixInOneRequest) {
  const auto tiered = MakeShape();
  const std::size_t dim = tiered->table().layout().dim();
  Rng rng(3, 1);
  std::vector<std::uint64_t> keys(3000);
  for (auto& key : keys) key = rng.NextU64();
  std::vector<std::uint64_t> cold, warm, all = keys;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (i % 3 != 0) (i % 3 == 1 ? cold : warm).push_back(keys[i]);
  }
  ASSERT_TRUE(tiered->Push(cold, Random(rng, cold.size() * dim)));
  tiered->SpillAll();
  ASSERT_TRUE(tiered->Push(warm, Random(rng, warm.size() * dim)));
  EXPECT_EQ(tiered->table().Counts().resident_rows, warm.size());
  EXPECT_TRUE(tiered->Pull(all, AbsentValue::kZero));
  EXPECT_EQ(tiered->table().Counts().pulled_absent, keys.size() / 3);
  EXPECT_TRUE(tiered->Push(all, Random(rng, all.size() * dim)));
  EXPECT_EQ(tiered->table().Counts().rows, all.size());
  EXPECT_TRUE(tiered->Pull(all, AbsentValue::kZero));
  tiered->ExpectRows();
}

// A row whose numbers are all zero is a row: neither in memory nor in the store is it absent.
TEST_P(TieredTableTest, ARowOfZerosIsNotAbsent) {
  const auto tiered =
      Make("name: 't' dim: 1 optimizer { sgd { learning_rate: 1 } } initializer { uniform {} }");
  const std::vector<std::uint64_t> keys = {0, 1, 2, ~0ull};
  std::vector<float> initial;
  for (const std::uint64_t key : keys) initial.push_back(tiered->model().Value(key)[0]);
  ASSERT_NE(initial[0], 0);
  ASSERT_TRUE(tiered->Push(keys, initial));
  for (const bool is_cold : {false, true}) {
    if (is_cold) tiered->SpillAll();
    const auto absent = tiered->table().Counts().pulled_absent;
    EXPECT_EQ(tiered->model().Value(0), std::vector<float>{0});
    EXPECT_TRUE(tiered->Pull(keys, AbsentValue::kZero));
    EXPECT_TRUE(tiered->Pull(keys, AbsentValue::kInitial)) << "not their initial values";
    EXPECT_EQ(tiered->table().Counts().pulled_absent, absent);
  }
}

// Pulls do not ask for different keys, as pushes do.
TEST_P(TieredTableTest, APullMayNameAColdKeyTwice) {
  const auto tiered = Make(StrCat("name: 't' dim: 3 ", kSgd));
  ASSERT_TRUE(tiered->Push({1, 2, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9}));
  tiered->SpillAll();
  const std::vector<std::uint64_t> twice = {2, 1, 2, 9, 3, 9, 2};
  EXPECT_TRUE(tiered->Pull(twice, AbsentValue::kZero));
  EXPECT_TRUE(tiered->Pull(twice, AbsentValue::kInitial));
  EXPECT_EQ(tiered->table().Counts().resident_rows, 3u);
  EXPECT_TRUE(tiered->Pull(twice, AbsentValue::kInitial));
}

TEST_P(TieredTableTest, ResidentRowsAreNotLookedForInTheStore) {
  const auto tiered = Make(StrCat("name: 't' dim: 3 ", kSgd));
  ASSERT_TRUE(tiered->Push({1, 2}, std::vector<float>(6, 1)));
  tiered->SpillAll();
  ASSERT_TRUE(tiered->Pull({1, 2}, AbsentValue::kInitial));
  tiered->store().FailReads(1024);
  EXPECT_TRUE(tiered->Pull({1, 2}, AbsentValue::kInitial));
  EXPECT_TRUE(tiered->Pull({2, 1}, AbsentValue::kZero));
  EXPECT_TRUE(tiered->Push({2, 1}, std::vector<float>(6, 1)));
  EXPECT_FALSE(tiered->Pull({1, 3}, AbsentValue::kInitial)) << "3 may be in the store";
}

// What rows took, the index among it, is free again when they have left: else a request that is
// larger than the memory would leave none for those after it.
TEST_P(TieredTableTest, AnEmptyTableTakesNoMemory) {
  const auto tiered = Make(StrCat("name: 't' dim: 1 ", kSgd));
  std::vector<std::uint64_t> keys(20'000);
  for (std::size_t i = 0; i < keys.size(); ++i) keys[i] = i;
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(tiered->Push(keys, std::vector<float>(keys.size(), 1)));
    EXPECT_GT(tiered->table().memory_bytes(), 30 * 20'000);
    tiered->SpillAll();
    EXPECT_EQ(tiered->table().memory_bytes(), 0);
  }
  EXPECT_TRUE(tiered->Pull(keys, AbsentValue::kInitial));
}

// Rows that stay lie all over the pages; they move together, and what no row needs is returned.
TEST_P(TieredTableTest, PagesOfRowsThatLeftAreReturned) {
  const auto tiered = Make(StrCat("name: 't' dim: 16 ", kSgd));
  std::vector<std::uint64_t> keys(60'000), kept;
  for (std::size_t i = 0; i < keys.size(); ++i) keys[i] = i * 7;
  for (std::size_t i = 0; i < keys.size(); i += 12) kept.push_back(keys[i]);
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(tiered->Push(keys, std::vector<float>(keys.size() * 16, 1)));
    for (int i = 0; i < 40; ++i) {
      ASSERT_TRUE(tiered->Push(kept, std::vector<float>(kept.size() * 16, 1)));
    }
    const EmbeddingTable& table = tiered->table();
    const auto full = table.reserved_bytes();
    EXPECT_GE(full, table.memory_bytes());
    // Names the rows that were not pushed again.
    const SpillRule rule{tiered->step(), 30};
    for (int pass = 0; pass < 3; ++pass) {
      for (std::uint32_t s = 0; s < kStripes; ++s) {
        ASSERT_EQ(tiered->WriteBack(s, &rule), OkStatus());
        tiered->table().Drop(s, rule);
      }
    }
    EXPECT_EQ(table.Counts().resident_rows, kept.size());
    EXPECT_LE(table.reserved_bytes(), full / 4);
    EXPECT_LE(table.unusable_bytes(), table.reserved_bytes());
    EXPECT_TRUE(tiered->Pull(kept, AbsentValue::kZero));
    EXPECT_EQ(table.Counts().fetched_rows, round * (keys.size() - kept.size()));
    EXPECT_TRUE(tiered->Pull(keys, AbsentValue::kInitial));
    tiered->ExpectRows();
    ASSERT_TRUE(tiered->Push(keys, std::vector<float>(keys.size() * 16, 1)));
  }
}

// Else a row would leave between the pull and the push of one batch.
TEST_P(TieredTableTest, ARowThatHasJustComeIsPassedOverOnce) {
  const auto tiered = Make(StrCat("name: 't' dim: 3 ", kSgd));
  const std::vector<std::uint64_t> keys = {1, 2, 3, 4};
  ASSERT_TRUE(tiered->Push(keys, std::vector<float>(12, 1)));
  tiered->SpillAll();
  ASSERT_TRUE(tiered->Pull(keys, AbsentValue::kInitial));
  for (const std::size_t left : {keys.size(), std::size_t{0}}) {
    for (std::uint32_t s = 0; s < kStripes; ++s) {
      ASSERT_EQ(tiered->WriteBack(s, &kAllRows), OkStatus());
      tiered->table().Drop(s, kAllRows);
    }
    EXPECT_EQ(tiered->table().Counts().resident_rows, left);
  }
}

const char* NameOfStore(bool on_disk) { return on_disk ? "Rocks" : "Memory"; }
INSTANTIATE_TEST_SUITE_P(Stores, TieredTableTest, testing::Bool(),
                         [](const auto& param_info) { return NameOfStore(param_info.param); });
INSTANTIATE_TEST_SUITE_P(Stores, TieredShapesTest,
                         testing::Combine(testing::Bool(), testing::Range(0, 5)),
                         [](const auto& param_info) {
                           return StrCat(NameOfStore(std::get<0>(param_info.param)), "Dim",
                                         kShapes[std::get<1>(param_info.param)].dim);
                         });

}  // namespace
}  // namespace cairn::ps
