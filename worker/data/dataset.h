// One split of a job's data: windows of raw rows, visited in a reproducible order and parsed into
// batches.
//
// The files of the split, in sorted order, are one long list of rows. Window w is rows [w * W,
// (w + 1) * W) of it, W = data.window_rows; its bytes are resident, unparsed, while it is open. Row
// numbers count every record of the files, also those that turn out to be bad, so that the position
// of a row never depends on what is in the others. With data.holdout the list of the train split is
// of the rows that are not held out, that of the valid split of those that are.
#pragma once

#include <cstdint>
#include <memory>

#include "common/base/status.h"
#include "worker/data/batch.h"
#include "worker/features/field_specs.h"

namespace cairn::proto {
enum DataSplit : int;
class JobConfig;
}  // namespace cairn::proto

namespace cairn::worker {

class Vocabulary;

struct WindowInfo {
  std::uint64_t rows = 0;  // 0: the window lies beyond the data
  bool last = false;       // no row follows this window
};

struct DatasetOptions {
  // Needed where a feature has a min_count above 1, but for counting values: without it every value
  // has its own key.
  std::shared_ptr<const Vocabulary> vocabulary = nullptr;
  // For scoring: the label column may be missing (labels are 0 then, see has_label()), data.group
  // is not read, and a split may have no rows.
  bool label_optional = false;
};

// Thread-safety: none; one thread uses a Dataset. Several are independent.
// Errors are about the user's files: NotFound, InvalidArgument with "file:line:column: ..." where a
// position is known (column: 1-based, in characters), Unavailable when the disk fails.
class Dataset {
 public:
  // `job` is effective (see FieldSpecs) and is not kept. Expands the file names, opens the first
  // file and checks that it has every column that the job needs. NotFound names a pattern without a
  // match; InvalidArgument names a missing column, an empty file, a directory.
  static Result<std::unique_ptr<Dataset>> Make(const proto::JobConfig& job, proto::DataSplit split,
                                               DatasetOptions options = {});
  ~Dataset();
  Dataset(const Dataset&) = delete;
  Dataset& operator=(const Dataset&) = delete;

  bool has_label() const;

  // Makes a window resident and fixes the visiting order of its rows: file order, or with
  // data.shuffle in the train split a permutation drawn from (seed, epoch, window). Opening the
  // resident window again reads nothing; a later window reads forward; an earlier one starts from
  // the first file, unless the split has only one window.
  Result<WindowInfo> OpenWindow(std::uint64_t epoch, std::uint64_t window);

  // Parses rows [begin, end) of the visiting order of the open window, clamped to it. Keeps the
  // batch's memory and replaces its contents: labels, groups, per field the values, per table the
  // unique keys in order of first sight (field after field of the table, each in row order).
  // *bad_rows = rows left out by data.bad_row: SKIP; with STOP the first bad row is the error.
  // batch->rows + *bad_rows = rows asked for. The origin is that of the first row asked for.
  Status ReadBatch(std::uint64_t begin, std::uint64_t end, Batch* batch, std::uint64_t* bad_rows);

 private:
  class Impl;
  explicit Dataset(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace cairn::worker
