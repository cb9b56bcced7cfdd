// A process that dies at the n-th system call by which files change.
#pragma once

#include <cstdint>

namespace cairn::ps {

// The process kills itself (SIGKILL) instead of making the n-th of the calls unlink, unlinkat,
// rename, link, fsync, fdatasync, ftruncate, pwritev and write to a file from now on; with 0 it
// lives.
void DieAtCall(std::uint64_t n);

// Calls since DieAtCall.
std::uint64_t CallsMade();

}  // namespace cairn::ps
