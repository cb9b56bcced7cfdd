// What tests of row stores share: a folder of their own, and records as a sorted map.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "common/math/rng.h"
#include "ps/store/row_store.h"

namespace cairn::ps {

using Records = std::map<std::string, std::string>;

class StoreFolder : public testing::Test {
 protected:
  StoreFolder() {
    std::string pattern = testing::TempDir() + "cairn_store_XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  ~StoreFolder() override { std::filesystem::remove_all(folder_); }

  static Status Put(RowStore& store, Family family, const Records& records) {
    const std::vector<std::pair<std::string, std::string>> list(records.begin(), records.end());
    std::uint64_t bytes = 0;
    for (const auto& [key, value] : list) bytes += key.size() + value.size();
    return store.PutSorted(family, list.size(), bytes, [&list](std::size_t i) {
      return StoreRecord{list[i].first, list[i].second};
    });
  }
  // keys: in ascending order.
  static Status Delete(RowStore& store, Family family, const std::vector<std::string>& keys) {
    return store.DeleteSorted(family, keys.size(),
                              [&keys](std::size_t i) { return std::string_view(keys[i]); });
  }
  static Records ScanAll(const RowStore& store, Family family, const std::string& begin = "",
                         const std::string& end = "") {
    Records out;
    EXPECT_EQ(store.Scan(family, begin, end,
                         [&out](const StoreRecord& record) {
                           EXPECT_TRUE(out.empty() || out.rbegin()->first < record.key) << "order";
                           out.emplace(std::string(record.key), std::string(record.value));
                           return true;
                         }),
              OkStatus());
    return out;
  }
  // What GetMany finds under `keys`.
  static Records GetAll(const RowStore& store, Family family,
                        const std::vector<std::string>& keys) {
    const std::vector<std::string_view> views(keys.begin(), keys.end());
    Records out;
    std::size_t next = 0;
    EXPECT_EQ(store.GetMany(family, views,
                            [&](std::size_t index, std::string_view value) {
                              EXPECT_GE(index, next) << "order";
                              next = index + 1;
                              out.emplace(keys.at(index), std::string(value));
                            }),
              OkStatus());
    return out;
  }
  static Records RandomRecords(std::uint64_t seed, std::size_t n) {
    Rng rng(seed, 1);
    Records records;
    while (records.size() < n) {
      std::string key(1 + rng.NextBelow(12), '\0'), value(rng.NextBelow(200), '\0');
      for (char& c : key) c = static_cast<char>(rng.NextU32());
      for (char& c : value) c = static_cast<char>(rng.NextU32());
      records[key] = value;
    }
    return records;
  }

  std::string folder_;
};

}  // namespace cairn::ps
