#include "ps/table/embedding_table.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "common/math/rng.h"
#include "google/protobuf/text_format.h"
#include "proto/config.pb.h"

namespace cairn::ps {
namespace {

std::unique_ptr<EmbeddingTable> MakeTable(const std::string& text) {
  proto::TableConfig config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &config)) << text;
  return EmbeddingTable::Make(config, 1).value();
}

KeyGroups GroupsOf(const std::vector<std::uint64_t>& keys) {
  KeyGroups groups;
  EXPECT_EQ(groups.Build(keys, {}), std::nullopt);
  return groups;
}

std::vector<std::uint64_t> RandomKeys(std::uint64_t seed, std::size_t n) {
  Rng rng(seed, 1);
  std::vector<std::uint64_t> keys(n);
  for (auto& key : keys) key = rng.NextU64();
  return keys;
}

std::vector<float> Pull(EmbeddingTable& table, const std::vector<std::uint64_t>& keys,
                        AbsentValue absent = AbsentValue::kZero) {
  std::vector<float> values(keys.size() * table.layout().dim(), 77.0f);
  EXPECT_EQ(table.Pull(GroupsOf(keys), absent, values.data()), OkStatus());
  return values;
}

// With plain SGD and zero initial values, a row is minus the sum of its gradients.
TEST(EmbeddingTable, KeepsTheRightRowForEachKeyWhileItGrows) {
  for (const std::size_t dim : {1, 5, 16, 40, 700}) {
    const auto table = MakeTable("name: 't' dim: " + std::to_string(dim) +
                                 " optimizer { sgd { learning_rate: 1 } } initializer { zero {} }");
    const auto keys = RandomKeys(dim, dim > 100 ? 500 : 20'000);
    std::vector<float> gradients(keys.size() * dim);
    for (std::size_t i = 0; i < gradients.size(); ++i) gradients[i] = static_cast<float>(i % 65536);
    for (int step = 1; step <= 3; ++step) {
      // Later pushes bring in more keys, so that found and new rows mix in one request.
      const std::size_t n = keys.size() * static_cast<std::size_t>(step) / 3;
      table->Push(GroupsOf({keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(n)}),
                  gradients.data(), 1, static_cast<std::uint64_t>(step));
    }
    const auto values = Pull(*table, keys);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::size_t key = i / dim;
      const int pushes = key < keys.size() / 3 ? 3 : key < keys.size() * 2 / 3 ? 2 : 1;
      ASSERT_EQ(values[i], -gradients[i] * static_cast<float>(pushes)) << "dim " << dim << " " << i;
    }
    EXPECT_EQ(table->Counts().rows, keys.size());
    EXPECT_EQ(table->Counts().pulled_absent, 0u);
  }
}

TEST(EmbeddingTable, FoundAndAbsentKeysMixInOnePull) {
  const auto table = MakeTable("name: 't' dim: 4 initializer { uniform { bound: 1 } }");
  const auto keys = RandomKeys(3, 1000);
  const auto initial = Pull(*table, keys, AbsentValue::kInitial);
  std::vector<std::uint64_t> half;
  for (std::size_t i = 0; i < keys.size(); i += 2) half.push_back(keys[i]);
  table->Push(GroupsOf(half), std::vector<float>(half.size() * 4, 1.0f).data(), 1, 1);
  const auto values = Pull(*table, keys, AbsentValue::kZero);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const bool there = i / 4 % 2 == 0;
    EXPECT_NEAR(values[i], there ? initial[i] - 1e-3f : 0, 1e-6) << i;
  }
  EXPECT_EQ(table->Counts().rows, half.size());
}

TEST(EmbeddingTable, EachRowCountsItsOwnUpdates) {
  const auto table = MakeTable("name: 't' dim: 2");
  table->Push(GroupsOf({1, 2}), std::vector<float>(4, 1.0f).data(), 1, 10);
  table->Push(GroupsOf({2}), std::vector<float>(2, 1.0f).data(), 1, 11);
  std::size_t seen = 0;
  table->ForEachRow([&](std::uint64_t key, const std::byte* record) {
    ++seen;
    EXPECT_EQ(table->layout().Metadata(record),
              key == 1 ? (RowMetadata{1, 1, 10}) : (RowMetadata{2, 2, 11}));
  });
  EXPECT_EQ(seen, 2u);
}

