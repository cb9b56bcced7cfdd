#include "common/config/field_rules.h"

#include <google/protobuf/descriptor.h>

#include <cmath>
#include <optional>

#include "common/config/field_text.h"
#include "proto/config.pb.h"

namespace cairn {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// A number as double; whole ones beyond 2^53 lose digits, which no bound of ours needs.
std::optional<double> NumberOf(const Message& message, const FieldDescriptor* field, int index) {
  const Reflection* reflection = message.GetReflection();
  const auto get = [&](auto single, auto element) {
    return static_cast<double>(field->is_repeated() ? (reflection->*element)(message, field, index)
                                                    : (reflection->*single)(message, field));
  };
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return get(&Reflection::GetInt32, &Reflection::GetRepeatedInt32);
    case FieldDescriptor::CPPTYPE_INT64:
      return get(&Reflection::GetInt64, &Reflection::GetRepeatedInt64);
    case FieldDescriptor::CPPTYPE_UINT32:
      return get(&Reflection::GetUInt32, &Reflection::GetRepeatedUInt32);
    case FieldDescriptor::CPPTYPE_UINT64:
      return get(&Reflection::GetUInt64, &Reflection::GetRepeatedUInt64);
    case FieldDescriptor::CPPTYPE_FLOAT:
      return get(&Reflection::GetFloat, &Reflection::GetRepeatedFloat);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return get(&Reflection::GetDouble, &Reflection::GetRepeatedDouble);
    default:
      return std::nullopt;
  }
}

bool InRange(double value, const proto::Range& range) {
  if (!std::isfinite(value)) return false;
  if (range.has_min() && (range.exclusive_min() ? value <= range.min() : value < range.min())) {
    return false;
  }
  return !range.has_max() || (range.exclusive_max() ? value < range.max() : value <= range.max());
}

bool IsMissing(const Message& message, const FieldDescriptor* field) {
  const Reflection* reflection = message.GetReflection();
  if (field->is_repeated()) return reflection->FieldSize(message, field) == 0;
  if (!reflection->HasField(message, field)) return true;
  return field->cpp_type() == FieldDescriptor::CPPTYPE_STRING &&
         reflection->GetString(message, field).empty();
}

class FieldRules {
 public:
  explicit FieldRules(ProblemList* problems) : problems_(problems) {}

  void Check(const Message& message, const OriginTree& origins, const std::string& path) {
    for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
      const FieldDescriptor* field = message.GetDescriptor()->field(i);
      const std::string here = StrCat(path, path.empty() ? "" : ".", field->name());
      if (field->options().GetExtension(proto::required) && IsMissing(message, field)) {
        AddMissing(message, field, origins, here);
        continue;
      }
      const Reflection* reflection = message.GetReflection();
      if (!field->is_repeated()) {
        if (reflection->HasField(message, field)) CheckElement(message, field, 0, origins, here);
        continue;
      }
      for (int k = 0; k < reflection->FieldSize(message, field); ++k) {
        CheckElement(message, field, k, origins, StrCat(here, "[", k, "]"));
      }
    }
  }

 private:
  void AddMissing(const Message& message, const FieldDescriptor* field, const OriginTree& origins,
                  const std::string& path) {
    if (message.GetReflection()->HasField(message, field)) {
      problems_->Add(origins.At(field->number()).origin, path + " must not be empty");
    } else if (!origins.damaged) {
      problems_->Add(origins.origin, path + " is required");
    }
  }

  void CheckElement(const Message& message, const FieldDescriptor* field, int index,
                    const OriginTree& origins, const std::string& path) {
    const OriginTree& node = origins.At(field->number(), index);
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      const Reflection* reflection = message.GetReflection();
      Check(field->is_repeated() ? reflection->GetRepeatedMessage(message, field, index)
                                 : reflection->GetMessage(message, field),
            node, path);
      return;
    }
    const std::optional<double> value = NumberOf(message, field, index);
    if (!value.has_value() || InRange(*value, field->options().GetExtension(proto::range))) return;
    problems_->Add(node.origin,
                   StrCat(path, " must be ", DescribeValue(*field), ", got ", NumberText(*value)));
  }

  ProblemList* const problems_;
};

}  // namespace

void CheckFieldRules(const Message& message, const OriginTree& origins, const std::string& path,
                     ProblemList* problems) {
  FieldRules(problems).Check(message, origins, path);
}

}  // namespace cairn
