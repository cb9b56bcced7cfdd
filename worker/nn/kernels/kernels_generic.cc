#define CAIRN_ISA generic
#define CAIRN_VECTOR_BYTES 16
#include "worker/nn/kernels/table_impl.h"

namespace cairn::worker::nn {

extern constinit const Kernels<float> kGenericFloat = generic::MakeTable<float>("generic");
extern constinit const Kernels<double> kGenericDouble = generic::MakeTable<double>("generic");

}  // namespace cairn::worker::nn