TEST(EmbeddingTable, L2PullsTouchedRowsTowardsZero) {
  const auto table = MakeTable(
      "name: 't' dim: 4 l2: 0.5 optimizer { sgd { learning_rate: 0.1 } } "
      "initializer { uniform { bound: 1 } }");
  const auto before = Pull(*table, {5}, AbsentValue::kInitial);
  table->Push(GroupsOf({5}), std::vector<float>(4).data(), 1, 1);
  const auto after = Pull(*table, {5});
  for (std::size_t i = 0; i < 4; ++i) EXPECT_FLOAT_EQ(after[i], before[i] * 0.95f);
}

// A dense parameter of another framework: every row takes every step, in double.
class DenseReference {
 public:
  enum class Kind { kSgd, kAdagrad, kAdam };
  DenseReference(Kind kind, double rate, double l2, std::vector<double> values)
      : kind_(kind), rate_(rate), l2_(l2), w_(std::move(values)), m_(w_.size()), v_(w_.size()) {}

  void Step(const std::vector<double>& gradient) {
    ++t_;
    for (std::size_t i = 0; i < w_.size(); ++i) {
      const double g = gradient[i] + l2_ * w_[i];
      switch (kind_) {
        case Kind::kSgd:
          w_[i] -= rate_ * g;
          break;
        case Kind::kAdagrad:
          v_[i] += g * g;
          w_[i] -= rate_ * g / (std::sqrt(v_[i]) + 1e-7);
          break;
        case Kind::kAdam:
          m_[i] = 0.9 * m_[i] + 0.1 * g;
          v_[i] = 0.999 * v_[i] + 0.001 * g * g;
          w_[i] -= rate_ * m_[i] / (1 - std::pow(0.9, t_)) /
                   (std::sqrt(v_[i] / (1 - std::pow(0.999, t_))) + 1e-8);
          break;
      }
    }
  }
  const std::vector<double>& values() const { return w_; }

 private:
  const Kind kind_;
  const double rate_, l2_;
  std::vector<double> w_, m_, v_;
  double t_ = 0;
};

TEST(EmbeddingTable, L2OfAllRowsIsThatOfADenseParameter) {
  constexpr std::size_t kDim = 3, kRows = 500;
  struct Case {
    const char* optimizer;
    DenseReference::Kind kind;
  };
  for (const Case& c :
       {Case{"sgd", DenseReference::Kind::kSgd}, Case{"adagrad", DenseReference::Kind::kAdagrad},
        Case{"adam", DenseReference::Kind::kAdam}}) {
    SCOPED_TRACE(c.optimizer);
    const auto table = MakeTable(
        StrCat("name: 't' dim: 3 l2: 0.25 l2_rows: ALL initializer { uniform { bound: 1 } } ",
               "optimizer { ", c.optimizer, " { learning_rate: 0.01 } }"));
    const auto keys = RandomKeys(7, kRows);
    const auto initial = Pull(*table, keys, AbsentValue::kInitial);
    DenseReference dense(c.kind, 0.01, 0.25, {initial.begin(), initial.end()});
    Rng rng(11, 3);
    for (std::uint64_t step = 1; step <= 20; ++step) {
      std::vector<double> gradient(kRows * kDim, 0);
      std::vector<std::uint64_t> named;
      std::vector<float> pushed;
      for (std::size_t r = 0; r < kRows; ++r) {
        if (step > 1 && (step == 9 || rng.NextBelow(5) != 0)) continue;  // the first makes all rows
        named.push_back(keys[r]);
        for (std::size_t j = 0; j < kDim; ++j) {
          pushed.push_back(static_cast<float>(rng.NextBelow(2000)) / 1000 - 1);
          gradient[r * kDim + j] = pushed.back();
        }
      }
      table->Push(GroupsOf(named), pushed.data(), 1, step);
      dense.Step(gradient);
    }
    const auto values = Pull(*table, keys);
    for (std::size_t i = 0; i < values.size(); ++i)
      ASSERT_NEAR(values[i], dense.values()[i], 2e-5) << "element " << i;
    table->ForEachRow([&](std::uint64_t, const std::byte* record) {
      const RowMetadata metadata = table->layout().Metadata(record);
      ASSERT_EQ(metadata.version, 20u);
      ASSERT_EQ(metadata.last_step, 20u);
      ASSERT_LT(metadata.count, 20u) << "counts the pushes that named the row";
    });
  }
}

