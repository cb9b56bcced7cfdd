// Eviction against a model of every row that knows the rules: random pushes while rows leave
// memory, come back, are evicted, and the table is opened anew over its store.
#include "ps/tier/evictor.h"

#include <cmath>
#include <map>
#include <string>

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "common/math/rng.h"
#include "proto/config.pb.h"
#include "ps/store/memory_store.h"
#include "ps/tier/store_rows.h"

namespace cairn::ps {
namespace {

constexpr std::size_t kDim = 3;
constexpr SlotRange kSlots{4, 0, 16};

std::unique_ptr<EmbeddingTable> MakeTable(const std::string& text) {
  proto::TableConfig config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      "name: 't' dim: 3 initializer { zero {} } optimizer { sgd { learning_rate: 1 } } " + text,
      &config));
  auto table = EmbeddingTable::Make(config, 1);
  EXPECT_TRUE(table.ok()) << table.status();
  return std::move(*table);
}

KeyGroups GroupsOf(std::span<const std::uint64_t> keys) {
  KeyGroups groups;
  EXPECT_FALSE(groups.Build(keys, kSlots).has_value());
  return groups;
}

struct ModelRow {
  std::uint64_t count = 0, last_step = 0;
  std::vector<float> value = std::vector<float>(kDim);
};

// One table over a store, and the model of it.
class Evicted {
 public:
  Evicted(const std::string& config, std::uint64_t seed)
      : config_(config), rng_(seed, 3), store_(MakeMemoryStore()) {
    Open(0);
    EXPECT_FALSE(evictor_.IsDue(Tables(), 0));
  }

  void Push() {
    std::map<std::uint64_t, std::vector<float>> push;
    // Small keys are frequent.
    for (int i = 0; i < 60; ++i) {
      const double u = rng_.NextDouble();
      auto& gradient = push[static_cast<std::uint64_t>(u * u * u * 2000)];
      gradient.resize(kDim);
      // Eighths that add up exactly, often to a small norm, also in bfloat16.
      for (float& g : gradient) g = static_cast<float>(rng_.NextBelow(5)) / 8 - 0.25f;
    }
    std::vector<std::uint64_t> keys;
    std::vector<float> gradients;
    ++step_;
    for (const auto& [key, gradient] : push) {
      keys.push_back(key);
      gradients.insert(gradients.end(), gradient.begin(), gradient.end());
      ModelRow& row = model_[key];
      ++row.count;
      row.last_step = step_;
      for (std::size_t i = 0; i < kDim; ++i) row.value[i] -= gradient[i];
    }
    const KeyGroups groups = GroupsOf(keys);
    ASSERT_EQ(table_->MakeResident(groups), OkStatus());
    table_->Push(groups, gradients.data(), 1, step_);
  }

  void Spill() {
    const SpillRule rule{step_, static_cast<float>(rng_.NextBelow(2000))};
    RowBatch batch;
    for (std::uint32_t s = 0; s < kStripes; ++s) table_->WriteBack(s, &rule, 0, kSlots, &batch);
    ASSERT_EQ(WriteRows(Tables(), kSlots, *store_, &batch), OkStatus());
    for (std::uint32_t s = 0; s < kStripes; ++s) table_->Drop(s, rule);
  }

  void Reopen() {
    RowBatch batch;
    for (std::uint32_t s = 0; s < kStripes; ++s) table_->WriteBack(s, nullptr, 0, kSlots, &batch);
    ASSERT_EQ(WriteRows(Tables(), kSlots, *store_, &batch), OkStatus());
    earlier_ = Counts();
    Open(static_cast<std::int64_t>(model_.size()));
  }

