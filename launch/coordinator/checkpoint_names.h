// Names in a "checkpoints" folder; shared by reader, verifier and writer of checkpoints.
#pragma once

#include <string>
#include <string_view>

namespace cairn::launch {

// Last component of a path; a trailing slash does not count.
std::string_view NameOfPath(std::string_view path);

// Whether a folder of this name is a complete checkpoint: "step-...", no slash.
bool IsCheckpointName(std::string_view name);

// Whether `path` is meant to be a checkpoint itself, also when its manifest was lost.
bool IsCheckpointFolder(const std::string& path);

// Content of a pointer file (LATEST, BEST) to the checkpoint `name`.
std::string PointerText(std::string_view name);

}  // namespace cairn::launch
