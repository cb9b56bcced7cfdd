// Reading log files while they grow.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace cairn::launch {

// Gives the lines that were added to a file since it was last asked. Not thread-safe.
class LogFollower {
 public:
  // Lines from byte `offset` on; the file need not be there yet.
  LogFollower(std::string path, std::uint64_t offset);

  // Complete lines (without their line feed). A file that cannot be read gives none.
  std::vector<std::string> NewLines();
  // What follows the last line feed, at the end of the file's life.
  std::string Rest() const { return partial_; }

 private:
  const std::string path_;
  std::uint64_t offset_;
  std::string partial_;
};

// The last `count` lines at or after byte `offset`; reads at most the last 256 KiB of the file.
// Lines are cut at 400 bytes. Empty when the file cannot be read.
std::vector<std::string> LastLines(const std::string& path, std::uint64_t offset,
                                   std::size_t count);

// What the supervisor does with a line of the coordinator's log.
enum class LogLine {
  kDetail,    // stays in the log: glog's INFO and the lines the supervisor writes itself
  kProgress,  // shown on stderr
  kResult,    // "RESULT ...": shown last, on stdout
};
LogLine ClassifyLogLine(std::string_view line);

}  // namespace cairn::launch
