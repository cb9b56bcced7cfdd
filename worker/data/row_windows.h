// The rows of a list of files as windows of raw records, of which one is resident.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "worker/data/byte_arena.h"
#include "worker/data/readers.h"

namespace cairn::worker {

// The part of a window that comes from one file.
struct WindowPart {
  std::uint64_t first_row = 0;  // in the window
  std::string file;
  std::vector<std::string> columns;  // of its records
};

// Which rows of the files there are: all, or by a hash of a row's number over all files a share of
// them, or the others.
struct RowSelection {
  double share = 0;  // 0: all rows
  bool others = false;

  bool Has(std::uint64_t number) const;
};

// Not thread-safe. After an error the next Load starts from the first file.
class RowWindows {
 public:
  // `open` opens one file; `files` are read in the given order. `each_file_has_rows`: a file
  // without one is InvalidArgument when it is reached. Rows that are not of the `selection` are as
  // if they were not there. Opens the first file and reads ahead to its first row.
  using OpenFile = Result<std::unique_ptr<RecordReader>> (*)(const proto::DataConfig& config,
                                                             const std::string& path);
  static Result<std::unique_ptr<RowWindows>> Make(const proto::DataConfig& config, OpenFile open,
                                                  std::vector<std::string> files,
                                                  bool each_file_has_rows, RowSelection selection);
  ~RowWindows();
  RowWindows(const RowWindows&) = delete;
  RowWindows& operator=(const RowWindows&) = delete;

  // Columns of the first file, and whether the files hold any row at all.
  const std::vector<std::string>& first_columns() const { return first_columns_; }
  bool has_rows() const { return has_rows_; }

  // Makes a window resident: rows() and last() are about it. Free if it already is.
  Status Load(std::uint64_t window);

  std::uint64_t rows() const { return beyond_end_ ? 0 : rows_.size(); }
  bool last() const { return last_; }
  // Ascending by first_row; at least one if rows() > 0. Valid until the next Load that reads.
  const std::vector<WindowPart>& parts() const { return parts_; }
  // Bytes of a row, valid as long, and the row's line in its file.
  std::string_view Row(std::uint64_t row) const { return {rows_[row].data, rows_[row].length}; }
  std::uint64_t Line(std::uint64_t row) const { return rows_[row].line; }
  // Starts to fetch what Row(row) reads.
  void PrefetchPlace(std::uint64_t row) const { __builtin_prefetch(&rows_[row]); }

 private:
  struct StoredRow {
    const char* data;
    std::uint32_t length;
    std::uint64_t line;
  };
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};

  RowWindows(const proto::DataConfig& config, OpenFile open, std::vector<std::string> files,
             bool each_file_has_rows, RowSelection selection);
  void Rewind();
  Status ReadWindow(std::uint64_t window);
  // Makes ahead_ the next row of the files, or clears has_ahead_ at their end.
  Status ReadAhead();
  void Store();

  const std::unique_ptr<proto::DataConfig> config_;
  const OpenFile open_;
  const std::vector<std::string> files_;
  const bool each_file_has_rows_;
  const RowSelection selection_;
  const std::uint64_t window_rows_;
  std::vector<std::string> first_columns_;
  bool has_rows_ = false;

  // Position in the files: the row read ahead, which is row `next_row_` of all.
  std::unique_ptr<RecordReader> reader_;
  std::size_t next_file_ = 0;
  std::uint64_t rows_of_file_ = 0;
  std::uint64_t rows_read_ = 0;  // of all files, whether selected or not
  RawRecord ahead_;
  bool has_ahead_ = false;
  std::uint64_t next_row_ = 0;

  // The resident window.
  std::uint64_t loaded_ = kNone;
  bool beyond_end_ = false;
  bool last_ = false;
  std::uint64_t last_window_ = kNone;  // once known
  bool loaded_is_last_ = false;
  std::vector<StoredRow> rows_;
  std::vector<WindowPart> parts_;
  std::size_t part_file_ = 0;  // next_file_ when parts_.back() was made
  ByteArena arena_;
};

}  // namespace cairn::worker
