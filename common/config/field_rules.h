// The rules that stand beside the fields of proto/config.proto. Internal to common/config.
#pragma once

#include <google/protobuf/message.h>

#include <string>

#include "common/config/problems.h"

namespace cairn {

// Checks (required) and (range) of every message and element that is present, and that every number
// is finite. `path` prefixes names in problems ("" at the top). A message of which a part could not
// be read is not accused of lacking anything.
void CheckFieldRules(const google::protobuf::Message& message, const OriginTree& origins,
                     const std::string& path, ProblemList* problems);

}  // namespace cairn
