// RowStore in memory: the plain reference for tests of what lies above a store.
#pragma once

#include <memory>

#include "ps/store/row_store.h"

namespace cairn::ps {

// A sorted map for each family. Nothing is durable: Flush is OK and does nothing, Snapshot is
// Unimplemented. Scan holds a lock, so that writes wait for its end.
std::unique_ptr<RowStore> MakeMemoryStore();

}  // namespace cairn::ps
