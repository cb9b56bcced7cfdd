#include "common/config/field_text.h"

#include <cmath>
#include <cstdint>
#include <set>

#include "common/base/str_cat.h"
#include "common/config/suggest.h"
#include "proto/config.pb.h"

namespace cairn {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;

std::string DescribeRange(const FieldDescriptor& field) {
  const proto::Range& range = field.options().GetExtension(proto::range);
  std::string text;
  if (range.has_min()) {
    StrAppend(text, range.exclusive_min() ? ", above " : ", at least ", NumberText(range.min()));
  }
  if (range.has_max()) {
    const char* bound = range.exclusive_max() ? "below " : "at most ";
    StrAppend(text, text.empty() ? ", " : " and ", bound, NumberText(range.max()));
  }
  return text;
}

// Shortest path from the top of a job to a field of this name, the first of equals; "" if none.
std::string PathInJob(const std::string& name) {
  struct Place {
    const Descriptor* message;
    std::string path;
  };
  std::vector<Place> places = {{proto::JobConfig::descriptor(), ""}};
  std::set<const Descriptor*> seen = {places.front().message};
  for (std::size_t i = 0; i < places.size(); ++i) {
    const Place place = places[i];
    for (int k = 0; k < place.message->field_count(); ++k) {
      const FieldDescriptor* field = place.message->field(k);
      const std::string path = StrCat(place.path, place.path.empty() ? "" : ".", field->name());
      if (field->name() == name) return path;
      const bool is_block = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
      if (is_block && seen.insert(field->message_type()).second) {
        places.push_back({field->message_type(), path});
      }
    }
  }
  return "";
}

}  // namespace

std::vector<std::string> FieldNames(const Descriptor& message) {
  std::vector<std::string> names;
  for (int i = 0; i < message.field_count(); ++i) names.push_back(message.field(i)->name());
  return names;
}

std::vector<std::string> ValueNames(const EnumDescriptor& values) {
  std::vector<std::string> names;
  for (int i = 0; i < values.value_count(); ++i) names.push_back(values.value(i)->name());
  return names;
}

std::string NumberText(double value) {
  constexpr double kExact = 9007199254740992;  // 2^53
  const bool is_whole = std::fabs(value) < kExact && std::trunc(value) == value;
  return is_whole ? StrCat(static_cast<std::int64_t>(value)) : StrCat(value);
}

std::string JoinNames(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) StrAppend(text, text.empty() ? "" : ", ", name);
  return text;
}

std::string DescribeValue(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_UINT64:
      return StrCat("a whole number",
                    field.options().GetExtension(proto::range).has_min() ? "" : ", at least 0",
                    DescribeRange(field));
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
      return "a whole number" + DescribeRange(field);
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return "a number" + DescribeRange(field);
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return "one of " + JoinNames(ValueNames(*field.enum_type()));
    case FieldDescriptor::CPPTYPE_STRING:
      return "text in quotes";
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return "a block { ... }";
  }
  return "a value";
}

std::string NoSuchField(const Descriptor& message, const std::string& name) {
  std::string hint = DidYouMean(name, FieldNames(message));
  const std::string elsewhere = hint.empty() ? PathInJob(name) : "";
  if (!elsewhere.empty()) {
    const bool is_at_top = elsewhere.find('.') == std::string::npos;
    hint = StrCat("; there is ", elsewhere, is_at_top ? " outside all blocks" : "");
  }
  return StrCat("no field \"", name, "\" in ", message.name(), hint);
}

}  // namespace cairn
