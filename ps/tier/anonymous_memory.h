// Anonymous memory of this process: what it has allocated, without the pages of files.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <fstream>

namespace cairn::ps {

// RssAnon in bytes; 0 where the kernel does not say.
inline std::uint64_t AnonymousMemoryBytes() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t total = 0, resident = 0, of_files = 0;
  if (!(file >> total >> resident >> of_files) || resident < of_files) return 0;
  return (resident - of_files) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace cairn::ps
