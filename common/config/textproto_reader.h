// Reads the text form of a protobuf message and keeps where each value stood. Internal to
// common/config.
//
// Unlike google::protobuf::TextFormat it goes on after an unknown field, a wrong type, an unknown
// enum value, a repeated single field or a second member of a oneof, so that a user sees every
// mistake at once. It ends early only when brackets or names no longer make sense.
//
//   file   = { field }
//   field  = NAME ( ":" value | [":"] block | ":" list ) [ ";" | "," ]
//   block  = "{" { field } "}" | "<" { field } ">"
//   list   = "[" [ value-or-block { "," value-or-block } ] "]"
//   value  = STRING { STRING } | [ "-" ] NUMBER | NAME        # starts a comment
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <string_view>

#include "common/config/problems.h"

namespace cairn {

// Reads `text` into `message`. `override_index` as in Origin; -1 for a file. `path` prefixes field
// names in problems ("" at the top).
void ReadTextproto(std::string_view text, int override_index, google::protobuf::Message* message,
                   OriginTree* origins, ProblemList* problems);

// Reads `text` as the value of `field` and sets it: a list or one value for a repeated field, whose
// elements it replaces when `index` is -1; element `index` otherwise, which may be one past the
// last. A block replaces the message.
void ReadTextprotoValue(std::string_view text, int override_index, const std::string& path,
                        const google::protobuf::FieldDescriptor* field, int index,
                        google::protobuf::Message* message, OriginTree* origins,
                        ProblemList* problems);

}  // namespace cairn
