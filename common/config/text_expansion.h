// `C{1..26}` and `${NAME}` in the texts of a job. Internal to common/config.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace cairn {

// The texts that one with a range stands for: "C{1..3}" gives C1, C2, C3; "d{08..10}" gives d08,
// d09, d10. A text without "{first..last}" gives itself. InvalidArgument for an empty range, more
// than one, more than 100000 texts.
Result<std::vector<std::string>> ExpandRange(std::string_view text);

// Replaces each ${NAME} by that environment variable. CAIRN_DATA is "../shared/data" when not set;
// any other that is not set, or an unclosed "${", is InvalidArgument. "$" alone stays.
Result<std::string> ExpandEnvironment(std::string_view text);

}  // namespace cairn
