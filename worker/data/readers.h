// Catalogue of the input formats that data.format can name.
//
// A reader cuts a file into records without looking at their values (they are kept as raw bytes
// while their window is open), and later cuts a record into fields.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace cairn::proto {
class DataConfig;
}  // namespace cairn::proto

namespace cairn::worker {

// Longest record, in bytes; a longer one is an error, so that a broken file cannot eat the memory.
inline constexpr std::size_t kMaxRecordBytes = (16u << 20) - 1;

struct RawRecord {
  std::string_view bytes;  // without the end of line; valid until the reader's next call
  std::uint64_t line = 0;  // 1-based number of its first line
};

// One open file. Not thread-safe.
class RecordReader {
 public:
  virtual ~RecordReader() = default;
  // Names of the fields of each record, in file order.
  virtual const std::vector<std::string>& columns() const = 0;
  // The next record; false at the end of the file. Errors name the file and, where known, the line.
  virtual Result<bool> Next(RawRecord* record) = 0;
};

// Why a record has no fields, or where one lies; offsets are bytes from the record's start.
struct SplitError {
  std::string message;
  std::size_t offset = 0;
};

// Cuts records into fields. Holds scratch memory: not thread-safe.
class RecordSplitter {
 public:
  virtual ~RecordSplitter() = default;
  // Fills `fields` with exactly fields.size() views, into the record or the splitter's scratch;
  // valid until the next call. False if the record has another number of fields or is malformed.
  virtual bool Split(std::string_view record, std::span<std::string_view> fields) = 0;
  // Why Split(record, fields of size `columns`) was false.
  virtual SplitError Explain(std::string_view record, std::size_t columns) = 0;
  // Where field `index` of a record that Split accepts begins.
  virtual std::size_t FieldOffset(std::string_view record, std::size_t index) = 0;
};

struct ReaderEntry {
  std::string_view name;
  Result<std::unique_ptr<RecordReader>> (*open)(const proto::DataConfig& config,
                                                const std::string& path);
  Result<std::unique_ptr<RecordSplitter>> (*make_splitter)(const proto::DataConfig& config);
};

// Sorted by name.
std::span<const ReaderEntry> Readers();

// The entry of data.format. InvalidArgument that lists the known ones.
Result<const ReaderEntry*> FindReader(std::string_view format);

}  // namespace cairn::worker
