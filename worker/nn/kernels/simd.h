// Vectors of one instruction set, for the kernel files only.
//
// The files kernels/*_impl.h are compiled once for each instruction set (kernels_generic.cc,
// kernels_avx2.cc, kernels_avx512.cc) inside a namespace of its name, with that set's compiler
// flags. They must not call inline functions of the standard library: the linker keeps one copy of
// such a function, and that one could be compiled for a CPU that is not there.
//
// The including file defines CAIRN_ISA (the namespace) and CAIRN_VECTOR_BYTES (16, 32 or 64).
#pragma once

#include <cstddef>
#include <cstdint>

#include "worker/nn/panel.h"

namespace cairn::worker::nn::CAIRN_ISA {

// Lanes of one register.
template <typename T>
inline constexpr std::size_t kWidth = CAIRN_VECTOR_BYTES / sizeof(T);
// Registers that hold one panel's sixteen lanes.
template <typename T>
inline constexpr std::size_t kParts = kLanes / kWidth<T>;

template <typename T>
struct VecOf {
  typedef T Type __attribute__((vector_size(CAIRN_VECTOR_BYTES)));
  typedef T Memory __attribute__((vector_size(CAIRN_VECTOR_BYTES), aligned(sizeof(T)), may_alias));
};
template <typename T>
using Vec = typename VecOf<T>::Type;

template <typename T>
[[gnu::always_inline]] inline Vec<T> Load(const T* p) {
  return *reinterpret_cast<const typename VecOf<T>::Memory*>(p);
}
template <typename T>
[[gnu::always_inline]] inline void Store(T* p, Vec<T> v) {
  *reinterpret_cast<typename VecOf<T>::Memory*>(p) = v;
}
template <typename T>
[[gnu::always_inline]] inline Vec<T> Broadcast(T x) {
  return x - Vec<T>{};  // x - 0 is x for every x, so no subtraction is left; 0 + x is not, for -0
}
// Sum of the lanes, in a fixed order.
template <typename T>
[[gnu::always_inline]] inline T SumLanes(Vec<T> v) {
  T lane[kWidth<T>];
  Store(lane, v);
  for (std::size_t half = kWidth<T> / 2; half > 0; half /= 2)
    for (std::size_t i = 0; i < half; ++i) lane[i] += lane[i + half];
  return lane[0];
}

// a0 b0 a1 b1 ... of the lower, or the upper, halves of a and b.
template <typename T>
[[gnu::always_inline]] inline Vec<T> InterleaveLow(Vec<T> a, Vec<T> b) {
  if constexpr (kWidth<T> == 2) return __builtin_shufflevector(a, b, 0, 2);
  if constexpr (kWidth<T> == 4) return __builtin_shufflevector(a, b, 0, 4, 1, 5);
  if constexpr (kWidth<T> == 8) return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
  if constexpr (kWidth<T> == 16)
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
template <typename T>
[[gnu::always_inline]] inline Vec<T> InterleaveHigh(Vec<T> a, Vec<T> b) {
  if constexpr (kWidth<T> == 2) return __builtin_shufflevector(a, b, 1, 3);
  if constexpr (kWidth<T> == 4) return __builtin_shufflevector(a, b, 2, 6, 3, 7);
  if constexpr (kWidth<T> == 8) return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
  if constexpr (kWidth<T> == 16)
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15,
                                   31);
}

[[gnu::always_inline]] inline std::size_t Min(std::size_t a, std::size_t b) {
  return a < b ? a : b;
}
[[gnu::always_inline]] inline float SquareRoot(float x) { return __builtin_sqrtf(x); }
[[gnu::always_inline]] inline double SquareRoot(double x) { return __builtin_sqrt(x); }

}  // namespace cairn::worker::nn::CAIRN_ISA
