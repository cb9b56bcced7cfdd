// The files of one server's part of a checkpoint: listed with checksums, and linked back.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"

namespace cairn::proto {
class FileEntry;
class CheckpointManifest;
}  // namespace cairn::proto

namespace cairn::ps {

// Remembers the checksums of files that never change (sorted tables, "*.sst", whose names a
// database uses once), so that a snapshot reads only what the last one did not have.
// Thread-safety: compatible. Forget() whenever the live database is made anew.
class ShardFileLister {
 public:
  // Every file below `folder`, with size and checksum, sorted by path.
  Result<std::vector<proto::FileEntry>> List(const std::string& folder);
  // Takes checksums that are known to be right: of the files below `prefix` in a verified manifest.
  void Learn(const proto::CheckpointManifest& manifest, const std::string& prefix);
  void Forget() { known_.clear(); }

 private:
  std::map<std::pair<std::string, std::uint64_t>, std::string> known_;  // (path, bytes) -> checksum
};

// Makes `live` a writable copy of the stored shard `stored`: files that never change become hard
// links (copies on another file system), the others copies. `live` must be an empty folder.
Status LinkShard(const std::string& stored, const std::string& live);

}  // namespace cairn::ps
