#include "ps/checkpoint/shard_files.h"

#include "common/io/checksum.h"
#include "common/io/file.h"
#include "proto/checkpoint.pb.h"

namespace cairn::ps {
namespace {

bool NeverChanges(std::string_view path) { return path.ends_with(".sst"); }

}  // namespace

Result<std::vector<proto::FileEntry>> ShardFileLister::List(const std::string& folder) {
  ASSIGN_OR_RETURN(const auto paths, ListFolder(folder, ListMode::kAllFiles));
  std::vector<proto::FileEntry> entries;
  decltype(known_) seen;
  for (const std::string& path : paths) {
    const std::string full = JoinPath(folder, path);
    ASSIGN_OR_RETURN(const std::uint64_t bytes, FileSize(full));
    std::string checksum;
    if (const auto found = known_.find({path, bytes}); found != known_.end()) {
      checksum = found->second;
    } else {
      ASSIGN_OR_RETURN(checksum, ChecksumOfFile(full));
    }
    if (NeverChanges(path)) seen.emplace(std::pair(path, bytes), checksum);
    proto::FileEntry& entry = entries.emplace_back();
    entry.set_path(path);
    entry.set_bytes(bytes);
    entry.set_xxh3(checksum);
  }
  known_ = std::move(seen);
  return entries;
}

void ShardFileLister::Learn(const proto::CheckpointManifest& manifest, const std::string& prefix) {
  for (const proto::FileEntry& file : manifest.file()) {
    if (!file.path().starts_with(prefix) || !NeverChanges(file.path())) continue;
    known_[{file.path().substr(prefix.size()), file.bytes()}] = file.xxh3();
  }
}

Status LinkShard(const std::string& stored, const std::string& live) {
  ASSIGN_OR_RETURN(const auto paths, ListFolder(stored, ListMode::kAllFiles));
  for (const std::string& path : paths) {
    const std::string from = JoinPath(stored, path);
    const std::string to = JoinPath(live, path);
    RETURN_IF_ERROR(MakeFolders(FolderOf(to)));
    if (NeverChanges(path)) {
      RETURN_IF_ERROR(HardLinkOrCopy(from, to));
    } else {
      ASSIGN_OR_RETURN(const std::string content, ReadFile(from));
      RETURN_IF_ERROR(WriteFileAtomically(to, content));
    }
  }
  return OkStatus();
}

}  // namespace cairn::ps
