#include "worker/data/join_table.h"

#include <algorithm>

#include "proto/config.pb.h"
#include "worker/data/text_position.h"

namespace cairn::worker {

Result<std::unique_ptr<JoinTable>> JoinTable::Load(const proto::DataConfig& config,
                                                   const ReaderEntry& reader,
                                                   const std::string& file,
                                                   const std::string& key_column) {
  proto::DataConfig with_header = config;
  with_header.mutable_csv()->set_header(true);
  ASSIGN_OR_RETURN(std::unique_ptr<RecordReader> records, reader.open(with_header, file));
  ASSIGN_OR_RETURN(std::unique_ptr<RecordSplitter> splitter, reader.make_splitter(with_header));
  std::unique_ptr<JoinTable> table(new JoinTable());
  table->file_ = file;
  const std::vector<std::string>& names = records->columns();
  const auto key = std::ranges::find(names, key_column);
  if (key == names.end())
    return absl::InvalidArgumentError(StrCat(file, " has no column ", Quoted(key_column),
                                             ", the key of its join",
                                             NamesHint(key_column, names)));
  for (auto name = names.begin(); name != names.end(); ++name)
    if (name != key) table->columns_.push_back(*name);
  table->absent_.resize(table->columns_.size());
  RETURN_IF_ERROR(table->Read(*records, *splitter, static_cast<std::size_t>(key - names.begin())));
  return table;
}

Status JoinTable::Read(RecordReader& reader, RecordSplitter& splitter, std::size_t key_index) {
  std::vector<std::string_view> fields(reader.columns().size());
  RawRecord record;
  for (;;) {
    ASSIGN_OR_RETURN(const bool found, reader.Next(&record));
    if (!found) return OkStatus();
    if (!splitter.Split(record.bytes, fields)) {
      const SplitError error = splitter.Explain(record.bytes, fields.size());
      return absl::InvalidArgumentError(
          StrCat(Position(file_, record.line, record.bytes, error.offset), ": ", error.message));
    }
    const std::string_view key = arena_.Copy(fields[key_index]);
    const auto [place, is_first] =
        row_of_key_.try_emplace(key, Place{row_of_key_.size(), record.line});
    if (!is_first) {
      const std::size_t offset = splitter.FieldOffset(record.bytes, key_index);
      return absl::InvalidArgumentError(
          StrCat(Position(file_, record.line, record.bytes, offset), ": ", Quoted(key),
                 " occurs twice in column ", Quoted(reader.columns()[key_index]),
                 ", the key of a join; first in line ", place->second.line));
    }
    for (std::size_t i = 0; i < fields.size(); ++i)
      if (i != key_index) fields_.push_back(arena_.Copy(fields[i]));
  }
}

std::span<const std::string_view> JoinTable::Find(std::string_view key) const {
  const auto found = row_of_key_.find(key);
  if (found == row_of_key_.end()) return absent_;
  return std::span(fields_).subspan(found->second.row * columns_.size(), columns_.size());
}

}  // namespace cairn::worker
