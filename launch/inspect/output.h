// Where an inspection's result goes.
#pragma once

#include <string_view>

#include "common/base/status.h"

namespace cairn::launch {

// How a result is written: for people, or exact for programs.
enum class Format { kTable, kJson, kCsv };

// "table", "json", "csv". InvalidArgument otherwise, listing them.
Result<Format> ParseFormat(std::string_view name);

// Text to a file descriptor, unbuffered. A reader that leaves early (`| head`) is no error. SIGPIPE
// must be ignored. Not thread-safe.
class Output {
 public:
  explicit Output(int fd) : fd_(fd) {}

  // False when nobody reads any more, or after an error: stop producing.
  bool Write(std::string_view text);
  // Unavailable after a write that failed for another reason than a closed pipe.
  const Status& status() const { return status_; }

 private:
  const int fd_;
  bool is_open_ = true;
  Status status_;
};

}  // namespace cairn::launch
