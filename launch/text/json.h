// Writes one JSON value, indented by two spaces, keys in the order given.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::launch {

// `text` in double quotes, escaped as RFC 8259 asks. Bytes that are no valid UTF-8 become U+FFFD.
std::string JsonQuote(std::string_view text);

// Usage: json.BeginObject(); json.Key("rows").Uint(3); json.EndObject(); json.Take().
// Nesting mistakes are programmer errors (CHECK). Not thread-safe.
class JsonWriter {
 public:
  JsonWriter& BeginObject();
  JsonWriter& EndObject();
  JsonWriter& BeginArray();
  JsonWriter& EndArray();
  // Names the next value of the object.
  JsonWriter& Key(std::string_view key);
  JsonWriter& String(std::string_view value);
  // Shortest form that reads back equal; JSON has no NaN and infinity: the strings "nan", "inf" and
  // "-inf".
  JsonWriter& Double(double value);
  // The same for a float: 0.1f is 0.1, not 0.10000000149011612.
  JsonWriter& Float(float value);
  JsonWriter& Int(std::int64_t value);
  // Many readers keep only 53 bits of a number: write ids and hashes as strings.
  JsonWriter& Uint(std::uint64_t value);
  JsonWriter& Bool(bool value);
  JsonWriter& Null();
  // Elements of the innermost array or object stay on one line, for vectors of numbers.
  JsonWriter& Inline();

  // The finished text with a line feed at its end.
  std::string Take();

 private:
  struct Level {
    char close;
    bool is_inline;
    bool empty = true;
  };
  void BeforeValue();
  void NewLine();
  JsonWriter& Raw(std::string_view text);
  JsonWriter& Begin(char open, char close);
  JsonWriter& End(char close);

  std::string out_;
  std::vector<Level> levels_;
  bool after_key_ = false;
};

}  // namespace cairn::launch
