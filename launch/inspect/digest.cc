#include "launch/inspect/checkpoint_digest.h"
#include "launch/inspect/inspect.h"
#include "launch/inspect/sizes.h"
#include "launch/text/human.h"
#include "launch/text/json.h"
#include "launch/text/table.h"
#include "proto/checkpoint.pb.h"

namespace cairn::launch {
namespace {

// Equal for equal checkpoints, so that a comparison of two outputs shows what differs.
Table AsTable(const proto::CheckpointManifest& manifest, const CheckpointDigest& digest) {
  Table table({{"part"}, {"name"}, {"holds"}, {"sha256"}});
  const auto holds = [](std::uint64_t size, const char* what) {
    return Cell(CountOf(size, what), StrCat(size));
  };
  table.AddRow({"all", "", holds(TotalRows(manifest), "row"), digest.sha256});
  for (const CheckpointDigest::Part& part : digest.tables) {
    table.AddRow({"table", part.name, holds(part.size, "row"), part.sha256});
  }
  table.AddRow({"dense", "", holds(DenseParameters(manifest), "parameter"), digest.dense_sha256});
  return table;
}

void WriteParts(const std::vector<CheckpointDigest::Part>& parts, const char* size,
                JsonWriter& json) {
  json.BeginArray();
  for (const CheckpointDigest::Part& part : parts) {
    json.BeginObject().Inline();
    json.Key("name").String(part.name);
    json.Key(size).Uint(part.size);
    json.Key("sha256").String(part.sha256);
    json.EndObject();
  }
  json.EndArray();
}

std::string AsJson(const OpenedCheckpoint& opened, const CheckpointDigest& digest) {
  JsonWriter json;
  json.BeginObject();
  json.Key("checkpoint").String(opened.folder);
  json.Key("sha256").String(digest.sha256);
  json.Key("table");
  WriteParts(digest.tables, "rows", json);
  json.Key("dense_sha256").String(digest.dense_sha256);
  json.Key("dense");
  WriteParts(digest.tensors, "floats", json);
  json.EndObject();
  return json.Take();
}

}  // namespace

Status InspectDigest(const std::string& path, Format format, Output& out, std::ostream& messages,
                     const ShardOpener& open_shard) {
  ASSIGN_OR_RETURN(const OpenedCheckpoint opened, OpenCheckpoint(path));
  // Digests are compared without a look at anything else: there is none of what is damaged.
  RETURN_IF_ERROR(TellDamage(opened.damage, messages));
  RETURN_IF_ERROR(CheckShape(*opened.manifest), opened.folder);
  ASSIGN_OR_RETURN(const CheckpointDigest digest,
                   DigestCheckpoint(opened.folder, *opened.manifest, open_shard));
  switch (format) {
    case Format::kTable:
      out.Write(AsTable(*opened.manifest, digest).Aligned());
      break;
    case Format::kJson:
      out.Write(AsJson(opened, digest));
      break;
    case Format::kCsv:
      out.Write(AsTable(*opened.manifest, digest).Csv());
      break;
  }
  return out.status();
}

}  // namespace cairn::launch
