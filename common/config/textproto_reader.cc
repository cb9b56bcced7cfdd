#include "common/config/textproto_reader.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <optional>
#include <utility>
#include <vector>

#include "common/config/field_text.h"
#include "common/config/suggest.h"
#include "common/config/textproto_scalar.h"

namespace cairn {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::OneofDescriptor;
using google::protobuf::Reflection;
using google::protobuf::io::Tokenizer;

constexpr int kMaxDepth = 50;

bool IsMessage(const FieldDescriptor* field) {
  return field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
}

class Reader : private google::protobuf::io::ErrorCollector {
 public:
  Reader(std::string_view text, int override_index, ProblemList* problems)
      : text_(text),
        input_(text.data(), static_cast<int>(text.size())),
        tokenizer_(&input_, this),
        override_index_(override_index),
        problems_(problems) {
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\n') line_starts_.push_back(i + 1);
    }
    tokenizer_.set_comment_style(Tokenizer::SH_COMMENT_STYLE);
    tokenizer_.set_allow_f_after_float(true);
    tokenizer_.set_require_space_after_number(false);
    tokenizer_.Next();
  }

  void ReadFile(Message* message, OriginTree* origins) {
    ReadFields(message, origins, "", "", Here());
  }

  void ReadAll(const std::string& path, const FieldDescriptor* field, int index, Message* message,
               OriginTree* origins) {
    ReadFieldValue(field, path, Here(), index, message, origins);
    if (!stopped_ && !At(Tokenizer::TYPE_END)) {
      Problem(origins, Here(), StrCat("cannot make sense of ", Got(), " after the value"));
    }
  }

 private:
  using Token = Tokenizer::Token;

  const Token& Current() { return tokenizer_.current(); }
  bool At(Tokenizer::TokenType type) { return Current().type == type; }
  bool At(std::string_view symbol) {
    return At(Tokenizer::TYPE_SYMBOL) && Current().text == symbol;
  }
  bool AtBlock() { return At("{") || At("<"); }
  bool Take(std::string_view symbol) {
    if (!At(symbol)) return false;
    tokenizer_.Next();
    return true;
  }
  bool IsLiteral() {
    return At(Tokenizer::TYPE_STRING) || At(Tokenizer::TYPE_INTEGER) || At(Tokenizer::TYPE_FLOAT);
  }
  std::string Got() {
    if (At(Tokenizer::TYPE_END)) return "the end";
    if (IsLiteral()) return Current().text;
    return StrCat("\"", Current().text, "\"");
  }

  // The tokenizer counts columns from 0, with tab stops; editors want bytes from 1.
  Origin OriginOf(int line, int column) const {
    const std::size_t begin = line_starts_[static_cast<std::size_t>(line)];
    int bytes = 0;
    for (int at = 0; at < column && begin + static_cast<std::size_t>(bytes) < text_.size();
         ++bytes) {
      constexpr int kTab = 8;
      at += text_[begin + static_cast<std::size_t>(bytes)] == '\t' ? kTab - at % kTab : 1;
    }
    return {override_index_, line + 1, bytes + 1};
  }
  Origin Here() { return OriginOf(Current().line, Current().column); }

  void AddError(int line, int column, const std::string& message) override {
    const Origin where = OriginOf(line, column);
    problems_->Add(where, message);
    garbled_ = true;
    // Text that runs over the end of its line swallows what follows.
    const std::size_t at =
        line_starts_[static_cast<std::size_t>(line)] + static_cast<std::size_t>(where.column) - 1;
    if (at >= text_.size() || text_[at] == '\n') stopped_ = true;
  }

  void Problem(OriginTree* origins, const Origin& where, std::string message) {
    if (origins != nullptr) origins->damaged = true;
    problems_->Add(where, std::move(message));
  }
  // What follows cannot be understood any more.
  void Stop(OriginTree* origins, const Origin& where, std::string message) {
    if (stopped_) return;
    Problem(origins, where, std::move(message));
    stopped_ = true;
  }

  // Fields up to the symbol `end` ("" for the end of the text), which it takes.
  void ReadFields(Message* message, OriginTree* origins, std::string_view end,
                  const std::string& path, const Origin& opened) {
    ++depth_;
    while (!stopped_ && !(end.empty() ? At(Tokenizer::TYPE_END) : Take(end))) {
      if (At(Tokenizer::TYPE_END)) {
        Stop(origins, opened, StrCat("no \"", end, "\" closes this block"));
      } else if (!At(Tokenizer::TYPE_IDENTIFIER)) {
        Stop(origins, Here(), StrCat("expected a field name, got ", Got()));
      } else {
        ReadField(message, origins, path);
        if (!Take(",")) Take(";");
      }
      if (stopped_ || garbled_) origins->damaged = true;
    }
    if (stopped_ || garbled_) origins->damaged = true;
    --depth_;
  }

