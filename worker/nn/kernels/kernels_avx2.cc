#define CAIRN_ISA avx2
#define CAIRN_VECTOR_BYTES 32
#include "worker/nn/kernels/table_impl.h"

namespace cairn::worker::nn {

extern constinit const Kernels<float> kAvx2Float = avx2::MakeTable<float>("avx2");

}  // namespace cairn::worker::nn
