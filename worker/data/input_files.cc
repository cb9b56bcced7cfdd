#include "worker/data/input_files.h"

#include <glob.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace cairn::worker {
namespace {

constexpr std::string_view kDataVariable = "CAIRN_DATA";
constexpr std::string_view kDataDefault = "../shared/data";

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

Result<std::string> ExpandVariables(std::string_view text) {
  std::string out;
  for (;;) {
    const std::size_t open = text.find("${");
    out.append(text.substr(0, open));
    if (open == std::string_view::npos) return out;
    const std::size_t close = text.find('}', open);
    if (close == std::string_view::npos)
      return absl::InvalidArgumentError(StrCat("'${' without '}' in '", text, "'"));
    const std::string name(text.substr(open + 2, close - open - 2));
    if (const char* value = std::getenv(name.c_str()); value != nullptr) {
      out.append(value);
    } else if (name == kDataVariable) {
      out.append(kDataDefault);
    } else {
      return absl::InvalidArgumentError(StrCat("environment variable ", name, " is not set"));
    }
    text.remove_prefix(close + 1);
  }
}

Result<std::vector<std::string>> ExpandFiles(std::span<const std::string> patterns,
                                             std::string_view setting) {
  std::vector<std::string> files;
  for (const std::string& pattern : patterns) {
    ASSIGN_OR_RETURN(const std::string name, ExpandVariables(pattern), setting, " '", pattern, "'");
    RETURN_IF_ERROR(Glob(name, &files), setting, " '", name, "'");
  }
  std::ranges::sort(files);
  const auto repeated = std::ranges::unique(files);
  files.erase(repeated.begin(), repeated.end());
  return files;
}

}  // namespace cairn::worker
