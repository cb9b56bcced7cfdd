// How the values of a table's rows are kept, in memory and on disk.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace cairn::proto {
class TableConfig;
class TableEntry;
}  // namespace cairn::proto

namespace cairn::ps {

enum class Storage { kFloat32, kBFloat16, kFloat16 };

// Of one number.
constexpr std::size_t BytesOf(Storage storage) { return storage == Storage::kFloat32 ? 4 : 2; }

// "float32", "bfloat16", "float16"; the last one is the inverse, and empty for other words.
std::string_view StorageName(Storage storage);
std::optional<Storage> ParseStorage(std::string_view name);

Storage StorageOf(const proto::TableConfig& config);
// Of a manifest's table; empty where this program does not know the word.
std::optional<Storage> StorageOf(const proto::TableEntry& entry);
// float32 is not written: manifests of such tables stay as older programs know them.
void SetStorage(Storage storage, proto::TableEntry* entry);

}  // namespace cairn::ps
