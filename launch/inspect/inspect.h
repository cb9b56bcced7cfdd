// `cairn inspect CHECKPOINT VERB`: looks at checkpoints and never writes to them.
#pragma once

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "launch/inspect/opened_checkpoint.h"
#include "launch/inspect/output.h"

namespace cairn::launch {

struct RowsRequest {
  std::string table;                                // may be empty where there is only one
  std::optional<std::uint64_t> key = std::nullopt;  // this row only
  std::optional<std::string> value = std::nullopt;  // the row of this raw value only
  std::uint64_t limit = 10;                         // rows; 0: all
  bool all_values = false;                          // not just the first kShownValues
  bool with_state = false;                          // the optimizer's state as well
};
inline constexpr std::size_t kShownValues = 6;

// The verbs. Results go to `out`, notes to `messages`.
// Errors: DataLoss, after everything that could be decoded was written, when the checkpoint is
// damaged (each damage is told in `messages`, by `verify` in `out`); NotFound when there is no
// checkpoint, no such row; InvalidArgument for a request that cannot be; Unavailable when the
// disk or the output refuses. The program's exit codes are those of ExitCodeOf.

// What it is, how far training was, metrics, tables, shards, files.
Status InspectSummary(const std::string& path, Format format, Output& out, std::ostream& messages);

// One line for each table, with its rows per shard.
Status InspectTables(const std::string& path, Format format, Output& out, std::ostream& messages);

// Rows of one table, in storage order, or a single one.
Status InspectRows(const std::string& path, const RowsRequest& request, Format format, Output& out,
                   std::ostream& messages, const ShardOpener& open_shard);

// Checks everything that can be checked, of one checkpoint, or of all of a run directory or
// "checkpoints" folder: seals, sizes, checksums, blocks of the databases, every row and dense
// value, counts. Says what was checked and names every damaged file.
Status InspectVerify(const std::string& path, Format format, Output& out, std::ostream& messages,
                     const ShardOpener& open_shard);

// SHA-256 of everything that was trained, of all of it and of each part
// (launch/inspect/checkpoint_digest.h). Nothing is written of a damaged checkpoint.
Status InspectDigest(const std::string& path, Format format, Output& out, std::ostream& messages,
                     const ShardOpener& open_shard);

}  // namespace cairn::launch
