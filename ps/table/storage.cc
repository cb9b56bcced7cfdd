#include "ps/table/storage.h"

#include <string>

#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"

namespace cairn::ps {

std::string_view StorageName(Storage storage) {
  switch (storage) {
    case Storage::kFloat32:
      return "float32";
    case Storage::kBFloat16:
      return "bfloat16";
    case Storage::kFloat16:
      break;
  }
  return "float16";
}

std::optional<Storage> ParseStorage(std::string_view name) {
  for (const Storage storage : {Storage::kFloat32, Storage::kBFloat16, Storage::kFloat16}) {
    if (StorageName(storage) == name) return storage;
  }
  return std::nullopt;
}

Storage StorageOf(const proto::TableConfig& config) {
  switch (config.storage()) {
    case proto::TableConfig::FLOAT32:
      return Storage::kFloat32;
    case proto::TableConfig::BFLOAT16:
      return Storage::kBFloat16;
    case proto::TableConfig::FLOAT16:
      break;
  }
  return Storage::kFloat16;
}

std::optional<Storage> StorageOf(const proto::TableEntry& entry) {
  return ParseStorage(entry.storage());
}

void SetStorage(Storage storage, proto::TableEntry* entry) {
  if (storage != Storage::kFloat32) entry->set_storage(std::string(StorageName(storage)));
}

}  // namespace cairn::ps
