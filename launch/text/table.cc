#include "launch/text/table.h"

#include <glog/logging.h>

#include <algorithm>
#include <utility>

namespace cairn::launch {
namespace {

// Characters, not bytes, of UTF-8 text.
std::size_t Width(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) >> 6) != 2; }));
}

void AppendPadded(std::string& line, const std::string& text, std::size_t width, bool right) {
  const std::string padding(width - Width(text), ' ');
  line += right ? padding + text : text + padding;
}

std::string CsvField(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

}  // namespace

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

void Table::AddRow(std::vector<Cell> cells) {
  CHECK_EQ(cells.size(), columns_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::Aligned(const std::string& indent) const {
  std::vector<std::size_t> widths;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    widths.push_back(Width(columns_[c].name));
    for (const auto& row : rows_) widths[c] = std::max(widths[c], Width(row[c].text));
  }
  std::string out;
  const auto add_line = [&](auto text_of) {
    std::string line = indent;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      if (c > 0) line += "  ";
      AppendPadded(line, text_of(c), widths[c], columns_[c].is_number);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  };
  add_line([&](std::size_t c) { return columns_[c].name; });
  for (const auto& row : rows_) add_line([&](std::size_t c) { return row[c].text; });
  return out;
}

std::string Table::Csv() const {
  std::string out;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    out += (c == 0 ? "" : ",") + CsvField(columns_[c].name);
  }
  out += '\n';
  for (const auto& row : rows_) {
    for (std::size_t c = 0; c < row.size(); ++c)
      out += (c == 0 ? "" : ",") + CsvField(row[c].exact);
    out += '\n';
  }
  return out;
}

}  // namespace cairn::launch
