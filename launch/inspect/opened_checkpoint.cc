#include "launch/inspect/opened_checkpoint.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <utility>

#include "common/io/file.h"
#include "launch/coordinator/checkpoint_names.h"
#include "launch/coordinator/checkpoints.h"
#include "proto/checkpoint.pb.h"

namespace cairn::launch {
namespace {

class NoErrors : public google::protobuf::io::ErrorCollector {
  void AddError(int, google::protobuf::io::ColumnNumber, const std::string&) override {}
};

// Fills `manifest` with the fields before the damage. False when there are none.
bool ReadDamagedManifest(const std::string& folder, proto::CheckpointManifest* manifest) {
  const Result<std::string> text = ReadFile(JoinPath(folder, kManifestFile));
  if (!text.ok()) return false;
  NoErrors no_errors;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&no_errors);
  parser.AllowPartialMessage(true);
  parser.AllowUnknownField(true);
  parser.ParseFromString(*text, manifest);  // keeps what it understood up to the first error
  return manifest->ByteSizeLong() > 0;
}

// The folder that `path` means, or the newest one when the pointer to it is damaged.
Result<std::string> FindFolder(const std::string& path, std::vector<std::string>* damage) {
  Result<std::string> folder = ResolveCheckpoint(path);
  if (folder.ok() || folder.status().code() != absl::StatusCode::kDataLoss) return folder;
  const Result<std::vector<std::string>> all = ListCheckpoints(path);
  if (!all.ok() || all->empty()) return folder;
  damage->push_back(
      StrCat(folder.status().message(), "; this is the newest checkpoint, ", all->back()));
  return all->back();
}

}  // namespace

OpenedCheckpoint::OpenedCheckpoint() : manifest(std::make_unique<proto::CheckpointManifest>()) {}
OpenedCheckpoint::~OpenedCheckpoint() = default;
OpenedCheckpoint::OpenedCheckpoint(OpenedCheckpoint&&) noexcept = default;
OpenedCheckpoint& OpenedCheckpoint::operator=(OpenedCheckpoint&&) noexcept = default;

std::string OpenedCheckpoint::Name() const { return std::string(NameOfPath(folder)); }

Result<OpenedCheckpoint> OpenCheckpoint(const std::string& path) {
  OpenedCheckpoint opened;
  std::string plain = path;
  while (plain.size() > 1 && plain.back() == '/') plain.pop_back();
  ASSIGN_OR_RETURN(opened.folder, FindFolder(plain, &opened.damage));
  const Status read = ReadManifest(opened.folder, opened.manifest.get());
  if (!read.ok()) {
    if (read.code() != absl::StatusCode::kDataLoss) return read;
    opened.manifest->Clear();
    if (!ReadDamagedManifest(opened.folder, opened.manifest.get())) return read;
    opened.damage.push_back(StrCat(read.message(), "; shown is what can be read of it"));
  }
  for (const std::string_view pointer : {kLatestFile, kBestFile}) {
    const Result<std::string> name = ReadPointer(FolderOf(opened.folder), pointer);
    if (name.ok() && *name == opened.Name()) opened.pointers.emplace_back(pointer);
  }
  return opened;
}

Status CheckShape(const proto::CheckpointManifest& manifest) {
  constexpr std::uint32_t kMostSlotBits = 16;  // a slot is a u16 in the database
  constexpr std::uint32_t kMostFloats = 1u << 20;
  if (manifest.slot_bits() > kMostSlotBits) {
    return absl::DataLossError(StrCat("the manifest says slot_bits ", manifest.slot_bits()));
  }
  for (const proto::TableEntry& table : manifest.table()) {
    if (table.dim() > kMostFloats || table.state_floats() > kMostFloats) {
      return absl::DataLossError(StrCat("the manifest says that rows of table ", table.name(),
                                        " have ", table.dim(), " values and ", table.state_floats(),
                                        " floats of state"));
    }
  }
  for (const proto::ShardEntry& shard : manifest.shard()) {
    if (!CheckRelativePath(shard.folder()).ok()) {
      return absl::DataLossError(StrCat("the manifest names the folder '", shard.folder(), "'"));
    }
    if (shard.first_slot() > shard.last_slot() || shard.last_slot() >= 1u << manifest.slot_bits()) {
      return absl::DataLossError(StrCat("the manifest gives ps ", shard.ps(), " the slots ",
                                        shard.first_slot(), " to ", shard.last_slot(), " of ",
                                        1u << manifest.slot_bits()));
    }
  }
  return OkStatus();
}

}  // namespace cairn::launch
