#include "ps/store/free_space.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>

#include "common/io/file.h"

namespace cairn::ps {

Result<std::uint64_t> FreeBytes(const std::string& folder) {
  struct statvfs info;
  if (statvfs(folder.c_str(), &info) != 0) return ErrnoStatus("look at", folder, errno);
  return std::uint64_t{info.f_bavail} * info.f_frsize;
}

Status CheckFreeSpace(const std::string& folder, std::uint64_t bytes, std::uint64_t reserve_bytes) {
  ASSIGN_OR_RETURN(const std::uint64_t free_bytes, FreeBytes(folder));
  if (free_bytes >= bytes && free_bytes - bytes >= reserve_bytes) return OkStatus();
  return absl::ResourceExhaustedError(StrCat("not enough disk space in ", folder, ": ", bytes,
                                             " bytes to write and a reserve of ", reserve_bytes,
                                             " bytes, but ", free_bytes, " bytes free"));
}

Status FreeSpace::Take(std::uint64_t bytes) {
  const MutexLock lock(mu_);
  if (bytes <= left_) {
    left_ -= bytes;
    return OkStatus();
  }
  left_ = 0;
  const std::uint64_t reserve = reserve_bytes_();
  RETURN_IF_ERROR(CheckFreeSpace(folder_, bytes, reserve));
  ASSIGN_OR_RETURN(const std::uint64_t free_bytes, FreeBytes(folder_));
  const std::uint64_t kept = bytes + reserve;
  left_ = free_bytes > kept ? std::min(kLookBytes, (free_bytes - kept) / 8) : 0;
  return OkStatus();
}

}  // namespace cairn::ps
