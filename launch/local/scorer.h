// A checkpoint's model in this process, for scoring rows: `cairn eval` and `cairn predict`.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "common/base/status.h"
#include "worker/data/batch.h"
#include "worker/data/dataset.h"

namespace cairn::proto {
enum DataSplit : int;
class JobConfig;
}  // namespace cairn::proto

namespace cairn::launch {

struct ScoreCounts {
  std::uint64_t rows = 0;
  std::uint64_t bad_rows = 0;
};

// Not thread-safe; uses the job's number of threads.
class Scorer {
 public:
  // Verifies the checkpoint (a run directory, "checkpoints" folder or checkpoint) and loads it,
  // whatever number of servers wrote it. `overrides` (PATH=VALUE) change the job that it holds,
  // such as file names. The checkpoint is only read; a folder beside it, or in $TMPDIR, is used
  // while the scorer lives. DataLoss for a damaged checkpoint, InvalidArgument for a bad override.
  static Result<std::unique_ptr<Scorer>> Open(const std::string& checkpoint,
                                              std::span<const std::string> overrides);
  virtual ~Scorer() = default;

  virtual const proto::JobConfig& job() const = 0;
  // Of the checkpoint that was loaded.
  virtual const std::string& checkpoint() const = 0;

  // Scores all rows of a split in file order; `sink` gets each batch with its logits, [rows].
  virtual Result<ScoreCounts> Score(
      proto::DataSplit split, worker::DatasetOptions data,
      const std::function<Status(const worker::Batch&, std::span<const float>)>& sink) = 0;
};

}  // namespace cairn::launch
