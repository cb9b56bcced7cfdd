// Where the rows of a table lie that are not in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include "common/base/status.h"

namespace cairn::ps {

// Thread-safety: Fetch may run at once with itself.
class ColdRows {
 public:
  virtual ~ColdRows() = default;

  // visit(i, record) for those of `keys`, which come in any order and may repeat, that have a
  // record; in no order. Records have the bytes of the table's layout and live until the visitor
  // returns. Errors: of the store.
  virtual Status Fetch(
      std::span<const std::uint64_t> keys,
      const std::function<void(std::size_t index, std::string_view record)>& visit) const = 0;
};

}  // namespace cairn::ps