  // A whole pass; rows of the last `fresh` pushes are in the log.
  void Evict(std::uint64_t fresh) {
    const EvictionTime time{step_, step_ - std::min(fresh, step_)};
    while (evictor_.IsDue(Tables(), step_)) {
      ASSERT_EQ(evictor_.Look(Tables(), *store_, time), OkStatus());
    }
    ASSERT_EQ(evictor_.Remove(Tables(), *store_, time, true), OkStatus());
    std::erase_if(model_, [&](const auto& entry) {
      const ModelRow& row = entry.second;
      if (row.last_step > time.last_step) return false;
      const EvictionRule& rule = table_->eviction();
      const std::uint64_t age = step_ - row.last_step;
      double norm = 0;
      for (const float x : row.value) norm += double{x} * double{x};
      std::uint64_t* reason = nullptr;
      if (rule.max_age > 0 && age >= rule.max_age) {
        reason = &by_age_;
      } else if (age >= rule.min_age && row.count < rule.min_count) {
        reason = &by_count_;
      } else if (age >= rule.min_age && std::sqrt(norm) < rule.min_norm) {
        reason = &by_norm_;
      }
      if (reason != nullptr) ++*reason;
      return reason != nullptr;
    });
  }

  void Check() {
    const TableCounts counts = Counts();
    EXPECT_EQ(counts.rows, model_.size());
    EXPECT_EQ(counts.evicted_age, by_age_);
    EXPECT_EQ(counts.evicted_count, by_count_);
    EXPECT_EQ(counts.evicted_norm, by_norm_);
    std::vector<std::uint64_t> keys(2000);
    std::vector<float> wanted, values(keys.size() * kDim);
    for (std::uint64_t key = 0; key < keys.size(); ++key) {
      keys[key] = key;
      const auto row = model_.find(key);
      const std::vector<float> value =
          row == model_.end() ? std::vector<float>(kDim) : row->second.value;
      wanted.insert(wanted.end(), value.begin(), value.end());
    }
    ASSERT_EQ(table_->Pull(GroupsOf(keys), AbsentValue::kZero, values.data()), OkStatus());
    EXPECT_EQ(values, wanted);
    // What is in memory and in the store, with its counters.
    table_->ForEachRow([&](std::uint64_t key, const std::byte* record) {
      CheckMetadata(key, table_->layout().Metadata(record), true);
    });
    ASSERT_EQ(store_->Scan(Family::kRows, {}, {},
                           [&](const StoreRecord& record) {
                             const auto* const bytes =
                                 reinterpret_cast<const std::byte*>(record.value.data());
                             CheckMetadata(DecodeRowKey(record.key)->key,
                                           table_->layout().Metadata(bytes), false);
                             return true;
                           }),
              OkStatus());
  }

  std::uint64_t by_age() const { return by_age_; }
  std::uint64_t by_count() const { return by_count_; }
  std::uint64_t by_norm() const { return by_norm_; }
  std::size_t rows() const { return model_.size(); }

 private:
  TableSpan Tables() const { return {&table_, 1}; }
  void Open(std::int64_t rows) {
    table_ = MakeTable(config_);
    rows_ = std::make_unique<StoreRows>(store_.get(), 0, kSlots);
    table_->SetStore(rows_.get(), rows);
  }
  TableCounts Counts() const {
    TableCounts counts = table_->Counts();
    counts.evicted_age += earlier_.evicted_age;
    counts.evicted_count += earlier_.evicted_count;
    counts.evicted_norm += earlier_.evicted_norm;
    return counts;
  }
  void CheckMetadata(std::uint64_t key, const RowMetadata& metadata, bool exactly) {
    ASSERT_TRUE(model_.contains(key)) << key;
    EXPECT_LE(metadata.count, model_[key].count) << key;
    EXPECT_EQ(metadata.version, metadata.count) << key;
    if (!exactly) return;
    EXPECT_EQ(metadata.count, model_[key].count) << key;
    EXPECT_EQ(metadata.last_step, model_[key].last_step) << key;
  }

