#define CAIRN_ISA avx512
#define CAIRN_VECTOR_BYTES 64
#include "worker/nn/kernels/table_impl.h"

namespace cairn::worker::nn {

extern constinit const Kernels<float> kAvx512Float = avx512::MakeTable<float>("avx512");

}  // namespace cairn::worker::nn
