// The job file: loads, completes, checks and prints it. proto/config.proto says what may stand in
// it.
//
// The effective job is the job as written, with everything that follows from it filled in:
//   - overrides applied, ${NAME} in file names replaced by the environment (CAIRN_DATA is
//     ../shared/data when not set); globs are left for the reader;
//   - features with a range in their name ("C{1..26}") expanded, each with its column and, unless
//   it
//     is a plain number, its table; JoinConfig.on filled in;
//   - for a model with first-order weights (fm, deepfm, autoint with `linear`): for each INPUT
//     feature that is no HISTORY a feature "<name>.linear" behind the others, of role LINEAR and
//     else the same, with the table "<table>.linear" of dim 1, unless the job lists it already;
//   - `table` lists every table that a feature uses, in order of first use, complete: the named
//     override over table_defaults (for first-order weights: over linear_defaults over
//     table_defaults), field by field, with optimizer and initializer kinds chosen. A
//     table's index in requests to the servers is its index here;
//   - data.csv, train, dense.optimizer.<kind>, checkpoint, numeric of NUMERIC and sequence of
//     SEQUENCE features present. Scalars that were not given stay unset: accessors give the
//     default.
// Loading a printed effective job gives an equal one.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace cairn::proto {
class JobConfig;
}  // namespace cairn::proto

namespace cairn {

// The effective job of a file, after overrides `path.to.field=value` (overrides.h has the grammar).
// InvalidArgument lists every problem, one a line, as `file:line:column: message` or
// `--set override: message`; NotFound or Unavailable when the file cannot be read.
Result<proto::JobConfig> LoadJob(const std::string& path, std::span<const std::string> overrides);

// The same from text; `source` stands for the file's name in messages.
Result<proto::JobConfig> LoadJobText(std::string_view text, const std::string& source,
                                     std::span<const std::string> overrides);

// As a textproto that LoadJob reads.
std::string PrintJob(const proto::JobConfig& job);

// Every field that a job may have, nested, with its comment, default and range.
std::string PrintDefaults();

}  // namespace cairn
