#include "common/config/overrides.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <vector>

#include "common/config/field_text.h"
#include "common/config/suggest.h"
#include "common/config/textproto_reader.h"

namespace cairn {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::OneofDescriptor;
using google::protobuf::Reflection;

struct Step {
  std::string name;
  std::optional<std::string> element;  // text between the brackets, quotes taken off
  bool element_is_name = false;
};

struct Parts {
  std::vector<Step> steps;
  std::string value;
};

// The text in brackets at text[begin] == '['; `end` is left behind the closing one.
Result<std::string> TakeBrackets(std::string_view text, std::size_t begin, std::size_t* end,
                                 bool* quoted) {
  std::size_t at = begin + 1;
  *quoted = at < text.size() && (text[at] == '"' || text[at] == '\'');
  if (*quoted) {
    const char quote = text[at];
    const std::size_t close = text.find(quote, at + 1);
    if (close == std::string_view::npos || close + 1 >= text.size() || text[close + 1] != ']') {
      return absl::InvalidArgumentError("no \"]\" closes the quoted name");
    }
    *end = close + 2;
    return std::string(text.substr(at + 1, close - at - 1));
  }
  const std::size_t close = text.find(']', at);
  if (close == std::string_view::npos)
    return absl::InvalidArgumentError("no \"]\" closes the \"[\"");
  *end = close + 1;
  return std::string(text.substr(at, close - at));
}

// Splits `a.b[2].c=value` into steps and value.
Result<Parts> Split(std::string_view text) {
  Parts parts;
  std::size_t at = 0;
  for (;;) {
    Step step;
    const std::size_t end = std::min(text.find_first_of(".[=", at), text.size());
    step.name = std::string(text.substr(at, end - at));
    if (step.name.empty()) {
      return absl::InvalidArgumentError("expected PATH=VALUE, such as train.epochs=3");
    }
    at = end;
    if (at < text.size() && text[at] == '[') {
      ASSIGN_OR_RETURN(step.element, TakeBrackets(text, at, &at, &step.element_is_name));
    }
    parts.steps.push_back(std::move(step));
    if (at >= text.size() || (text[at] != '.' && text[at] != '=')) {
      return absl::InvalidArgumentError("expected PATH=VALUE, such as train.epochs=3");
    }
    if (text[at++] == '=') break;
  }
  parts.value = std::string(text.substr(at));
  return parts;
}

class Override {
 public:
  Override(int index, ProblemList* problems) : where_{index, 1, 1}, problems_(problems) {}

  void Apply(std::string_view text, Message* message, OriginTree* origins) {
    Result<Parts> parts = Split(text);
    if (!parts.ok()) return Problem(std::string(parts.status().message()));
    parts_ = *std::move(parts);
    Descend(0, "", message, origins);
  }

 private:
  void Problem(std::string message) { problems_->Add(where_, std::move(message)); }

  // Follows steps i.. from `message`.
  void Descend(std::size_t i, const std::string& path, Message* message, OriginTree* origins) {
    const Step& step = parts_.steps[i];
    const FieldDescriptor* field = message->GetDescriptor()->FindFieldByName(step.name);
    if (field == nullptr) return Problem(NoSuchField(*message->GetDescriptor(), step.name));
    const std::string here = StrCat(path, path.empty() ? "" : ".", step.name);
    const bool is_message = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    int index = field->is_repeated() ? -1 : 0;
    if (step.element.has_value()) {
      if (!field->is_repeated()) return Problem(StrCat(here, " is not a list"));
      if (step.element_is_name) {
        index = is_message ? IndexOfName(*message, field, *step.element) : -1;
      } else {
        const bool may_append = i + 1 == parts_.steps.size();
        index = IndexOfNumber(*message, field, here, *step.element, may_append);
      }
      if (index < 0) return;
    } else if (field->is_repeated() && is_message && i + 1 < parts_.steps.size()) {
      // The next step is the element's name.
      ++i;
      if (parts_.steps[i].element.has_value()) {
        return Problem(
            StrCat("\"", parts_.steps[i].name, "\" is one element of ", here, ", not a list"));
      }
      index = IndexOfName(*message, field, parts_.steps[i].name);
      if (index < 0) return;
    }
    if (i + 1 == parts_.steps.size()) return Assign(field, here, index, message, origins);
    if (!is_message) return Problem(StrCat(here, " is ", DescribeValue(*field), ", not a block"));
    if (!CheckOneof(field, here, *message)) return;
    OriginTree& node = origins->Make(field->number(), index, where_);
    Descend(i + 1, here, Element(field, index, message, &node), &node);
  }

  // The block at `index`, made (with its name) if it is one past the last.
  Message* Element(const FieldDescriptor* field, int index, Message* message, OriginTree* node) {
    const Reflection* reflection = message->GetReflection();
    if (!field->is_repeated()) return reflection->MutableMessage(message, field);
    if (index < reflection->FieldSize(*message, field)) {
      return reflection->MutableRepeatedMessage(message, field, index);
    }
    Message* element = reflection->AddMessage(message, field);
    KeepName(field, element, node);
    return element;
  }

