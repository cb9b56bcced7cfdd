#include "common/config/textproto_scalar.h"

#include <limits>

namespace cairn {
namespace {

using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using google::protobuf::io::Tokenizer;

std::optional<Scalar> UnsignedOf(const Tokenizer::Token& token, bool negative, std::uint64_t most) {
  std::uint64_t value = 0;
  if (token.type != Tokenizer::TYPE_INTEGER || !Tokenizer::ParseInteger(token.text, most, &value) ||
      (negative && value != 0)) {
    return std::nullopt;
  }
  return value;
}

std::optional<Scalar> SignedOf(const Tokenizer::Token& token, bool negative, std::int64_t most) {
  const std::uint64_t limit = static_cast<std::uint64_t>(most) + (negative ? 1 : 0);
  std::uint64_t value = 0;
  if (token.type != Tokenizer::TYPE_INTEGER ||
      !Tokenizer::ParseInteger(token.text, limit, &value)) {
    return std::nullopt;
  }
  return static_cast<std::int64_t>(negative ? 0 - value : value);
}

std::optional<Scalar> NumberOf(const Tokenizer::Token& token, bool negative) {
  double value = 0;
  if (token.type == Tokenizer::TYPE_INTEGER || token.type == Tokenizer::TYPE_FLOAT) {
    value = Tokenizer::ParseFloat(token.text);
  } else if (token.text == "inf" || token.text == "infinity") {
    value = std::numeric_limits<double>::infinity();
  } else if (token.text == "nan") {
    value = std::numeric_limits<double>::quiet_NaN();
  } else {
    return std::nullopt;
  }
  return negative ? -value : value;
}

std::optional<Scalar> BoolOf(const std::string& text) {
  if (text == "true" || text == "True" || text == "t" || text == "1") return true;
  if (text == "false" || text == "False" || text == "f" || text == "0") return false;
  return std::nullopt;
}

std::optional<Scalar> EnumOf(const FieldDescriptor& field, const Tokenizer::Token& token) {
  if (token.type != Tokenizer::TYPE_IDENTIFIER) return std::nullopt;
  const EnumValueDescriptor* value = field.enum_type()->FindValueByName(token.text);
  if (value == nullptr) return std::nullopt;
  return value;
}

}  // namespace

std::optional<Scalar> ParseScalar(const FieldDescriptor& field, const Tokenizer::Token& token,
                                  bool negative) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32:
      return UnsignedOf(token, negative, std::numeric_limits<std::uint32_t>::max());
    case FieldDescriptor::CPPTYPE_UINT64:
      return UnsignedOf(token, negative, std::numeric_limits<std::uint64_t>::max());
    case FieldDescriptor::CPPTYPE_INT32:
      return SignedOf(token, negative, std::numeric_limits<std::int32_t>::max());
    case FieldDescriptor::CPPTYPE_INT64:
      return SignedOf(token, negative, std::numeric_limits<std::int64_t>::max());
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return NumberOf(token, negative);
    case FieldDescriptor::CPPTYPE_BOOL:
      return negative ? std::nullopt : BoolOf(token.text);
    case FieldDescriptor::CPPTYPE_ENUM:
      return negative ? std::nullopt : EnumOf(field, token);
    case FieldDescriptor::CPPTYPE_STRING:
    case FieldDescriptor::CPPTYPE_MESSAGE:
      break;
  }
  return std::nullopt;
}

void StoreScalar(const FieldDescriptor* field, int index, const Scalar& value, Message* message) {
  const Reflection* reflection = message->GetReflection();
  const auto store = [&](auto set, auto set_repeated, auto add, auto typed) {
    if (!field->is_repeated()) {
      (reflection->*set)(message, field, typed);
    } else if (index < reflection->FieldSize(*message, field)) {
      (reflection->*set_repeated)(message, field, index, typed);
    } else {
      (reflection->*add)(message, field, typed);
    }
  };
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return store(&Reflection::SetBool, &Reflection::SetRepeatedBool, &Reflection::AddBool,
                   std::get<bool>(value));
    case FieldDescriptor::CPPTYPE_INT32:
      return store(&Reflection::SetInt32, &Reflection::SetRepeatedInt32, &Reflection::AddInt32,
                   static_cast<std::int32_t>(std::get<std::int64_t>(value)));
    case FieldDescriptor::CPPTYPE_INT64:
      return store(&Reflection::SetInt64, &Reflection::SetRepeatedInt64, &Reflection::AddInt64,
                   std::get<std::int64_t>(value));
    case FieldDescriptor::CPPTYPE_UINT32:
      return store(&Reflection::SetUInt32, &Reflection::SetRepeatedUInt32, &Reflection::AddUInt32,
                   static_cast<std::uint32_t>(std::get<std::uint64_t>(value)));
    case FieldDescriptor::CPPTYPE_UINT64:
      return store(&Reflection::SetUInt64, &Reflection::SetRepeatedUInt64, &Reflection::AddUInt64,
                   std::get<std::uint64_t>(value));
    case FieldDescriptor::CPPTYPE_FLOAT:
      return store(&Reflection::SetFloat, &Reflection::SetRepeatedFloat, &Reflection::AddFloat,
                   static_cast<float>(std::get<double>(value)));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return store(&Reflection::SetDouble, &Reflection::SetRepeatedDouble, &Reflection::AddDouble,
                   std::get<double>(value));
    case FieldDescriptor::CPPTYPE_ENUM:
      return store(&Reflection::SetEnum, &Reflection::SetRepeatedEnum, &Reflection::AddEnum,
                   std::get<const EnumValueDescriptor*>(value));
    case FieldDescriptor::CPPTYPE_STRING:
      return store(&Reflection::SetString, &Reflection::SetRepeatedString, &Reflection::AddString,
                   std::get<std::string>(value));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return;
  }
}

}  // namespace cairn
