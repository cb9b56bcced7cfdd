#include "worker/nn/kernels/kernels.h"

namespace cairn::worker::nn {

extern const Kernels<float> kGenericFloat;
extern const Kernels<double> kGenericDouble;
extern const Kernels<float> kAvx2Float;
extern const Kernels<float> kAvx512Float;

namespace {

bool CanRun(Isa isa) {
  switch (isa) {
    case Isa::kAvx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    default:
      return true;
  }
}

}  // namespace

template <>
const Kernels<float>* FindKernels(Isa isa) {
  if (isa == Isa::kBest)
    isa = CanRun(Isa::kAvx512) ? Isa::kAvx512 : CanRun(Isa::kAvx2) ? Isa::kAvx2 : Isa::kGeneric;
  if (!CanRun(isa)) return nullptr;
  if (isa == Isa::kAvx512) return &kAvx512Float;
  return isa == Isa::kAvx2 ? &kAvx2Float : &kGenericFloat;
}

template <>
const Kernels<double>* FindKernels(Isa isa) {
  return CanRun(isa) ? &kGenericDouble : nullptr;
}

}  // namespace cairn::worker::nn
