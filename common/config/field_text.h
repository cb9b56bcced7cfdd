// What the validator and the help say about a field of a message. Internal to common/config.
#pragma once

#include <google/protobuf/descriptor.h>

#include <string>
#include <vector>

namespace cairn {

// Names of a message's fields, and of an enum's values, in order of declaration.
std::vector<std::string> FieldNames(const google::protobuf::Descriptor& message);
std::vector<std::string> ValueNames(const google::protobuf::EnumDescriptor& values);

// What may be written, with the (range) option: "a whole number, at least 1", "one of AUC,
// LOGLOSS", "a block { ... }".
std::string DescribeValue(const google::protobuf::FieldDescriptor& field);

// `no field "epochz" in TrainConfig; did you mean "epochs"?`, or, for a name that is right
// elsewhere, `no field "shuffle" in TrainConfig; there is data.shuffle`.
std::string NoSuchField(const google::protobuf::Descriptor& message, const std::string& name);

// A whole number without exponent, any other in its shortest form.
std::string NumberText(double value);

// Names joined by ", ".
std::string JoinNames(const std::vector<std::string>& names);

}  // namespace cairn
