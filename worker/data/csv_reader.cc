#include "worker/data/csv_reader.h"

#include <algorithm>
#include <cstring>

#include "proto/config.pb.h"
#include "worker/data/byte_source.h"
#include "worker/data/csv_splitter.h"

namespace cairn::worker {
namespace {

constexpr std::size_t kBufferBytes = 256 << 10;

class CsvReader : public RecordReader {
 public:
  CsvReader(std::string path, std::unique_ptr<ByteSource> source, const CsvDialect& dialect)
      : path_(std::move(path)),
        source_(std::move(source)),
        dialect_(dialect),
        buffer_(kBufferBytes) {}

  Status ReadHeader(const proto::CsvConfig& config);
  const std::vector<std::string>& columns() const override { return columns_; }
  Result<bool> Next(RawRecord* record) override;

 private:
  std::string_view Pending() const { return {buffer_.data() + begin_, end_ - begin_}; }
  // Reads more bytes behind the pending ones; sets at_end_ if there are none.
  Status Fill();
  Status SkipByteOrderMark();

  const std::string path_;
  const std::unique_ptr<ByteSource> source_;
  const CsvDialect dialect_;
  std::vector<std::string> columns_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0;  // pending bytes: buffer_[begin_, end_)
  std::size_t end_ = 0;
  bool has_quote_ = false;  // a quote may be among the pending bytes
  bool at_end_ = false;
  std::uint64_t line_ = 1;  // of the byte at begin_
};

Status CsvReader::Fill() {
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ == buffer_.size()) buffer_.resize(2 * buffer_.size());
  ASSIGN_OR_RETURN(const std::size_t n,
                   source_->Read(buffer_.data() + end_, buffer_.size() - end_));
  end_ += n;
  at_end_ = n == 0;
  has_quote_ = dialect_.quote && Pending().find(*dialect_.quote) != std::string_view::npos;
  return OkStatus();
}

Status CsvReader::SkipByteOrderMark() {
  while (Pending().size() < 3 && !at_end_) RETURN_IF_ERROR(Fill());
  if (Pending().starts_with("\xef\xbb\xbf")) begin_ += 3;
  if (Pending().starts_with("\xff\xfe") || Pending().starts_with("\xfe\xff"))
    return absl::InvalidArgumentError(StrCat(path_, " is UTF-16 text; convert it to UTF-8"));
  return OkStatus();
}

Status CsvReader::ReadHeader(const proto::CsvConfig& config) {
  RETURN_IF_ERROR(SkipByteOrderMark());
  if (!config.header()) {
    columns_.assign(config.column().begin(), config.column().end());
    return OkStatus();
  }
  RawRecord header;
  ASSIGN_OR_RETURN(const bool found, Next(&header));
  if (!found) return absl::InvalidArgumentError(StrCat(path_, " is empty: it has no header line"));
  if (!CsvSplitter(dialect_).SplitAll(header.bytes, &columns_))
    return absl::InvalidArgumentError(
        StrCat(path_, ":", header.line, ": the header's quotes do not match"));
  return OkStatus();
}

Result<bool> CsvReader::Next(RawRecord* record) {
  for (;;) {
    const std::string_view pending = Pending();
    std::size_t length = FindRecordEnd(pending, dialect_, has_quote_);
    if (std::min(length, pending.size()) > kMaxRecordBytes)
      return absl::InvalidArgumentError(StrCat(path_, ":", line_, ": the row is longer than ",
                                               kMaxRecordBytes, " bytes",
                                               has_quote_ ? " (is a quote not closed?)" : ""));
    std::size_t consumed = length + 1;
    if (length == std::string_view::npos) {
      if (!at_end_) {
        RETURN_IF_ERROR(Fill());
        continue;
      }
      if (pending.empty()) return false;
      length = consumed = pending.size();
    }
    std::string_view bytes = pending.substr(0, length);
    begin_ += consumed;
    record->line = line_;
    line_ += 1;
    if (has_quote_) line_ += static_cast<std::uint64_t>(std::ranges::count(bytes, '\n'));
    if (bytes.ends_with('\r')) bytes.remove_suffix(1);
    if (bytes.empty()) continue;
    record->bytes = bytes;
    return true;
  }
}

}  // namespace

Result<std::unique_ptr<RecordReader>> OpenCsvReader(const proto::DataConfig& config,
                                                    const std::string& path) {
  ASSIGN_OR_RETURN(const CsvDialect dialect, MakeCsvDialect(config.csv()));
  ASSIGN_OR_RETURN(std::unique_ptr<ByteSource> source, OpenByteSource(path));
  auto reader = std::make_unique<CsvReader>(path, std::move(source), dialect);
  RETURN_IF_ERROR(reader->ReadHeader(config.csv()));
  return reader;
}

Result<std::unique_ptr<RecordSplitter>> MakeCsvSplitter(const proto::DataConfig& config) {
  ASSIGN_OR_RETURN(const CsvDialect dialect, MakeCsvDialect(config.csv()));
  return std::make_unique<CsvSplitter>(dialect);
}

}  // namespace cairn::worker
