// Kernels compiled for several instruction sets and picked at run time, so that one portable
// binary uses wide vectors where the machine has them.
//
//   CAIRN_KERNEL_BODY void ScaleBody(float* x, std::size_t n, float a) { ...a plain loop... }
//   CAIRN_DEFINE_KERNEL(Scale, ScaleBody, (float* x, std::size_t n, float a), (x, n, a))
//   ... CAIRN_PICK_KERNEL(BestIsa(), Scale)(x, n, a);
//
// A file with kernels is compiled with -O3 -ffp-contract=off (see its CMakeLists.txt): the loop is
// vectorised, and every variant gives the same bits.
#pragma once

#if defined(__x86_64__)
#define CAIRN_TARGET_AVX2 __attribute__((target("avx2")))
#define CAIRN_TARGET_AVX512 \
  __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,prefer-vector-width=512")))
#else
#define CAIRN_TARGET_AVX2
#define CAIRN_TARGET_AVX512
#endif

#define CAIRN_KERNEL_BODY [[gnu::always_inline]] inline

// Defines <name>Baseline, <name>Avx2 and <name>Avx512, all of them `body`.
#define CAIRN_DEFINE_KERNEL(name, body, parameters, arguments)            \
  void name##Baseline parameters { return body arguments; }               \
  CAIRN_TARGET_AVX2 void name##Avx2 parameters { return body arguments; } \
  CAIRN_TARGET_AVX512 void name##Avx512 parameters { return body arguments; }

namespace cairn::ps {

enum class Isa { kBaseline, kAvx2, kAvx512 };

// The widest one that this machine runs.
inline Isa BestIsa() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw")) {
    return Isa::kAvx512;
  }
  if (__builtin_cpu_supports("avx2")) return Isa::kAvx2;
#endif
  return Isa::kBaseline;
}

template <typename Function>
Function PickKernel(Isa isa, Function baseline, Function avx2, Function avx512) {
  switch (isa) {
    case Isa::kAvx512:
      return avx512;
    case Isa::kAvx2:
      return avx2;
    case Isa::kBaseline:
      break;
  }
  return baseline;
}

}  // namespace cairn::ps

#define CAIRN_PICK_KERNEL(isa, name) \
  ::cairn::ps::PickKernel(isa, &name##Baseline, &name##Avx2, &name##Avx512)
