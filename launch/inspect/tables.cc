#include "launch/inspect/inspect.h"
#include "launch/inspect/sizes.h"
#include "launch/text/human.h"
#include "launch/text/json.h"
#include "launch/text/table.h"
#include "proto/checkpoint.pb.h"

namespace cairn::launch {
namespace {

// 0 where a damaged manifest lacks it.
std::uint64_t RowsOfTable(const proto::ShardEntry& shard, int table) {
  return table < shard.rows_size() ? shard.rows(table) : 0;
}

Table AsTable(const proto::CheckpointManifest& manifest) {
  std::vector<Column> columns = {
      {"id", true},           {"table"},   {"dim", true},          {"optimizer"},
      {"state floats", true}, {"storage"}, {"record bytes", true}, {"rows", true},
      {"bytes", true}};
  for (const proto::ShardEntry& shard : manifest.shard()) {
    columns.push_back({StrCat("ps ", shard.ps()), true});
  }
  Table table(columns);
  const auto count = [](std::uint64_t value) { return Cell(HumanCount(value), StrCat(value)); };
  for (int t = 0; t < manifest.table_size(); ++t) {
    const proto::TableEntry& entry = manifest.table(t);
    const std::uint64_t bytes = TableBytes(entry);
    std::vector<Cell> cells = {StrCat(t),
                               entry.name(),
                               StrCat(entry.dim()),
                               entry.optimizer(),
                               StrCat(entry.state_floats()),
                               entry.storage(),
                               StrCat(RecordBytes(entry)),
                               count(entry.rows()),
                               Cell(HumanBytes(bytes), StrCat(bytes))};
    for (const proto::ShardEntry& shard : manifest.shard()) {
      cells.push_back(count(RowsOfTable(shard, t)));
    }
    table.AddRow(std::move(cells));
  }
  return table;
}

std::string AsJson(const proto::CheckpointManifest& manifest) {
  JsonWriter json;
  json.BeginArray();
  for (int t = 0; t < manifest.table_size(); ++t) {
    const proto::TableEntry& entry = manifest.table(t);
    json.BeginObject();
    json.Key("id").Int(t);
    json.Key("name").String(entry.name());
    json.Key("dim").Uint(entry.dim());
    json.Key("optimizer").String(entry.optimizer());
    json.Key("state_floats").Uint(entry.state_floats());
    json.Key("storage").String(entry.storage());
    json.Key("record_bytes").Uint(RecordBytes(entry));
    json.Key("rows").Uint(entry.rows());
    json.Key("bytes").Uint(TableBytes(entry));
    json.Key("rows_per_shard").BeginArray().Inline();
    for (const proto::ShardEntry& shard : manifest.shard()) json.Uint(RowsOfTable(shard, t));
    json.EndArray();
    json.EndObject();
  }
  json.EndArray();
  return json.Take();
}

}  // namespace

Status InspectTables(const std::string& path, Format format, Output& out, std::ostream& messages) {
  ASSIGN_OR_RETURN(const OpenedCheckpoint opened, OpenCheckpoint(path));
  switch (format) {
    case Format::kTable:
      out.Write(AsTable(*opened.manifest).Aligned());
      break;
    case Format::kJson:
      out.Write(AsJson(*opened.manifest));
      break;
    case Format::kCsv:
      out.Write(AsTable(*opened.manifest).Csv());
      break;
  }
  RETURN_IF_ERROR(out.status());
  return TellDamage(opened.damage, messages);
}

}  // namespace cairn::launch
