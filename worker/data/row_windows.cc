#include "worker/data/row_windows.h"

#include "common/math/hash.h"
#include "proto/config.pb.h"

namespace cairn::worker {
namespace {

constexpr std::uint64_t kSelectionStream = 0x686f6c646f7574ull;  // "holdout"

}  // namespace

bool RowSelection::Has(std::uint64_t number) const {
  if (share == 0) return true;
  const double place = static_cast<double>(Mix64(number + kSelectionStream)) * 0x1p-64;
  return (place < share) != others;
}

RowWindows::RowWindows(const proto::DataConfig& config, OpenFile open,
                       std::vector<std::string> files, bool each_file_has_rows,
                       RowSelection selection)
    : config_(std::make_unique<proto::DataConfig>(config)),
      open_(open),
      files_(std::move(files)),
      each_file_has_rows_(each_file_has_rows),
      selection_(selection),
      window_rows_(config.window_rows()) {}

RowWindows::~RowWindows() = default;

Result<std::unique_ptr<RowWindows>> RowWindows::Make(const proto::DataConfig& config, OpenFile open,
                                                     std::vector<std::string> files,
                                                     bool each_file_has_rows,
                                                     RowSelection selection) {
  std::unique_ptr<RowWindows> windows(
      new RowWindows(config, open, std::move(files), each_file_has_rows, selection));
  ASSIGN_OR_RETURN(windows->reader_, open(config, windows->files_.front()));
  windows->first_columns_ = windows->reader_->columns();
  windows->next_file_ = 1;
  RETURN_IF_ERROR(windows->ReadAhead());
  windows->has_rows_ = windows->has_ahead_;
  return windows;
}

void RowWindows::Rewind() {
  reader_.reset();
  next_file_ = 0;
  rows_of_file_ = 0;
  rows_read_ = 0;
  has_ahead_ = false;
  next_row_ = 0;
}

Status RowWindows::ReadAhead() {
  has_ahead_ = false;
  for (;;) {
    if (reader_ == nullptr) {
      if (next_file_ == files_.size()) return OkStatus();
      ASSIGN_OR_RETURN(reader_, open_(*config_, files_[next_file_]));
      ++next_file_;
      rows_of_file_ = 0;
    }
    ASSIGN_OR_RETURN(has_ahead_, reader_->Next(&ahead_));
    if (has_ahead_) {
      ++rows_of_file_;
      if (selection_.Has(rows_read_++)) return OkStatus();
      continue;
    }
    if (rows_of_file_ == 0 && each_file_has_rows_)
      return absl::InvalidArgumentError(StrCat(files_[next_file_ - 1], " has no rows"));
    reader_.reset();
  }
}

void RowWindows::Store() {
  if (parts_.empty() || part_file_ != next_file_) {
    parts_.push_back({rows_.size(), files_[next_file_ - 1], reader_->columns()});
    part_file_ = next_file_;
  }
  const std::string_view copy = arena_.Copy(ahead_.bytes);
  rows_.push_back({copy.data(), static_cast<std::uint32_t>(copy.size()), ahead_.line});
}

Status RowWindows::ReadWindow(std::uint64_t window) {
  const std::uint64_t first = window * window_rows_;
  if (next_row_ > first || !has_ahead_) {
    Rewind();
    RETURN_IF_ERROR(ReadAhead());
  }
  loaded_ = kNone;
  rows_.clear();
  parts_.clear();
  arena_.Clear();
  for (; has_ahead_ && next_row_ < first; ++next_row_) RETURN_IF_ERROR(ReadAhead());
  for (; has_ahead_ && rows_.size() < window_rows_; ++next_row_) {
    Store();
    RETURN_IF_ERROR(ReadAhead());
  }
  return OkStatus();
}

Status RowWindows::Load(std::uint64_t window) {
  beyond_end_ = last_window_ != kNone && window > last_window_;
  if (beyond_end_) {
    last_ = true;
    return OkStatus();
  }
  if (loaded_ != window) {
    if (const Status status = ReadWindow(window); !status.ok()) {
      Rewind();
      rows_.clear();
      parts_.clear();
      return status;
    }
    loaded_ = window;
    loaded_is_last_ = !has_ahead_;
    if (loaded_is_last_) last_window_ = next_row_ == 0 ? 0 : (next_row_ - 1) / window_rows_;
  }
  last_ = loaded_is_last_;
  return OkStatus();
}

}  // namespace cairn::worker
