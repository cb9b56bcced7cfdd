// Rows of a table in one of the three formats, one at a time, so that any number can be printed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "launch/inspect/output.h"

namespace cairn::ps {
struct RowView;
}  // namespace cairn::ps

namespace cairn::launch {

struct RowPrinterOptions {
  std::size_t dim = 0;
  std::size_t state_floats = 0;
  std::size_t shown_values = 0;  // of value and of state; the table says how many more there are
  bool with_state = false;
};

// Formats of a row: key, slot, ps, version (optimizer steps), count (pushes), last_step, norm (L2,
// of all values), then value and state. JSON has keys as strings: they need all 64 bits.
class RowPrinter {
 public:
  virtual ~RowPrinter() = default;
  // All return what to write next.
  virtual std::string Begin() = 0;
  virtual std::string Row(std::uint32_t ps, const ps::RowView& row) = 0;
  virtual std::string End() = 0;
};

std::unique_ptr<RowPrinter> MakeRowPrinter(Format format, const RowPrinterOptions& options);

// L2 norm of the row's value, added up in double.
double RowNorm(const ps::RowView& row);

}  // namespace cairn::launch
