#include "launch/inspect/output.h"

#include <unistd.h>

#include <cerrno>

#include "common/io/file.h"

namespace cairn::launch {

Result<Format> ParseFormat(std::string_view name) {
  if (name == "table") return Format::kTable;
  if (name == "json") return Format::kJson;
  if (name == "csv") return Format::kCsv;
  return absl::InvalidArgumentError(StrCat("--format=", name, " is not one of table, json, csv"));
}

bool Output::Write(std::string_view text) {
  while (is_open_ && !text.empty()) {
    const ssize_t written = write(fd_, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno != EINTR) {
      is_open_ = false;
      if (errno != EPIPE) status_ = ErrnoStatus("write", "the output", errno);
    }
  }
  return is_open_;
}

}  // namespace cairn::launch
