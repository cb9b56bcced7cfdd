// Element by element: sigmoid, swish, GELU, floor, and their gradients.
#pragma once

#include "worker/nn/kernels/exp_impl.h"
#include "worker/nn/kernels/kernels.h"
#include "worker/nn/kernels/simd.h"

namespace cairn::worker::nn::CAIRN_ISA {

template <typename T>
[[gnu::always_inline]] inline Vec<T> SigmoidOf(Vec<T> x) {
  return T(1) / (T(1) + Exp(-x));
}

// Phi(x) = erfc(-x / sqrt 2) / 2; density = exp(-x^2 / 2), without its factor 1 / sqrt(2 pi).
[[gnu::always_inline]] inline Vec<float> NormalCdf(Vec<float> x, Vec<float>* density) {
  // erfc(z) exp(z^2) = t P(t), t = 1 / (1 + z / 2), with a minimax polynomial for 0 <= z < 6.6:
  // relative error below 4e-7, in the tails as well.
  const Vec<float> magnitude = x < 0.f ? -x : x;
  const Vec<float> t = 1.f / (1.f + magnitude * 0.353553391f);
  Vec<float> p = t * 0.0953104650f - 0.382092152f;
  p = p * t + 0.425384903f;
  p = p * t + 0.0116242037f;
  p = p * t + 0.291706025f;
  p = p * t + 0.275581068f;
  p = p * t + 0.282485843f;
  *density = Exp(x * x * -0.5f);
  const Vec<float> tail = p * t * *density * 0.5f;
  return x < 0.f ? tail : 1.f - tail;
}

[[gnu::always_inline]] inline Vec<double> NormalCdf(Vec<double> x, Vec<double>* density) {
  constexpr double kInverseRootTwo = 0.70710678118654752440;
  *density = Exp(x * x * -0.5);
  for (std::size_t i = 0; i < kWidth<double>; ++i)
    x[i] = 0.5 * __builtin_erfc(-x[i] * kInverseRootTwo);
  return x;
}

// dx (+)= value.
template <typename T>
[[gnu::always_inline]] inline void StoreOrAdd(T* to, Vec<T> value, bool accumulate) {
  Store(to, accumulate ? Load(to) + value : value);
}

template <typename T>
void Sigmoid(const T* in, std::size_t n, T* out) {
  for (std::size_t i = 0; i < n; i += kWidth<T>) Store(out + i, SigmoidOf<T>(Load(in + i)));
}

template <typename T>
void SigmoidGradient(const T* out, const T* out_gradient, std::size_t n, bool accumulate,
                     T* in_gradient) {
  for (std::size_t i = 0; i < n; i += kWidth<T>) {
    const Vec<T> y = Load(out + i);
    StoreOrAdd<T>(in_gradient + i, Load(out_gradient + i) * y * (T(1) - y), accumulate);
  }
}

template <typename T>
void Swish(const T* in, std::size_t n, T* out) {
  for (std::size_t i = 0; i < n; i += kWidth<T>) {
    const Vec<T> x = Load(in + i);
    Store(out + i, x * SigmoidOf<T>(x));
  }
}

// swish' = s (1 + x (1 - s)), s = sigmoid(x).
template <typename T>
void SwishGradient(const T* in, const T* out_gradient, std::size_t n, bool accumulate,
                   T* in_gradient) {
  for (std::size_t i = 0; i < n; i += kWidth<T>) {
    const Vec<T> x = Load(in + i), s = SigmoidOf<T>(x);
    StoreOrAdd<T>(in_gradient + i, Load(out_gradient + i) * s * (T(1) + x * (T(1) - s)),
                  accumulate);
  }
}

template <typename T>
void Gelu(const T* in, std::size_t n, T* out) {
  Vec<T> density;
  for (std::size_t i = 0; i < n; i += kWidth<T>) {
    const Vec<T> x = Load(in + i);
    Store(out + i, x * NormalCdf(x, &density));
  }
}

// gelu' = Phi(x) + x phi(x).
template <typename T>
void GeluGradient(const T* in, const T* out_gradient, std::size_t n, bool accumulate,
                  T* in_gradient) {
  constexpr T kInverseRootTwoPi = static_cast<T>(0.39894228040143267794);
  for (std::size_t i = 0; i < n; i += kWidth<T>) {
    const Vec<T> x = Load(in + i);
    Vec<T> density;
    const Vec<T> cdf = NormalCdf(x, &density);
    StoreOrAdd<T>(in_gradient + i, Load(out_gradient + i) * (cdf + x * density * kInverseRootTwoPi),
                  accumulate);
  }
}

template <typename T>
void Floor(const T* in, T floor, std::size_t n, T* out) {
  const Vec<T> least = Broadcast(floor);
  for (std::size_t i = 0; i < n; i += kWidth<T>) {
    const Vec<T> x = Load(in + i);
    Store(out + i, x < least ? least : x);  // a NaN stays one
  }
}

template <typename T>
void FloorGradient(const T* in, T floor, const T* out_gradient, std::size_t n, bool accumulate,
                   T* in_gradient) {
  const Vec<T> least = Broadcast(floor);
  for (std::size_t i = 0; i < n; i += kWidth<T>)
    StoreOrAdd<T>(in_gradient + i, Load(in + i) > least ? Load(out_gradient + i) : Vec<T>{},
                  accumulate);
}

}  // namespace cairn::worker::nn::CAIRN_ISA
