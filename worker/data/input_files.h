// From the names in an effective job to the files they stand for.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace cairn::worker {

// Expands globs (*, ?, [...]) in each pattern. The result is sorted, each file once.
// NotFound names a pattern without a match. `setting` is what the message calls the patterns'
// origin, such as "data.train".
Result<std::vector<std::string>> ExpandFiles(std::span<const std::string> patterns,
                                             std::string_view setting);

}  // namespace cairn::worker
