#include "ps/checkpoint/manifest.h"

#include <set>
#include <vector>

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include "common/io/checksum.h"
#include "common/io/file.h"
#include "proto/checkpoint.pb.h"
#include "ps/table/storage.h"

namespace cairn::ps {
namespace {

// Keeps the first error of the parser.
class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, int column, const std::string& message) override {
    if (text.empty()) text = StrCat(line + 1, ":", column + 1, ": ", message);
  }
  std::string text;
};

Status CheckFiles(const proto::CheckpointManifest& manifest) {
  std::set<std::string_view> paths;
  for (const proto::FileEntry& file : manifest.file()) {
    RETURN_IF_ERROR(CheckRelativePath(file.path()), "file \"", file.path(), "\"");
    if (!paths.insert(file.path()).second) {
      return absl::DataLossError(StrCat("file ", file.path(), " is listed twice"));
    }
  }
  return OkStatus();
}

Status CheckShards(const proto::CheckpointManifest& manifest) {
  if (manifest.slot_bits() > 16) {
    return absl::DataLossError(StrCat("slot_bits is ", manifest.slot_bits(), ", more than 16"));
  }
  std::vector<bool> taken(std::size_t{1} << manifest.slot_bits());
  for (const proto::ShardEntry& shard : manifest.shard()) {
    RETURN_IF_ERROR(CheckRelativePath(shard.folder()), "shard ", shard.ps());
    if (shard.first_slot() > shard.last_slot() || shard.last_slot() >= taken.size()) {
      return absl::DataLossError(StrCat("shard ", shard.ps(), " has slots ", shard.first_slot(),
                                        " to ", shard.last_slot(), " of ", taken.size()));
    }
    for (std::uint32_t slot = shard.first_slot(); slot <= shard.last_slot(); ++slot) {
      if (taken[slot]) return absl::DataLossError(StrCat("slot ", slot, " is in two shards"));
      taken[slot] = true;
    }
    if (shard.rows_size() != manifest.table_size()) {
      return absl::DataLossError(StrCat("shard ", shard.ps(), " counts the rows of ",
                                        shard.rows_size(), " tables of ", manifest.table_size()));
    }
  }
  for (std::size_t slot = 0; slot < taken.size(); ++slot) {
    if (!taken[slot]) return absl::DataLossError(StrCat("slot ", slot, " is in no shard"));
  }
  return OkStatus();
}

Status CheckTables(const proto::CheckpointManifest& manifest) {
  std::set<std::string_view> names;
  for (const proto::TableEntry& table : manifest.table()) {
    if (table.dim() == 0 || table.dim() > 4096 || table.state_floats() > 65536 ||
        !names.insert(table.name()).second) {
      return absl::DataLossError(StrCat("table \"", table.name(), "\" is listed twice or has ",
                                        table.dim(), " floats and ", table.state_floats(),
                                        " of state"));
    }
    if (!StorageOf(table).has_value()) {
      return absl::DataLossError(StrCat("table ", table.name(), " has values of type \"",
                                        table.storage(), "\", which this program does not know"));
    }
  }
  return OkStatus();
}

}  // namespace

Status ReadManifest(const std::string& checkpoint, proto::CheckpointManifest* manifest) {
  const std::string path = JoinPath(checkpoint, kManifestFile);
  ASSIGN_OR_RETURN(const std::string text, OpenSealedText(path));
  FirstError error;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  parser.AllowUnknownField(true);  // of a later minor version
  if (!parser.ParseFromString(text, manifest)) {
    return absl::DataLossError(StrCat(path, ":", error.text));
  }
  if (manifest->format_version() > kCheckpointFormatVersion) {
    return absl::FailedPreconditionError(
        StrCat(path, ": format version ", manifest->format_version(), ", this program knows up to ",
               kCheckpointFormatVersion));
  }
  for (Status (*check)(const proto::CheckpointManifest&) :
       {&CheckFiles, &CheckShards, &CheckTables}) {
    const Status checked = check(*manifest);
    if (!checked.ok()) return absl::DataLossError(StrCat(path, ": ", checked.message()));
  }
  return OkStatus();
}

Status VerifyFiles(const std::string& checkpoint, const proto::CheckpointManifest& manifest,
                   std::string_view prefix) {
  for (const proto::FileEntry& file : manifest.file()) {
    if (!std::string_view(file.path()).starts_with(prefix)) continue;
    const std::string path = JoinPath(checkpoint, file.path());
    const Result<std::uint64_t> bytes = FileSize(path);
    if (absl::IsNotFound(bytes.status())) {
      return absl::DataLossError(StrCat(path, " is missing"));
    }
    RETURN_IF_ERROR(bytes.status());
    if (*bytes != file.bytes()) {
      return absl::DataLossError(
          StrCat(path, " has ", *bytes, " bytes, the manifest says ", file.bytes()));
    }
    ASSIGN_OR_RETURN(const std::string checksum, ChecksumOfFile(path));
    if (checksum != file.xxh3()) {
      return absl::DataLossError(StrCat(path, " is damaged: its checksum is ", checksum,
                                        ", the manifest says ", file.xxh3()));
    }
  }
  return OkStatus();
}

}  // namespace cairn::ps
