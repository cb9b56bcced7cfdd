// The two scans of delimited text: where does a record end, and where do its fields. Both are as
// fast as the processor compares bytes while no quote is in sight.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "worker/data/readers.h"

namespace cairn::proto {
class CsvConfig;
}  // namespace cairn::proto

namespace cairn::worker {

struct CsvDialect {
  char delimiter = ',';
  std::optional<char> quote = '"';
};

// InvalidArgument: delimiter or quote is not one character, or both are the same, or an end of
// line.
Result<CsvDialect> MakeCsvDialect(const proto::CsvConfig& config);

// Offset of the LF that ends the record which starts at text[0], or npos if `text` does not hold it
// all. `may_have_quotes`: false if the caller knows that no quote is in `text`.
std::size_t FindRecordEnd(std::string_view text, const CsvDialect& dialect, bool may_have_quotes);

class CsvSplitter : public RecordSplitter {
 public:
  explicit CsvSplitter(const CsvDialect& dialect) : dialect_(dialect) {}
  bool Split(std::string_view record, std::span<std::string_view> fields) override;
  SplitError Explain(std::string_view record, std::size_t columns) override;
  std::size_t FieldOffset(std::string_view record, std::size_t index) override;
  // All fields, unquoted, however many there are; for headers. False if malformed.
  bool SplitAll(std::string_view record, std::vector<std::string>* fields);

 private:
  // One field at `offset`. Moves `offset` to the byte after its delimiter, or past the record's
  // size at the end. Null if fine, else what is wrong (at `offset`).
  const char* NextField(std::string_view record, std::size_t* offset, std::string_view* field);
  bool SplitQuoted(std::string_view record, std::span<std::string_view> fields);

  CsvDialect dialect_;
  std::string scratch_;  // unquoted text of the current record's quoted fields
};

}  // namespace cairn::worker
