// Instruction sets that the compute kernels are built for.
#pragma once

namespace cairn::worker::nn {

// kBest: the fastest that this CPU can run.
enum class Isa { kBest, kGeneric, kAvx2, kAvx512 };

}  // namespace cairn::worker::nn