  const std::string config_;
  Rng rng_;
  std::unique_ptr<RowStore> store_;
  std::unique_ptr<StoreRows> rows_;
  std::unique_ptr<EmbeddingTable> table_;
  Evictor evictor_{kSlots, /*rows_of_stop=*/50};
  TableCounts earlier_;  // of tables before
  std::map<std::uint64_t, ModelRow> model_;
  std::uint64_t step_ = 0, by_age_ = 0, by_count_ = 0, by_norm_ = 0;
};

class EvictorTest : public testing::TestWithParam<std::string> {};

TEST_P(EvictorTest, AgreesWithAModelUnderRandomTraffic) {
  Evicted evicted(
      "eviction { max_age_pushes: 60 min_count: 3 min_norm: 0.3 "
      "min_count_age_pushes: 7 } storage: " +
          GetParam(),
      8);
  Rng rng(4, 4);
  for (int round = 0; round < 400; ++round) {
    ASSERT_NO_FATAL_FAILURE(evicted.Push());
    if (rng.NextBelow(4) == 0) {
      ASSERT_NO_FATAL_FAILURE(evicted.Spill());
    }
    if (rng.NextBelow(3) == 0) {
      ASSERT_NO_FATAL_FAILURE(evicted.Evict(rng.NextBelow(40)));
    }
    if (rng.NextBelow(40) == 0) {
      ASSERT_NO_FATAL_FAILURE(evicted.Reopen());
    }
    if (round % 10 == 0) {
      ASSERT_NO_FATAL_FAILURE(evicted.Check());
    }
  }
  EXPECT_GT(evicted.by_age(), 100u);
  EXPECT_GT(evicted.by_count(), 100u);
  EXPECT_GT(evicted.by_norm(), 10u);
  EXPECT_GT(evicted.rows(), 100u);
}

// Eighths are exact in all three.
INSTANTIATE_TEST_SUITE_P(All, EvictorTest, testing::Values("FLOAT32", "BFLOAT16", "FLOAT16"));

TEST(Evictor, APassFollowsThePushes) {
  const auto store = MakeMemoryStore();
  const StoreRows rows(store.get(), 0, kSlots);
  const auto table = MakeTable("eviction { max_age_pushes: 3200 }");
  table->SetStore(&rows, 0);
  const TableSpan tables(&table, 1);
  Evictor evictor(kSlots);
  const auto looks = [&](std::uint64_t now) {
    std::size_t count = 0;
    for (; evictor.IsDue(tables, now); ++count) {
      EXPECT_EQ(evictor.Look(tables, *store, {now, now}), OkStatus());
    }
    return count;
  };
  constexpr std::size_t kStops = kStripes + 1;  // and the store, which has few rows
  EXPECT_EQ(looks(0), 0u);
  EXPECT_EQ(looks(99), 0u);
  EXPECT_EQ(looks(100), kStops / 8);  // an eighth of 3200 / 4 pushes
  EXPECT_EQ(looks(150), 0u);
  EXPECT_EQ(looks(450), kStops / 2 - kStops / 8);
  EXPECT_EQ(looks(10'000), kStops - kStops / 2);
  EXPECT_EQ(looks(10'001), 0u);
  EXPECT_EQ(looks(10'800), kStops);
}

TEST(Evictor, TablesWithoutARuleAreLeftAlone) {
  const auto table = MakeTable("");
  Evictor evictor(kSlots);
  EXPECT_FALSE(evictor.IsDue({&table, 1}, 1'000'000'000));
}

TEST(Evictor, ATableWhoseRowsAllStepCannotEvict) {
  proto::TableConfig config;
  config.set_name("t");
  config.set_l2_rows(proto::TableConfig::ALL);
  config.mutable_eviction()->set_max_age_pushes(10);
  const auto table = EmbeddingTable::Make(config, 1);
  EXPECT_EQ(table.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(table.status().message().find("l2_rows"), std::string::npos) << table.status();
}

}  // namespace
}  // namespace cairn::ps
