// Every row store in every set-up that the suites run over.
#pragma once

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ps/store/memory_store.h"
#include "ps/store/rocks_store.h"
#include "tests/ps/store/store_folder.h"

namespace cairn::ps {

struct StoreKind {
  std::string name;
  bool is_durable;
  std::function<Result<std::unique_ptr<RowStore>>(const std::string& folder, bool read_only)> open;
};

inline StoreKind Rocks(const std::string& name, std::size_t ingest_records,
                       CompactionStyle compaction) {
  return {name, true, [=](const std::string& folder, bool read_only) {
            // Memtables this small are written, and their files compacted, while a test runs.
            return OpenRocksStore(folder, {.read_only = read_only,
                                           .compaction = compaction,
                                           .memtable_bytes = 64u << 10,
                                           .ingest_records = ingest_records});
          }};
}

inline std::vector<StoreKind> AllStores() {
  return {{"Memory", false,
           [](const std::string&, bool) -> Result<std::unique_ptr<RowStore>> {
             return MakeMemoryStore();
           }},
          Rocks("RocksIngested", 1, CompactionStyle::kLevel),
          Rocks("RocksInBatches", 1'000'000, CompactionStyle::kLevel),
          Rocks("RocksMixed", 300, CompactionStyle::kLevel),
          Rocks("RocksUniversal", 300, CompactionStyle::kUniversal)};
}

inline const auto kNameOf = [](const auto& param_info) { return param_info.param.name; };
inline std::vector<StoreKind> DurableStores() {
  std::vector<StoreKind> stores;
  for (StoreKind& kind : AllStores()) {
    if (kind.is_durable) stores.push_back(std::move(kind));
  }
  return stores;
}

class RowStoreTest : public StoreFolder, public testing::WithParamInterface<StoreKind> {
 protected:
  std::unique_ptr<RowStore> Open(const std::string& name, bool read_only = false) {
    auto store = GetParam().open(folder_ + "/" + name, read_only);
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? std::move(*store) : nullptr;
  }
  static std::vector<std::string> KeysOf(const Records& records) {
    std::vector<std::string> keys;
    for (const auto& [key, value] : records) keys.push_back(key);
    return keys;
  }
};

}  // namespace cairn::ps
