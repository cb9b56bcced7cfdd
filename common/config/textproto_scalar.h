// Scalar values of the text form of a message. Internal to common/config.
#pragma once

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/message.h>

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

namespace cairn {

// A scalar as its field's type wants it: whole numbers with or without sign, double for float too.
using Scalar = std::variant<bool, std::int64_t, std::uint64_t, double, std::string,
                            const google::protobuf::EnumValueDescriptor*>;

// A token, after a minus sign if `negative`, as a value of `field`; empty if it does not fit. Text
// is not read here: neighbouring texts are joined by the caller.
std::optional<Scalar> ParseScalar(const google::protobuf::FieldDescriptor& field,
                                  const google::protobuf::io::Tokenizer::Token& token,
                                  bool negative);

// Sets a single field, or element `index` of a repeated one (one past the last appends).
void StoreScalar(const google::protobuf::FieldDescriptor* field, int index, const Scalar& value,
                 google::protobuf::Message* message);

}  // namespace cairn
