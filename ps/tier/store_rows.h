// The rows of one table that lie in a server's database.
#pragma once

#include <cstdint>

#include "ps/store/row_store.h"
#include "ps/table/cold_rows.h"
#include "ps/table/key_groups.h"

namespace cairn::ps {

// Thread-safety: as RowStore. Borrows the store.
class StoreRows : public ColdRows {
 public:
  StoreRows(const RowStore* store, std::uint16_t table, const SlotRange& slots)
      : store_(store), table_(table), slots_(slots) {}

  Status Fetch(std::span<const std::uint64_t> keys,
               const std::function<void(std::size_t, std::string_view)>& visit) const override;

 private:
  const RowStore* store_;
  const std::uint16_t table_;
  const SlotRange slots_;
};

}  // namespace cairn::ps
