// Memory of this process.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <fstream>

namespace cairn::ps {

// Resident bytes, as the kernel counts them; 0 where it does not say.
inline std::uint64_t ProcessMemoryBytes() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace cairn::ps
