// A small file held in memory whose rows are looked up by one column (data.join).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "common/base/status.h"
#include "worker/data/byte_arena.h"
#include "worker/data/readers.h"

namespace cairn::worker {

// Immutable after Load; any thread may look up.
class JoinTable {
 public:
  // `config` is that of the data, whose format the file shares; the file has a header. Errors as
  // those of Dataset::Make; InvalidArgument at file:line:column for a malformed row or a key that
  // occurs twice.
  static Result<std::unique_ptr<JoinTable>> Load(const proto::DataConfig& config,
                                                 const ReaderEntry& reader, const std::string& file,
                                                 const std::string& key_column);

  const std::string& file() const { return file_; }
  // Of the file, without the key column.
  const std::vector<std::string>& columns() const { return columns_; }
  std::uint64_t rows() const { return row_of_key_.size(); }
  // The row's fields, one per column; empty strings for a key that the file lacks.
  std::span<const std::string_view> Find(std::string_view key) const;

 private:
  JoinTable() = default;
  Status Read(RecordReader& reader, RecordSplitter& splitter, std::size_t key_index);

  std::string file_;
  std::vector<std::string> columns_;
  ByteArena arena_;
  std::vector<std::string_view> fields_;  // [rows, columns]
  std::vector<std::string_view> absent_;  // [columns]
  struct Place {
    std::size_t row;
    std::uint64_t line;
  };
  std::unordered_map<std::string_view, Place> row_of_key_;
};

}  // namespace cairn::worker
