#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/text_format.h>

#include <map>
#include <string>
#include <string_view>

#include "common/config/config.h"
#include "common/config/field_text.h"
#include "proto/config.pb.h"

namespace cairn {

// Descriptors of config.proto with its comments; generated, see CMakeLists.txt.
extern const std::string_view kConfigDescriptors;

namespace {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::OneofDescriptor;
using google::protobuf::SourceLocation;

class DefaultsPrinter {
 public:
  DefaultsPrinter() {
    google::protobuf::FileDescriptorSet files;
    if (!files.ParseFromArray(kConfigDescriptors.data(),
                              static_cast<int>(kConfigDescriptors.size()))) {
      return;  // fields without comments are better than none
    }
    for (const auto& file : files.file()) commented_.BuildFile(file);
  }

  std::string Print() {
    text_ =
        "# Every field of a job, with its default. Write only what differs; \"once or more\" "
        "marks\n"
        "# lists, and where it says \"choose one\" exactly one of the blocks may stand.\n";
    PrintFields(*commented_.FindMessageTypeByName(proto::JobConfig::descriptor()->full_name()), 0,
                "");
    return text_;
  }

 private:
  void Line(int depth, std::string_view line) {
    text_.append(static_cast<std::size_t>(depth) * 2, ' ');
    StrAppend(text_, line, "\n");
  }

  // The comment beside or above a declaration, each line after "# ".
  template <typename Declaration>
  void PrintComment(const Declaration& declaration, int depth, std::string_view prefix) {
    SourceLocation location;
    if (!declaration.GetSourceLocation(&location)) return;
    for (const std::string& comment : {location.leading_comments, location.trailing_comments}) {
      std::string_view rest = comment;
      while (!rest.empty()) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        std::string_view line = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        if (line.starts_with(' ')) line.remove_prefix(1);
        Line(depth, line.empty() ? "#" : StrCat("# ", prefix, line));
      }
    }
  }

  void PrintFields(const Descriptor& message, int depth, const std::string& path) {
    const OneofDescriptor* open = nullptr;
    for (int i = 0; i < message.field_count(); ++i) {
      const FieldDescriptor& field = *message.field(i);
      const OneofDescriptor* oneof = field.real_containing_oneof();
      if (oneof != nullptr && oneof != open) Line(depth, "# Choose one:");
      open = oneof;
      PrintField(field, depth, StrCat(path, path.empty() ? "" : ".", field.name()));
    }
  }

  void PrintField(const FieldDescriptor& field, int depth, const std::string& path) {
    PrintComment(field, depth, "");
    const bool required = field.options().GetExtension(proto::required);
    const std::string_view count = field.is_repeated() ? "once or more"
                                   : required          ? "required"
                                                       : "";
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      PrintBlock(field, depth, path, count);
      return;
    }
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
      PrintValues(*field.enum_type(), depth);
    }
    const bool is_given = !field.is_repeated() && !required;
    Line(depth, StrCat(field.name(), ": ", is_given ? DefaultOf(field) : "...", "  # ",
                       DescribeValue(field), count.empty() ? "" : "; ", count));
  }

  void PrintValues(const EnumDescriptor& values, int depth) {
    PrintComment(values, depth, "");
    for (int i = 0; i < values.value_count(); ++i) {
      PrintComment(*values.value(i), depth, StrCat(values.value(i)->name(), ": "));
    }
  }

  void PrintBlock(const FieldDescriptor& field, int depth, const std::string& path,
                  std::string_view count) {
    const Descriptor& type = *field.message_type();
    const auto [found, is_new] = printed_.try_emplace(type.full_name(), path);
    if (!is_new) {
      Line(depth, StrCat(field.name(), " { }  # ", count, count.empty() ? "" : "; ",
                         "fields as in ", found->second));
      return;
    }
    PrintComment(type, depth, "");
    if (type.field_count() == 0) {
      Line(depth, StrCat(field.name(), " { }"));
      return;
    }
    Line(depth, StrCat(field.name(), " {", count.empty() ? "" : "  # ", count));
    PrintFields(type, depth + 1, path);
    Line(depth, "}");
  }

  static std::string DefaultOf(const FieldDescriptor& field) {
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_ENUM:
        return field.default_value_enum()->name();
      case FieldDescriptor::CPPTYPE_STRING: {
        proto::CsvConfig quoting;  // any message with a text field
        quoting.set_delimiter(field.default_value_string());
        std::string text;
        google::protobuf::TextFormat::PrintFieldValueToString(
            quoting, quoting.GetDescriptor()->FindFieldByNumber(1), -1, &text);
        return text;
      }
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return StrCat(field.default_value_double());
      case FieldDescriptor::CPPTYPE_UINT32:
        return StrCat(field.default_value_uint32());
      case FieldDescriptor::CPPTYPE_UINT64:
        return StrCat(field.default_value_uint64());
      case FieldDescriptor::CPPTYPE_BOOL:
        return StrCat(field.default_value_bool());
      case FieldDescriptor::CPPTYPE_INT32:
        return StrCat(field.default_value_int32());
      case FieldDescriptor::CPPTYPE_INT64:
        return StrCat(field.default_value_int64());
      case FieldDescriptor::CPPTYPE_FLOAT:
        return StrCat(field.default_value_float());
      case FieldDescriptor::CPPTYPE_MESSAGE:
        break;
    }
    return "";
  }

  DescriptorPool commented_;
  std::map<std::string, std::string> printed_;  // message type -> where its fields were printed
  std::string text_;
};

}  // namespace

std::string PrintDefaults() { return DefaultsPrinter().Print(); }

}  // namespace cairn
