#include "launch/inspect/row_printer.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <span>

#include "launch/text/json.h"
#include "ps/checkpoint/reader.h"

namespace cairn::launch {
namespace {

std::string ShortFloat(float value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.5g", static_cast<double>(value));
  return text;
}

// "[0.01 -0.2 ... 14 more]"
std::string ShortVector(std::span<const float> values, std::size_t shown) {
  std::string text = "[";
  const std::size_t count = std::min(shown, values.size());
  for (std::size_t i = 0; i < count; ++i) StrAppend(text, i == 0 ? "" : " ", ShortFloat(values[i]));
  if (count < values.size()) StrAppend(text, " ... ", values.size() - count, " more");
  return text + "]";
}

// Lines with columns of fixed width: rows are not known in advance.
class TablePrinter final : public RowPrinter {
 public:
  explicit TablePrinter(const RowPrinterOptions& options) : options_(options) {}

  std::string Begin() override {
    return Line("key", "slot", "ps", "version", "count", "last step", "norm", "value",
                options_.with_state ? "state" : "");
  }
  std::string Row(std::uint32_t ps, const ps::RowView& row) override {
    return Line(StrCat(row.key), StrCat(row.slot), StrCat(ps), StrCat(row.metadata.version),
                StrCat(row.metadata.count), StrCat(row.metadata.last_step),
                ShortFloat(static_cast<float>(RowNorm(row))),
                ShortVector(row.value, options_.shown_values),
                options_.with_state ? ShortVector(row.state, options_.shown_values) : "");
  }
  std::string End() override { return ""; }

 private:
  static std::string Line(const std::string& key, const std::string& slot, const std::string& ps,
                          const std::string& version, const std::string& count,
                          const std::string& last_step, const std::string& norm,
                          const std::string& value, const std::string& state) {
    char numbers[160];
    std::snprintf(numbers, sizeof numbers, "%20s %5s %3s %8s %8s %10s %11s  ", key.c_str(),
                  slot.c_str(), ps.c_str(), version.c_str(), count.c_str(), last_step.c_str(),
                  norm.c_str());
    return StrCat(numbers, value, state.empty() ? "" : "  ", state, "\n");
  }
  const RowPrinterOptions options_;
};

class CsvPrinter final : public RowPrinter {
 public:
  explicit CsvPrinter(const RowPrinterOptions& options) : options_(options) {}

  std::string Begin() override {
    std::string line = "key,slot,ps,version,count,last_step,norm";
    for (std::size_t i = 0; i < Shown(options_.dim); ++i) StrAppend(line, ",v", i);
    if (options_.with_state) {
      for (std::size_t i = 0; i < Shown(options_.state_floats); ++i) StrAppend(line, ",s", i);
    }
    return line + "\n";
  }
  std::string Row(std::uint32_t ps, const ps::RowView& row) override {
    std::string line = StrCat(row.key, ",", row.slot, ",", ps, ",", row.metadata.version, ",",
                              row.metadata.count, ",", row.metadata.last_step, ",", RowNorm(row));
    Append(row.value, line);
    if (options_.with_state) Append(row.state, line);
    return line + "\n";
  }
  std::string End() override { return ""; }

 private:
  std::size_t Shown(std::size_t floats) const { return std::min(floats, options_.shown_values); }
  void Append(std::span<const float> values, std::string& line) const {
    for (const float value : values.first(Shown(values.size()))) StrAppend(line, ",", value);
  }
  const RowPrinterOptions options_;
};

// An array with an object on each line.
class JsonPrinter final : public RowPrinter {
 public:
  explicit JsonPrinter(const RowPrinterOptions& options) : options_(options) {}

  std::string Begin() override { return "["; }
  std::string Row(std::uint32_t ps, const ps::RowView& row) override {
    JsonWriter json;
    json.BeginObject().Inline();
    json.Key("key").String(StrCat(row.key));
    json.Key("slot").Uint(row.slot);
    json.Key("ps").Uint(ps);
    json.Key("version").Uint(row.metadata.version);
    json.Key("count").Uint(row.metadata.count);
    json.Key("last_step").Uint(row.metadata.last_step);
    json.Key("norm").Double(RowNorm(row));
    Append("value", row.value, json);
    if (options_.with_state) Append("state", row.state, json);
    json.EndObject();
    std::string text = json.Take();
    text.pop_back();  // the line feed
    return StrCat(std::exchange(is_first_, false) ? "\n  " : ",\n  ", text);
  }
  std::string End() override { return is_first_ ? "]\n" : "\n]\n"; }

 private:
  void Append(const char* key, std::span<const float> values, JsonWriter& json) const {
    json.Key(key).BeginArray();
    for (const float value : values.first(std::min(values.size(), options_.shown_values))) {
      json.Float(value);
    }
    json.EndArray();
  }
  const RowPrinterOptions options_;
  bool is_first_ = true;
};

}  // namespace

double RowNorm(const ps::RowView& row) {
  double sum = 0;
  for (const float value : row.value) sum += static_cast<double>(value) * value;
  return std::sqrt(sum);
}

std::unique_ptr<RowPrinter> MakeRowPrinter(Format format, const RowPrinterOptions& options) {
  switch (format) {
    case Format::kTable:
      return std::make_unique<TablePrinter>(options);
    case Format::kJson:
      return std::make_unique<JsonPrinter>(options);
    case Format::kCsv:
      return std::make_unique<CsvPrinter>(options);
  }
  LOG(FATAL) << "format " << static_cast<int>(format);
}

}  // namespace cairn::launch
