// How RocksDB is set up, and what its errors mean. For rocks_store.cc only.
#pragma once

#include <cstdint>
#include <string_view>

#include <rocksdb/options.h>
#include <rocksdb/status.h>

#include "common/base/status.h"
#include "ps/store/rocks_store.h"

namespace cairn::ps {

// Options of the database and all its families.
rocksdb::Options MakeOptions(const RocksStoreOptions& wanted);

// The database in `folder` is named in the message.
Status FromRocks(const rocksdb::Status& status, std::string_view folder, bool read_only);

}  // namespace cairn::ps
