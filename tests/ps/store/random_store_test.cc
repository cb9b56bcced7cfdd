// Every row store against a map, under random operations. CAIRN_SEED=n draws others.
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "common/math/rng.h"
#include "tests/ps/store/store_kinds.h"

namespace cairn::ps {
namespace {

// Random puts, removals, flushes, snapshots and reopenings, after each of which the store must be
// the map. A store that is opened again without a flush has, for each key, what the last flush
// found or what a later write made of it.
class RandomStoreTest : public RowStoreTest {
 protected:
  static constexpr std::size_t kKeys = 800;

  static std::string KeyOf(std::size_t i) { return StrCat("key ", 1000 + i); }
  std::vector<std::string> SomeKeys(double share) {
    std::vector<std::string> keys;
    for (std::size_t i = 0; i < kKeys; ++i) {
      if (rng_.NextDouble() < share) keys.push_back(KeyOf(i));
    }
    return keys;
  }
  void PutSome() {
    Records changed;
    for (const std::string& key : SomeKeys(rng_.NextDouble())) {
      std::string value = StrCat(next_value_++, " ");
      value.resize(rng_.NextBelow(160), static_cast<char>(rng_.NextU32()));
      changed[key] = value;
    }
    ASSERT_EQ(Put(*store_, Family::kRows, changed), OkStatus());
    for (const auto& [key, value] : changed) {
      expected_[key] = value;
      since_flush_[key].insert(value);
    }
  }
  void DeleteSome() {
    const std::vector<std::string> keys = SomeKeys(rng_.NextDouble() / 2);
    ASSERT_EQ(Delete(*store_, Family::kRows, keys), OkStatus());
    for (const std::string& key : keys) {
      expected_.erase(key);
      since_flush_[key].insert(std::nullopt);
    }
  }
  void FlushAll() {
    ASSERT_EQ(store_->Flush(), OkStatus());
    flushed_ = expected_;
    since_flush_.clear();
  }
  void TakeSnapshot() {
    const std::string name = StrCat("snapshot", next_value_++);
    ASSERT_EQ(store_->Snapshot(folder_ + "/" + name), OkStatus());
    flushed_ = expected_;
    since_flush_.clear();
    const auto copy = Open(name, true);
    EXPECT_EQ(ScanAll(*copy, Family::kRows), expected_);
    EXPECT_EQ(copy->VerifyBlocks(), OkStatus());
  }
  void Reopen() {
    store_.reset();
    store_ = Open("db");
    const Records found = ScanAll(*store_, Family::kRows);
    for (std::size_t i = 0; i < kKeys; ++i) {
      const std::string key = KeyOf(i);
      const auto now = Find(found, key);
      EXPECT_TRUE(now == Find(flushed_, key) || since_flush_[key].contains(now)) << key;
    }
    expected_ = flushed_ = found;
    since_flush_.clear();
  }
  void Check() {
    ASSERT_EQ(ScanAll(*store_, Family::kRows), expected_);
    const std::vector<std::string> keys = SomeKeys(0.5);
    Records wanted;
    std::string value;
    for (const std::string& key : keys) {
      const auto there = Find(expected_, key);
      if (there.has_value()) wanted[key] = *there;
      ASSERT_EQ(store_->Get(Family::kRows, key, &value).ok(), there.has_value());
    }
    ASSERT_EQ(GetAll(*store_, Family::kRows, keys), wanted);
  }
  static std::optional<std::string> Find(const Records& records, const std::string& key) {
    const auto it = records.find(key);
    return it == records.end() ? std::nullopt : std::optional(it->second);
  }

  const std::uint64_t seed_ = std::getenv("CAIRN_SEED") != nullptr
                                  ? std::strtoull(std::getenv("CAIRN_SEED"), nullptr, 10)
                                  : 1;
  Rng rng_{seed_, 1};
  std::unique_ptr<RowStore> store_;
  Records expected_, flushed_;
  std::map<std::string, std::set<std::optional<std::string>>> since_flush_;
  int next_value_ = 0;
};

TEST_P(RandomStoreTest, IsTheMap) {
  SCOPED_TRACE(StrCat("CAIRN_SEED=", seed_));
  store_ = Open("db");
  for (int step = 0; step < 120 && !HasFailure(); ++step) {
    const std::uint64_t what = rng_.NextBelow(GetParam().is_durable ? 12 : 8);
    SCOPED_TRACE(StrCat("step ", step, ", operation ", what));
    if (what < 5) {
      PutSome();
    } else if (what < 7) {
      DeleteSome();
    } else if (what < 9) {
      FlushAll();
    } else if (what < 10) {
      TakeSnapshot();
    } else {
      Reopen();
    }
    Check();
  }
}

INSTANTIATE_TEST_SUITE_P(Stores, RandomStoreTest, testing::ValuesIn(AllStores()), kNameOf);

}  // namespace
}  // namespace cairn::ps
