#include "launch/text/json.h"

#include <glog/logging.h>

#include <cmath>
#include <cstdio>
#include <utility>

#include "common/base/str_cat.h"

namespace cairn::launch {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

// Bytes of the well-formed UTF-8 character at the start of `text`; 0 if there is none (Unicode
// 15, table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF).
std::size_t Utf8Length(std::string_view text) {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const auto in = [](unsigned value, unsigned low, unsigned high) {
    return value >= low && value <= high;
  };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (in(lead, 0xc2, 0xdf)) return in(byte(1), 0x80, 0xbf) ? 2 : 0;
  if (in(lead, 0xe0, 0xef)) {
    const unsigned low = lead == 0xe0 ? 0xa0 : 0x80;
    const unsigned high = lead == 0xed ? 0x9f : 0xbf;
    return in(byte(1), low, high) && in(byte(2), 0x80, 0xbf) ? 3 : 0;
  }
  if (in(lead, 0xf0, 0xf4)) {
    const unsigned low = lead == 0xf0 ? 0x90 : 0x80;
    const unsigned high = lead == 0xf4 ? 0x8f : 0xbf;
    return in(byte(1), low, high) && in(byte(2), 0x80, 0xbf) && in(byte(3), 0x80, 0xbf) ? 4 : 0;
  }
  return 0;
}

template <typename Real>
std::string RealText(Real value) {
  if (std::isnan(value)) return "\"nan\"";
  if (std::isinf(value)) return value > 0 ? "\"inf\"" : "\"-inf\"";
  return StrCat(value);
}

}  // namespace

std::string JsonQuote(std::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    const unsigned char c = static_cast<unsigned char>(text.front());
    const std::size_t length = Utf8Length(text);
    if (length == 0) {
      out += kReplacement;
      text.remove_prefix(1);
      continue;
    }
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c < 0x20 || c == 0x7f) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", c);
      out += escape;
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  return out + '"';
}

void JsonWriter::NewLine() {
  out_ += '\n';
  out_.append(2 * levels_.size(), ' ');
}

void JsonWriter::BeforeValue() {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  if (levels_.empty()) {
    CHECK(out_.empty()) << "a second value after " << out_;
    return;
  }
  Level& level = levels_.back();
  if (!level.empty) out_ += level.is_inline ? ", " : ",";
  level.empty = false;
  if (!level.is_inline) NewLine();
}

JsonWriter& JsonWriter::Raw(std::string_view text) {
  CHECK(after_key_ || levels_.empty() || levels_.back().close == ']') << "value without a key";
  BeforeValue();
  out_ += text;
  return *this;
}

JsonWriter& JsonWriter::Begin(char open, char close) {
  Raw(std::string_view(&open, 1));
  levels_.push_back({close, !levels_.empty() && levels_.back().is_inline});
  return *this;
}

JsonWriter& JsonWriter::End(char close) {
  CHECK(!levels_.empty() && levels_.back().close == close && !after_key_) << out_;
  const Level level = levels_.back();
  levels_.pop_back();
  if (!level.empty && !level.is_inline) NewLine();
  out_ += close;
  return *this;
}

JsonWriter& JsonWriter::BeginObject() { return Begin('{', '}'); }
JsonWriter& JsonWriter::EndObject() { return End('}'); }
JsonWriter& JsonWriter::BeginArray() { return Begin('[', ']'); }
JsonWriter& JsonWriter::EndArray() { return End(']'); }

JsonWriter& JsonWriter::Inline() {
  CHECK(!levels_.empty() && levels_.back().empty);
  levels_.back().is_inline = true;
  return *this;
}

JsonWriter& JsonWriter::Key(std::string_view key) {
  CHECK(!levels_.empty() && levels_.back().close == '}' && !after_key_) << "key " << key;
  BeforeValue();
  out_ += JsonQuote(key);
  out_ += ": ";
  after_key_ = true;
  return *this;
}

JsonWriter& JsonWriter::String(std::string_view value) { return Raw(JsonQuote(value)); }
JsonWriter& JsonWriter::Double(double value) { return Raw(RealText(value)); }
JsonWriter& JsonWriter::Float(float value) { return Raw(RealText(value)); }
JsonWriter& JsonWriter::Int(std::int64_t value) { return Raw(StrCat(value)); }
JsonWriter& JsonWriter::Uint(std::uint64_t value) { return Raw(StrCat(value)); }
JsonWriter& JsonWriter::Bool(bool value) { return Raw(value ? "true" : "false"); }
JsonWriter& JsonWriter::Null() { return Raw("null"); }

std::string JsonWriter::Take() {
  CHECK(levels_.empty() && !after_key_) << "unfinished: " << out_;
  return std::exchange(out_, std::string()) + '\n';
}

}  // namespace cairn::launch
