// Keeps a reserve of free disk space.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "common/base/mutex.h"
#include "common/base/status.h"

namespace cairn::ps {

// Free bytes of the file system of `folder` for this process.
Result<std::uint64_t> FreeBytes(const std::string& folder);

// OK if the file system of `folder` has room for `bytes` and a reserve. ResourceExhausted naming
// folder, need, reserve and what is free.
Status CheckFreeSpace(const std::string& folder, std::uint64_t bytes, std::uint64_t reserve_bytes);

// CheckFreeSpace that asks the kernel only now and then. Thread-safe.
class FreeSpace {
 public:
  // The kernel is asked again after this many bytes, at the latest.
  static constexpr std::uint64_t kLookBytes = 16u << 20;

  // reserve_bytes: asked for at each look; may call back into the owner.
  FreeSpace(std::string folder, std::function<std::uint64_t()> reserve_bytes)
      : folder_(std::move(folder)), reserve_bytes_(std::move(reserve_bytes)) {}

  // CheckFreeSpace of `bytes`, which are then taken for written. What other programs write goes
  // unseen until kLookBytes are taken, or an eighth of what lay above the reserve, or more was
  // asked for than was left of these; so a refusal is never by an old figure.
  Status Take(std::uint64_t bytes);

 private:
  const std::string folder_;
  const std::function<std::uint64_t()> reserve_bytes_;
  Mutex mu_;
  std::uint64_t left_ GUARDED_BY(mu_) = 0;  // may be taken before the next look
};

}  // namespace cairn::ps
