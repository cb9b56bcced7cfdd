#include "launch/coordinator/checkpoints.h"

#include <algorithm>

#include "common/io/checksum.h"
#include "common/io/file.h"
#include "google/protobuf/text_format.h"
#include "launch/coordinator/checkpoint_names.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"

namespace cairn::launch {
namespace {

// The "checkpoints" folder for a run directory or for itself.
std::string CheckpointsFolderOf(const std::string& path) {
  const std::string below = JoinPath(path, kCheckpointsFolder);
  return IsFolder(below) ? below : path;
}

std::string_view FirstWord(std::string_view line) { return line.substr(0, line.find(' ')); }

}  // namespace

std::string_view NameOfPath(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  return path.substr(path.rfind('/') + 1);
}

bool IsCheckpointName(std::string_view name) {
  return name.starts_with("step-") && name.find('/') == std::string_view::npos &&
         CheckRelativePath(name).ok();
}

bool IsCheckpointFolder(const std::string& path) {
  return PathExists(JoinPath(path, kManifestFile)) ||
         (IsCheckpointName(NameOfPath(path)) && IsFolder(path));
}

Result<std::string> ReadPointer(const std::string& checkpoints_folder, std::string_view pointer) {
  const std::string path = JoinPath(checkpoints_folder, pointer);
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  const std::string name(FirstWord(text));
  if (text != PointerText(name) || !IsCheckpointName(name)) {
    return absl::DataLossError(StrCat(path,
                                      " is damaged: it must hold the name of a checkpoint "
                                      "and that name's checksum"));
  }
  return name;
}

std::string PointerText(std::string_view name) {
  return StrCat(name, " ", ChecksumOfBytes(name), "\n");
}

Result<std::vector<std::string>> ListCheckpoints(const std::string& path) {
  const std::string folder = CheckpointsFolderOf(path);
  if (!PathExists(folder)) return std::vector<std::string>();
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(folder, ListMode::kEntries));
  std::vector<std::string> found;
  for (const std::string& name : names) {
    const std::string child = JoinPath(folder, name);
    if (IsCheckpointName(name) && IsFolder(child)) found.push_back(child);
  }
  return found;
}

Result<std::string> ResolveCheckpoint(const std::string& path) {
  if (!PathExists(path)) return absl::NotFoundError(StrCat("there is nothing at ", path));
  if (IsCheckpointFolder(path)) return path;
  const std::string folder = CheckpointsFolderOf(path);
  Result<std::string> latest = ReadPointer(folder, kLatestFile);
  if (latest.ok()) {
    std::string checkpoint = JoinPath(folder, *latest);
    if (IsFolder(checkpoint)) return checkpoint;
    return absl::DataLossError(
        StrCat(JoinPath(folder, kLatestFile), " names ", *latest, ", which is missing"));
  }
  if (!absl::IsNotFound(latest.status())) return latest.status();
  ASSIGN_OR_RETURN(std::vector<std::string> all, ListCheckpoints(path));
  if (all.empty()) return absl::NotFoundError(StrCat("no checkpoint in ", path));
  return all.back();
}

Status ReadManifest(const std::string& checkpoint, proto::CheckpointManifest* manifest) {
  manifest->Clear();
  const Status status = ps::ReadManifest(checkpoint, manifest);
  if (!absl::IsNotFound(status) || !IsFolder(checkpoint)) return status;
  return absl::DataLossError(StrCat(JoinPath(checkpoint, kManifestFile), " is missing"));
}

Status ReadCheckpointJob(const std::string& checkpoint, proto::JobConfig* job) {
  proto::CheckpointManifest manifest;
  RETURN_IF_ERROR(ReadManifest(checkpoint, &manifest));
  const std::string path = JoinPath(checkpoint, kJobFile);
  Result<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status())) return absl::DataLossError(StrCat(path, " is missing"));
  RETURN_IF_ERROR(text.status());
  const auto entry = std::find_if(manifest.file().begin(), manifest.file().end(),
                                  [](const auto& file) { return file.path() == kJobFile; });
  if (entry == manifest.file().end() || entry->xxh3() != ChecksumOfBytes(*text)) {
    return absl::DataLossError(StrCat(path, " is not what the manifest says (checksum)"));
  }
  job->Clear();
  if (!google::protobuf::TextFormat::ParseFromString(*text, job)) {
    return absl::DataLossError(StrCat(path, " is not a job"));
  }
  return OkStatus();
}

}  // namespace cairn::launch
