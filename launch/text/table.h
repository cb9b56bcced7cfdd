// Tables of text: aligned columns for people, CSV (RFC 4180) for programs.
#pragma once

#include <string>
#include <vector>

namespace cairn::launch {

// One cell: what people read, and the exact value for programs where that differs.
struct Cell {
  Cell(std::string both) : text(both), exact(std::move(both)) {}  // NOLINT: cells read as text
  Cell(const char* both) : text(both), exact(both) {}             // NOLINT
  Cell(std::string human, std::string machine)
      : text(std::move(human)), exact(std::move(machine)) {}

  std::string text;
  std::string exact;
};

struct Column {
  std::string name;
  bool is_number = false;  // set flush right
};

// Every row has as many cells as there are columns (CHECK).
class Table {
 public:
  explicit Table(std::vector<Column> columns);
  void AddRow(std::vector<Cell> cells);
  bool empty() const { return rows_.empty(); }

  // A line of column names and one line for each row, two spaces between columns, each line led by
  // `indent`.
  std::string Aligned(const std::string& indent = "") const;
  // Exact values; lines end in a line feed.
  std::string Csv() const;

 private:
  const std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace cairn::launch