  void ReadField(Message* message, OriginTree* origins, const std::string& path) {
    const Token name = Current();
    const Origin where = Here();
    tokenizer_.Next();
    const FieldDescriptor* field = message->GetDescriptor()->FindFieldByName(name.text);
    if (field == nullptr) {
      Problem(origins, where, NoSuchField(*message->GetDescriptor(), name.text));
      SkipField(name.line, origins);
      return;
    }
    const bool is_first = CheckSetOnce(field, where, *message, origins);
    if (!Take(":") && !(IsMessage(field) && (AtBlock() || At("[")))) {
      Problem(origins, Here(), StrCat("expected \":\" after \"", name.text, "\""));
      if (Current().line != name.line) return;
    }
    value_line_ = name.line;
    ReadFieldValue(field, StrCat(path, path.empty() ? "" : ".", name.text), where,
                   field->is_repeated() ? message->GetReflection()->FieldSize(*message, field) : 0,
                   message, origins);
    if (!is_first) origins->Make(field->number(), 0, where).damaged = true;
  }

  bool CheckSetOnce(const FieldDescriptor* field, const Origin& where, const Message& message,
                    OriginTree* origins) {
    if (!field->is_repeated() && origins->Has(field->number())) {
      Problem(origins, where,
              StrCat("\"", field->name(), "\" is set twice, first in line ",
                     origins->At(field->number()).origin.line));
      return false;
    }
    const OneofDescriptor* oneof = field->real_containing_oneof();
    if (oneof == nullptr) return true;
    const FieldDescriptor* other = message.GetReflection()->GetOneofFieldDescriptor(message, oneof);
    if (other == nullptr || other == field) return true;
    Problem(origins, where,
            StrCat("\"", field->name(), "\" excludes \"", other->name(), "\" of line ",
                   origins->At(other->number()).origin.line, ": ", message.GetDescriptor()->name(),
                   " takes exactly one"));
    return false;
  }

  // A value, block or list. index: of the element to write in a repeated field; -1: replace all.
  void ReadFieldValue(const FieldDescriptor* field, const std::string& path, const Origin& where,
                      int index, Message* message, OriginTree* origins) {
    if (field->is_repeated() && index < 0) {
      message->GetReflection()->ClearField(message, field);
      origins->fields.erase(field->number());
      index = 0;
    }
    if (!At("[")) {
      ReadElement(field, path, where, index, message, origins);
      return;
    }
    if (!field->is_repeated()) {
      Problem(origins, Here(), StrCat(path, " takes one value, not a list"));
      SkipValue(origins);
      return;
    }
    ReadList(field, path, index, message, origins);
  }

  void ReadList(const FieldDescriptor* field, const std::string& path, int index, Message* message,
                OriginTree* origins) {
    const Origin opened = Here();
    Take("[");
    if (Take("]")) return;
    for (;;) {
      value_line_ = Current().line;
      if (ReadElement(field, path, Here(), index, message, origins)) ++index;
      if (stopped_ || Take("]")) return;
      if (!Take(",")) {
        Stop(origins, At(Tokenizer::TYPE_END) ? opened : Here(),
             StrCat("expected \",\" or \"]\" in the list, got ", Got()));
        return;
      }
    }
  }

  // One value or block; whether the element is there now.
  bool ReadElement(const FieldDescriptor* field, const std::string& path, const Origin& where,
                   int index, Message* message, OriginTree* origins) {
    if (IsMessage(field)) return ReadBlock(field, path, where, index, message, origins);
    const Origin at = Here();
    std::optional<Scalar> value;
    if (!AtBlock()) value = ReadScalar(field, path, origins);
    if (!value.has_value()) {
      if (AtBlock()) {
        Problem(origins, at, StrCat(path, " must be ", DescribeValue(*field), ", not a block"));
        SkipValue(origins);
      }
      // Named all the same, so that it does not count as missing.
      if (!field->is_repeated()) origins->Make(field->number(), 0, at).damaged = true;
      return false;
    }
    StoreScalar(field, index, *value, message);
    origins->Make(field->number(), index, at).origin = at;
    return true;
  }

  bool ReadBlock(const FieldDescriptor* field, const std::string& path, const Origin& where,
                 int index, Message* message, OriginTree* origins) {
    if (!AtBlock()) {
      Problem(origins, Here(), StrCat(path, " must be a block { ... }, got ", Got()));
      if (Current().line == value_line_) SkipValue(origins);
      return false;
    }
    const Reflection* reflection = message->GetReflection();
    Message* block = nullptr;
    if (!field->is_repeated()) {
      block = reflection->MutableMessage(message, field);
    } else if (index < reflection->FieldSize(*message, field)) {
      block = reflection->MutableRepeatedMessage(message, field, index);
    } else {
      block = reflection->AddMessage(message, field);
    }
    block->Clear();
    OriginTree& node = origins->Make(field->number(), index, where);
    node.fields.clear();
    node.origin = where;
    node.damaged = false;
    if (depth_ > kMaxDepth) {
      Stop(&node, Here(), "blocks are nested too deeply");
      return true;
    }
    const Origin opened = Here();
    const std::string_view end = At("{") ? "}" : ">";
    tokenizer_.Next();
    ReadFields(block, &node, end, path, opened);
    return true;
  }