TEST(EmbeddingTable, L2OfAllRowsMakesAllRowsDirtyAndNoRows) {
  const auto table = MakeTable("name: 't' dim: 2 l2: 0.5 l2_rows: ALL");
  const auto keys = RandomKeys(9, 1000);
  table->Push(GroupsOf(keys), std::vector<float>(2000).data(), 1, 1);
  table->MarkAllClean();
  table->Push(GroupsOf({keys[3]}), std::vector<float>(2).data(), 1, 2);
  std::set<std::uint64_t> dirty;
  table->ForEachDirtyRow([&](std::uint64_t key, std::uint32_t) { dirty.insert(key); });
  EXPECT_EQ(dirty, std::set<std::uint64_t>(keys.begin(), keys.end()));
  EXPECT_EQ(table->Counts().rows, 1000u);
  EXPECT_EQ(table->Counts().pushed_rows, 1001u);
}

// Every row takes each of the pushes of all threads exactly once, whatever their order.
TEST(EmbeddingTable, ConcurrentPushesStepAllRowsOnceEach) {
  const auto table = MakeTable(
      "name: 't' dim: 1 l2: 0.5 l2_rows: ALL initializer { uniform { bound: 1 } } "
      "optimizer { sgd { learning_rate: 0.01 } }");
  const auto keys = RandomKeys(5, 300);
  const auto initial = Pull(*table, keys, AbsentValue::kInitial);
  table->Push(GroupsOf(keys), std::vector<float>(300).data(), 1, 1);
  std::atomic<std::uint64_t> next_step{2};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      Rng rng(static_cast<std::uint64_t>(t), 8);
      for (int i = 0; i < 50; ++i) {
        std::vector<std::uint64_t> some;
        for (const std::uint64_t key : keys)
          if (rng.NextBelow(10) == 0) some.push_back(key);
        table->Push(GroupsOf(some), std::vector<float>(some.size()).data(), 1, next_step++);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  const auto values = Pull(*table, keys);
  for (std::size_t i = 0; i < values.size(); ++i)
    ASSERT_NEAR(values[i], initial[i] * std::pow(0.995, 201), 1e-5);
  table->ForEachRow([&](std::uint64_t, const std::byte* record) {
    ASSERT_EQ(table->layout().Metadata(record).version, 201u);
  });
}

TEST(EmbeddingTable, OnlyRowsChangedSinceTheLastMarkAreDirty) {
  const auto table = MakeTable("name: 't' dim: 2");
  const auto keys = RandomKeys(9, 2000);
  const auto dirty = [&table] {
    std::set<std::uint64_t> out;
    table->ForEachDirtyRow([&](std::uint64_t key, std::uint32_t) { out.insert(key); });
    return out;
  };
  table->Push(GroupsOf(keys), std::vector<float>(4000).data(), 1, 1);
  EXPECT_EQ(dirty(), std::set<std::uint64_t>(keys.begin(), keys.end()));
  table->MarkAllClean();
  EXPECT_TRUE(dirty().empty());
  Pull(*table, keys);
  EXPECT_TRUE(dirty().empty());
  table->Push(GroupsOf({keys[3], 1}), std::vector<float>(4).data(), 1, 2);
  EXPECT_EQ(dirty(), (std::set<std::uint64_t>{1, keys[3]}));
}

TEST(EmbeddingTable, LoadedRecordsAreKeptAsTheyAre) {
  const auto table = MakeTable("name: 't' dim: 3 optimizer { adagrad {} }");
  const std::size_t bytes = table->layout().RecordBytes();
  const auto keys = RandomKeys(2, 3000);
  std::vector<std::byte> records(keys.size() * bytes + 1);
  for (std::size_t i = 0; i < records.size(); ++i) records[i] = static_cast<std::byte>(i * 37 % 64);
  const auto expect_loaded = [&] {
    std::set<std::uint64_t> seen;
    table->ForEachRow([&](std::uint64_t key, const std::byte* stored) {
      seen.insert(key);
      const auto at = static_cast<std::size_t>(std::ranges::find(keys, key) - keys.begin());
      ASSERT_LT(at, keys.size());
      EXPECT_EQ(std::memcmp(stored, records.data() + 1 + at * bytes, bytes), 0);
    });
    EXPECT_EQ(seen.size(), keys.size());
  };
  table->Load(GroupsOf(keys), records.data() + 1, false);
  expect_loaded();
  table->ForEachDirtyRow([](std::uint64_t, std::uint32_t) { FAIL() << "a clean row is dirty"; });
  for (std::byte& b : records) b ^= std::byte{0x15};
  table->Load(GroupsOf(keys), records.data() + 1, true);
  expect_loaded();
  std::size_t dirty = 0;
  table->ForEachDirtyRow([&dirty](std::uint64_t, std::uint32_t) { ++dirty; });
  EXPECT_EQ(dirty, keys.size());
}

TEST(EmbeddingTable, MemoryIsAccountedForAndSmallForSmallTables) {
  const auto table = MakeTable("name: 't' dim: 16 optimizer { adagrad {} }");
  EXPECT_EQ(table->Counts().bytes, 0u);
  const auto keys = RandomKeys(1, 10'000);
  table->Push(GroupsOf(keys), std::vector<float>(160'000).data(), 1, 1);
  const TableCounts counts = table->Counts();
  EXPECT_GE(counts.bytes, keys.size() * 144);
  EXPECT_LT(counts.bytes, keys.size() * (144 + 24));
}

// All floats of a row are equal after every push, so a row that is read half-updated shows.
TEST(EmbeddingTable, ConcurrentPullsNeverSeeARowHalfUpdated) {
  constexpr std::size_t kDim = 24, kKeys = 300;
  const auto table =
      MakeTable("name: 't' dim: 24 optimizer { sgd { learning_rate: 1 } } initializer { zero {} }");
  const auto keys = RandomKeys(4, kKeys);
  constexpr int kPushers = 2, kSteps = 200;
  std::atomic<int> running{kPushers};
  std::atomic<int> torn{0};
  std::vector<std::thread> threads;
  for (int p = 0; p < kPushers; ++p) {
    threads.emplace_back([&, p] {
      Rng rng(static_cast<std::uint64_t>(p), 5);
      for (int step = 0; step < kSteps; ++step) {
        std::vector<std::uint64_t> some;
        for (const std::uint64_t key : keys) {
          if (rng.NextBelow(2) == 0) some.push_back(key);
        }
        table->Push(GroupsOf(some), std::vector<float>(some.size() * kDim, -1.0f).data(), 1, 1);
      }
      --running;
    });
  }
  for (int r = 0; r < 2; ++r) {
    threads.emplace_back([&] {
      while (running > 0) {
        const auto values = Pull(*table, keys);
        for (std::size_t i = 0; i < values.size(); ++i) {
          if (values[i] != values[i / kDim * kDim]) ++torn;
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(torn, 0);
  // Nothing was lost either: the sum of all rows is the number of row updates.
  double sum = 0, updates = 0;
  table->ForEachRow([&](std::uint64_t, const std::byte* record) {
    sum += table->layout().Value(record)[0];
    updates += table->layout().Metadata(record).version;
  });
  EXPECT_EQ(sum, updates);
  EXPECT_EQ(updates, static_cast<double>(table->Counts().pushed_rows));
}

}  // namespace
}  // namespace cairn::ps
