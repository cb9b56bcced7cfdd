// Overrides of single fields from the command line: `--set PATH=VALUE`. Internal to common/config.
//
//   override = step { "." step } "=" value
//   step     = NAME | NAME "[" NUMBER "]" | NAME "[" QUOTED-TEXT "]"
//   value    = as in the job file; "{ ... }" for a block, "[ ... ]" for a list; text needs no
//   quotes
//
// An element of a repeated message is chosen by index from 0 (`feature[2].type`) or by its name
// (`feature.C1.type`, `feature["odd.name"].type`). Index or name one past the last element appends
// for lists of scalars and for `table`, of which a job names only the ones it changes. Assigning a
// block or a whole list replaces it.
#pragma once

#include <google/protobuf/message.h>

#include <span>
#include <string>

#include "common/config/problems.h"

namespace cairn {

// Applies all overrides in order; each faulty one adds a problem.
void ApplyOverrides(std::span<const std::string> overrides, google::protobuf::Message* message,
                    OriginTree* origins, ProblemList* problems);

}  // namespace cairn
