// What the process's memory allocator keeps of freed memory.
#pragma once

namespace cairn::ps {

// From now on mimalloc, if the process has it, gives freed pages back to the kernel at once and not
// some operations later: with eight threads it kept 15 MiB. Other allocators are left alone.
void ReturnFreedMemoryAtOnce();

}  // namespace cairn::ps
