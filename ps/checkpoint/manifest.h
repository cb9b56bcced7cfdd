// The manifest of a checkpoint (proto/checkpoint.proto, docs/checkpoint_format.md), as its readers
// need it.
//
//   MANIFEST.textproto = textproto of CheckpointManifest, then "# xxh3-128 <32 hex digits>\n", the
//                        checksum of every byte before that line
#pragma once

#include <string>
#include <string_view>

#include "common/base/status.h"

namespace cairn::proto {
class CheckpointManifest;
}  // namespace cairn::proto

namespace cairn::ps {

inline constexpr std::string_view kManifestFile = "MANIFEST.textproto";
// Larger major versions are refused.
inline constexpr unsigned kCheckpointFormatVersion = 1;

// Reads and checks the manifest of the checkpoint in folder `checkpoint`.
// NotFound: no manifest there. DataLoss, naming the file: bad seal, not a manifest, or entries that
// contradict each other (a path that leaves the folder, a shard without slots, overlapping slots).
// FailedPrecondition: written by a later format version.
Status ReadManifest(const std::string& checkpoint, proto::CheckpointManifest* manifest);

// Compares every file of the manifest whose path starts with `prefix` ("" for all) with its size
// and XXH3-128. DataLoss naming the first file that is missing, too short or long, or altered.
Status VerifyFiles(const std::string& checkpoint, const proto::CheckpointManifest& manifest,
                   std::string_view prefix);

}  // namespace cairn::ps
