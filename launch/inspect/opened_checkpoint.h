// A checkpoint as the verbs of `cairn inspect` see it. Nothing is ever written into it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace cairn::proto {
class CheckpointManifest;
}  // namespace cairn::proto
namespace cairn::ps {
class ShardReader;
}  // namespace cairn::ps

namespace cairn::launch {

struct OpenedCheckpoint {
  std::string folder;
  // Of a damaged manifest, what could be read of it.
  std::unique_ptr<proto::CheckpointManifest> manifest;
  // Pointers that name it: "LATEST", "BEST".
  std::vector<std::string> pointers;
  // What was found damaged on the way, a line each; empty when all was as it should be.
  std::vector<std::string> damage;

  OpenedCheckpoint();
  ~OpenedCheckpoint();
  OpenedCheckpoint(OpenedCheckpoint&&) noexcept;
  OpenedCheckpoint& operator=(OpenedCheckpoint&&) noexcept;

  // "step-000000001234"
  std::string Name() const;
};

// `path`: a checkpoint, a "checkpoints" folder or a run directory (see
// launch/coordinator/checkpoints.h). A damaged LATEST gives way to the newest checkpoint, a damaged
// manifest to what can be read of it; both are reported in `damage`. NotFound when there is no
// checkpoint, DataLoss when nothing of the manifest can be read, FailedPrecondition when a later
// program wrote it.
Result<OpenedCheckpoint> OpenCheckpoint(const std::string& path);

// OK if the manifest's slots, shards and tables can be: what must hold before a shard is opened.
// DataLoss otherwise, for a forged manifest or what is left of a damaged one.
Status CheckShape(const proto::CheckpointManifest& manifest);

// Opens shard `index` of the manifest. The verbs take it as a parameter so that tests can hand them
// shards with any content; the program's is ps::ShardReader::Open.
using ShardOpener = std::function<Result<std::unique_ptr<ps::ShardReader>>(
    const std::string& folder, const proto::CheckpointManifest& manifest, std::size_t index)>;

}  // namespace cairn::launch
