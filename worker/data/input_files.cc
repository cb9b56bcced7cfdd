#include "worker/data/input_files.h"

#include <glob.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace cairn::worker {
namespace {

Status Glob(const std::string& pattern, std::vector<std::string>* files) {
  struct stat info {};
  if (stat(pattern.c_str(), &info) == 0) {  // a file's own name, even if it looks like a glob
    files->push_back(pattern);
    return OkStatus();
  }
  glob_t found{};
  const int error = glob(pattern.c_str(), GLOB_NOSORT | GLOB_ERR, nullptr, &found);
  for (std::size_t i = 0; i < found.gl_pathc; ++i) files->emplace_back(found.gl_pathv[i]);
  const int saved = errno;
  globfree(&found);
  if (error == GLOB_NOMATCH) return absl::NotFoundError("no file matches");
  if (error != 0) return absl::InvalidArgumentError(StrCat("cannot list: ", std::strerror(saved)));
  return OkStatus();
}

}  // namespace

Result<std::vector<std::string>> ExpandFiles(std::span<const std::string> patterns,
                                             std::string_view setting) {
  std::vector<std::string> files;
  for (const std::string& pattern : patterns) {
    RETURN_IF_ERROR(Glob(pattern, &files), setting, " \"", pattern, "\"");
  }
  std::ranges::sort(files);
  const auto repeated = std::ranges::unique(files);
  files.erase(repeated.begin(), repeated.end());
  return files;
}

}  // namespace cairn::worker