  // Empty after a problem, with the token of the value taken.
  std::optional<Scalar> ReadScalar(const FieldDescriptor* field, const std::string& path,
                                   OriginTree* origins) {
    const Origin at = Here();
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING && At(Tokenizer::TYPE_STRING)) {
      std::string text;
      while (At(Tokenizer::TYPE_STRING)) {  // neighbours are joined
        Tokenizer::ParseStringAppend(Current().text, &text);
        tokenizer_.Next();
      }
      return text;
    }
    const bool negative = Take("-");
    const std::string got = negative ? StrCat("-", Current().text) : Got();
    const std::optional<Scalar> value = ParseScalar(*field, Current(), negative);
    const bool is_value = !At(Tokenizer::TYPE_END) && !At(Tokenizer::TYPE_SYMBOL);
    // A name in a later line is the next field: the value itself was left out.
    const bool is_next_field =
        At(Tokenizer::TYPE_IDENTIFIER) && Current().line != value_line_ && !value.has_value();
    std::string suggestion;
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_ENUM && !is_next_field) {
      suggestion = DidYouMean(Unquoted(Current().text), ValueNames(*field->enum_type()));
    }
    if (is_value && !is_next_field) tokenizer_.Next();
    if (!value.has_value()) {
      Problem(origins, at,
              is_next_field
                  ? StrCat(path, " has no value; it must be ", DescribeValue(*field))
                  : StrCat(path, " must be ", DescribeValue(*field), ", got ", got, suggestion));
    }
    return value;
  }

  static std::string Unquoted(const std::string& text) {
    const bool quoted = text.size() >= 2 && (text.front() == '"' || text.front() == '\'');
    return quoted ? text.substr(1, text.size() - 2) : text;
  }

  // What follows the name, in `line`, of an unknown field.
  void SkipField(int line, OriginTree* origins) {
    if (Take(":") || AtBlock() || At("[")) {
      // A name in a later line is the next field.
      if (At(Tokenizer::TYPE_IDENTIFIER) && Current().line != line) return;
      SkipValue(origins);
    } else {
      stopped_ = true;  // the unknown name is the problem; there is nothing to add
    }
  }

  // A value, list or block, without looking at it.
  void SkipValue(OriginTree* origins) {
    const std::string_view end = At("{") ? "}" : At("<") ? ">" : At("[") ? "]" : "";
    if (end.empty()) {
      Take("-");
      const bool text = At(Tokenizer::TYPE_STRING);
      if (!At(Tokenizer::TYPE_END) && !At(Tokenizer::TYPE_SYMBOL)) tokenizer_.Next();
      while (text && At(Tokenizer::TYPE_STRING)) tokenizer_.Next();
      return;
    }
    const Origin opened = Here();
    tokenizer_.Next();
    if (++depth_ > kMaxDepth) Stop(origins, opened, "blocks are nested too deeply");
    while (!stopped_ && !Take(end)) {
      if (At(Tokenizer::TYPE_END)) {
        Stop(origins, opened, StrCat("no \"", end, "\" closes this block"));
      } else if (AtBlock() || At("[")) {
        SkipValue(origins);
      } else if (At("}") || At("]") || At(">")) {
        Stop(origins, Here(), StrCat("expected \"", end, "\", got ", Got()));
      } else {
        tokenizer_.Next();
      }
    }
    --depth_;
  }

  const std::string_view text_;
  google::protobuf::io::ArrayInputStream input_;
  Tokenizer tokenizer_;
  const int override_index_;
  ProblemList* const problems_;
  std::vector<std::size_t> line_starts_ = {0};
  int depth_ = 0;
  int value_line_ = 0;    // tokenizer's line of the name whose value is read
  bool stopped_ = false;  // the rest makes no sense
  bool garbled_ = false;  // the tokenizer met characters that make no token
};

}  // namespace

void ReadTextproto(std::string_view text, int override_index, Message* message, OriginTree* origins,
                   ProblemList* problems) {
  Reader(text, override_index, problems).ReadFile(message, origins);
}

void ReadTextprotoValue(std::string_view text, int override_index, const std::string& path,
                        const FieldDescriptor* field, int index, Message* message,
                        OriginTree* origins, ProblemList* problems) {
  Reader(text, override_index, problems).ReadAll(path, field, index, message, origins);
}

}  // namespace cairn
