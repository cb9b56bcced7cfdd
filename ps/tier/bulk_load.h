// Many rows at once from a server's database to memory.
//
// A look-up by key costs RocksDB as much as to read about twenty records in order
// (docs/storage.md), so rows that lie close are read by a scan that passes over those between them.
#pragma once

#include <cstddef>
#include <string>

#include "common/base/status.h"
#include "ps/store/row_store.h"
#include "ps/tier/named_rows.h"
#include "ps/tier/row_tier.h"

namespace cairn::ps {

// Brings those of the named rows to memory that the store has, and empties `named`. Rows that are
// there already stay as they are. Uses as many threads as the machine has.
// Errors: of the store; DataLoss, naming table and key, for a record of a wrong size.
Status LoadNamedRows(const RowStore& store, TableSpan tables, const SlotRange& slots,
                     NamedRows* named);

// Brings the next `count` records of the store to memory, from key *next on ("" is the first one),
// and moves *next behind them; it is empty again at the end. Keys that are not `slots`' are left
// out. Errors: as above.
Status LoadNextRows(const RowStore& store, TableSpan tables, const SlotRange& slots,
                    std::size_t count, std::string* next);

}  // namespace cairn::ps