  // An element that was chosen by name keeps it, unless the override itself names it.
  void KeepName(const FieldDescriptor* field, Message* element, OriginTree* node) {
    const FieldDescriptor* name = NameField(field);
    if (chosen_name_.empty() || name == nullptr || node->Has(name->number())) return;
    element->GetReflection()->SetString(element, name, chosen_name_);
    node->Make(name->number(), 0, where_);
  }

  static const FieldDescriptor* NameField(const FieldDescriptor* field) {
    const FieldDescriptor* name = field->message_type()->FindFieldByName("name");
    const bool is_text = name != nullptr && name->cpp_type() == FieldDescriptor::CPPTYPE_STRING;
    return is_text ? name : nullptr;
  }

  int IndexOfNumber(const Message& message, const FieldDescriptor* field, const std::string& path,
                    const std::string& text, bool may_append) {
    const int size = message.GetReflection()->FieldSize(message, field);
    int index = -1;
    const char* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, index);
    if (parsed.ec != std::errc() || parsed.ptr != end || index < 0) {
      Problem(StrCat("\"", text, "\" is no index of ", path, "; write ", path, "[0] or, by name, ",
                     path, "[\"name\"]"));
      return -1;
    }
    if (index > size || (index == size && !may_append)) {
      Problem(StrCat(path, " has ", size, size == 1 ? " element" : " elements",
                     ", counted from 0: there is no [", text, "]"));
      return -1;
    }
    return index;
  }

  int IndexOfName(const Message& message, const FieldDescriptor* field, const std::string& wanted) {
    const FieldDescriptor* name = NameField(field);
    if (name == nullptr) {
      Problem(StrCat("elements of \"", field->name(), "\" have no names; write ", field->name(),
                     "[0]"));
      return -1;
    }
    const Reflection* reflection = message.GetReflection();
    std::vector<std::string> names;
    const int size = reflection->FieldSize(message, field);
    for (int i = 0; i < size; ++i) {
      const Message& element = reflection->GetRepeatedMessage(message, field, i);
      names.push_back(element.GetReflection()->GetString(element, name));
      if (names.back() == wanted) {
        chosen_name_ = wanted;
        return i;
      }
    }
    // Only what need not be listed can be added by name.
    if (field->name() == "table") {
      chosen_name_ = wanted;
      return size;
    }
    std::string hint = DidYouMean(wanted, names);
    for (const std::string& listed : names) {
      if (hint.empty() && listed.find("..") != std::string::npos) {
        hint = StrCat("; overrides apply before \"", listed, "\" is expanded");
      }
    }
    Problem(StrCat("no ", field->name(), " is named \"", wanted, "\"", hint));
    return -1;
  }

  // Another member of a oneof is not dropped by naming a field deep inside this one.
  bool CheckOneof(const FieldDescriptor* field, const std::string& path, const Message& message) {
    const OneofDescriptor* oneof = field->real_containing_oneof();
    if (oneof == nullptr) return true;
    const FieldDescriptor* other = message.GetReflection()->GetOneofFieldDescriptor(message, oneof);
    if (other == nullptr || other == field) return true;
    Problem(StrCat("the job has \"", other->name(), "\" there, not \"", field->name(),
                   "\"; to change it, add --set ", path, "={} before this one"));
    return false;
  }

  void Assign(const FieldDescriptor* field, const std::string& path, int index, Message* message,
              OriginTree* origins) {
    std::string value = parts_.value;
    const bool is_text = field->cpp_type() == FieldDescriptor::CPPTYPE_STRING;
    const bool is_list = field->is_repeated() && value.starts_with('[');
    if (is_text && !is_list && !IsQuoted(value)) value = Quote(value);
    ReadTextprotoValue(value, where_.override_index, path, field, index, message, origins,
                       problems_);
    const Reflection* reflection = message->GetReflection();
    const bool is_element =
        field->is_repeated() && index >= 0 && field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (is_element && index < reflection->FieldSize(*message, field)) {
      KeepName(field, reflection->MutableRepeatedMessage(message, field, index),
               &origins->Make(field->number(), index, where_));
    }
  }

  static bool IsQuoted(const std::string& value) {
    return value.size() >= 2 && (value.front() == '"' || value.front() == '\'') &&
           value.back() == value.front();
  }
  static std::string Quote(const std::string& value) {
    std::string quoted = "\"";
    for (const char c : value) {
      if (c == '\n') {
        quoted += "\\n";
        continue;
      }
      if (c == '"' || c == '\\') quoted += '\\';
      quoted += c;
    }
    return quoted + "\"";
  }

  const Origin where_;
  ProblemList* const problems_;
  Parts parts_;
  std::string chosen_name_;  // of the element that the path chose or adds
};

}  // namespace

void ApplyOverrides(std::span<const std::string> overrides, Message* message, OriginTree* origins,
                    ProblemList* problems) {
  for (std::size_t i = 0; i < overrides.size(); ++i) {
    Override(static_cast<int>(i), problems).Apply(overrides[i], message, origins);
  }
}

}  // namespace cairn
