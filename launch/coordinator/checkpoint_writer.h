// Writes one checkpoint so that it is complete or invisible at any moment. The order of calls:
//
//   Begin          makes <checkpoints>/.tmp-<name>/
//   ShardFolder    each server writes its part there, at the same time
//   AddFile        links further files that do not change into it
//   Seal           job.textproto, then MANIFEST.textproto with sizes and checksums; all synced
//   Publish        renames the folder to <checkpoints>/<name> and syncs <checkpoints>
// then MovePointer(LATEST), MovePointer(BEST) and PruneCheckpoints of this header.
//
// Errors: Unavailable when the disk refuses (the path is named), AlreadyExists for a name in use.
// Thread-safety: none.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"

namespace cairn::proto {
class CheckpointManifest;
class JobConfig;
class SnapshotReply;
class TrainState;
}  // namespace cairn::proto

namespace cairn::launch {

class CheckpointWriter {
 public:
  static Result<CheckpointWriter> Begin(const std::string& checkpoints_folder,
                                        const std::string& name);

  // Absolute if the checkpoints folder is. Not made: the server makes it.
  std::string ShardFolder(std::uint32_t ps) const;

  // `name` becomes another name of the file `source` (a copy where that cannot be), whose checksum
  // is known. DataLoss if it has another one by now.
  Status AddFile(std::string_view name, const std::string& source, const std::string& xxh3);

  // `shards`: the replies of servers 0, 1, 2, ... FailedPrecondition when servers disagree
  // with each other on dense tensors or with the job on tables.
  Status Seal(const proto::JobConfig& job, const proto::TrainState& state,
              std::span<const proto::SnapshotReply> shards, std::int64_t created_unix_s,
              std::string_view program);

  Status Publish();

 private:
  CheckpointWriter(std::string checkpoints_folder, std::string name);
  Status AddShard(std::uint32_t ps, const proto::SnapshotReply& reply,
                  proto::CheckpointManifest* manifest) const;

  std::string checkpoints_folder_;
  std::string name_;
  std::string temporary_;                                   // path
  std::vector<std::pair<std::string, std::string>> added_;  // name, checksum
};

// "step-000000001234" and the suffix (kFinalSuffix or nothing); numbered where that name is taken.
std::string NewCheckpointName(const std::string& checkpoints_folder, std::uint64_t steps,
                              std::string_view suffix);

// Folder of a server's part: "ps-0003".
std::string ShardFolderName(std::uint32_t ps);

// Makes LATEST or BEST name a checkpoint, atomically.
Status MovePointer(const std::string& checkpoints_folder, std::string_view pointer,
                   std::string_view name);

// Removes all checkpoints but the newest `keep`, those that LATEST and BEST name, and `also_keep`
// (a name; may be empty).
Status PruneCheckpoints(const std::string& checkpoints_folder, std::uint32_t keep,
                        std::string_view also_keep);

// Removes what a run that died left behind: .tmp-* and half-written pointers.
Status RemoveLeftovers(const std::string& checkpoints_folder);

}  // namespace cairn::launch
