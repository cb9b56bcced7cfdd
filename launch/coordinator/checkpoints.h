// Finding, reading and verifying checkpoints. Reads only; writing is checkpoint_writer.h. The
// layout is that of proto/checkpoint.proto:
//
//   <run_dir>/checkpoints/
//     LATEST, BEST                one line: "<name> <xxh3-128 of the name, 32 hex digits>"
//     step-000000001234[-...]/    a complete checkpoint; names sort by age
//       MANIFEST.textproto        sealed: last line "# xxh3-128 <hex of all bytes before it>"
//       job.textproto             the effective job
//       vocabulary                where a feature has a min_count: worker/features/vocabulary.h
//       ps-0000/ ...              one folder per parameter server
//     .tmp-*                      being written, or left by a run that died; never read
//
// Errors of all functions: NotFound when there is nothing at the path; DataLoss, with the damaged
// file's path, when stored bytes are missing or wrong (exit code 3); FailedPrecondition for a
// format version that this program does not know; Unavailable when the disk refuses.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "ps/checkpoint/manifest.h"

namespace cairn::proto {
class CheckpointManifest;
class JobConfig;
}  // namespace cairn::proto

namespace cairn::launch {

inline constexpr std::string_view kCheckpointsFolder = "checkpoints";
using ps::kManifestFile;
inline constexpr std::string_view kJobFile = "job.textproto";
inline constexpr std::string_view kVocabularyFile = "vocabulary";
inline constexpr std::string_view kLatestFile = "LATEST";
inline constexpr std::string_view kBestFile = "BEST";
inline constexpr std::string_view kTemporaryPrefix = ".tmp-";
inline constexpr std::string_view kFinalSuffix = "-final";
// The checkpoint's folder for what a user may name: a checkpoint, a "checkpoints" folder or a run
// directory. For the last two: the one that LATEST names; without a LATEST, the newest one (a run
// that died before its first LATEST). DataLoss for a damaged LATEST or one that names nothing.
Result<std::string> ResolveCheckpoint(const std::string& path);

// Folders of the complete checkpoints below a run directory or "checkpoints" folder, oldest first.
// Empty when there are none or the folder is missing.
Result<std::vector<std::string>> ListCheckpoints(const std::string& path);

// The name in `checkpoints_folder`/`pointer` (LATEST or BEST). NotFound without such a file.
Result<std::string> ReadPointer(const std::string& checkpoints_folder, std::string_view pointer);

// The manifest of a checkpoint's folder, as ps::ReadManifest checks it: seal, version, and that its
// entries do not contradict each other; not the files it lists.
Status ReadManifest(const std::string& checkpoint, proto::CheckpointManifest* manifest);

// The effective job that a checkpoint was written by. Checks its size and checksum.
Status ReadCheckpointJob(const std::string& checkpoint, proto::JobConfig* job);

// One thing wrong with a checkpoint.
struct CheckpointProblem {
  std::string file;  // relative to the verified path
  std::string what;  // "missing", "is 12 bytes, the manifest says 40", ...
};

// Reads every byte below `path` (as ResolveCheckpoint takes it) and compares it with the manifest:
// missing, extra, linked, resized and altered files, the manifest's seal and contradictions, an
// inconsistent training state. For a run directory or "checkpoints" folder:
// LATEST, BEST and every checkpoint. Goes on after a problem; empty when sound. The only error
// besides the list is NotFound.
Result<std::vector<CheckpointProblem>> VerifyCheckpoint(const std::string& path);

// OK, or DataLoss that names the first problem, how many more there are, and the newest intact
// checkpoint beside it, if any.
Status RequireSound(const std::string& checkpoint);

}  // namespace cairn::launch
