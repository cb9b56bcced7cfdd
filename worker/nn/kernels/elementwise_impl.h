// Element by element: ReLU, arithmetic, dropout.
#pragma once

#include "worker/nn/kernels/kernels.h"
#include "worker/nn/kernels/simd.h"

namespace cairn::worker::nn::CAIRN_ISA {

template <typename T>
void Relu(const T* in, std::size_t n, T* out) {
  for (std::size_t i = 0; i < n; i += kWidth<T>) {
    const Vec<T> x = Load(in + i);
    Store(out + i, x < T(0) ? Vec<T>{} : x);  // a NaN stays one
  }
}

template <typename T>
void ReluGradient(const T* in, const T* out_gradient, std::size_t n, bool accumulate,
                  T* in_gradient) {
  for (std::size_t i = 0; i < n; i += kWidth<T>) {
    const Vec<T> value = Load(in + i) > T(0) ? Load(out_gradient + i) : Vec<T>{};
    Store(in_gradient + i, accumulate ? Load(in_gradient + i) + value : value);
  }
}

template <typename T>
void Add(const T* a, const T* b, std::size_t n, T* out) {
  for (std::size_t i = 0; i < n; i += kWidth<T>) Store(out + i, Load(a + i) + Load(b + i));
}

template <typename T>
void Subtract(const T* a, const T* b, std::size_t n, T* out) {
  for (std::size_t i = 0; i < n; i += kWidth<T>) Store(out + i, Load(a + i) - Load(b + i));
}

template <typename T>
void Multiply(const T* a, const T* b, std::size_t n, bool accumulate, T* out) {
  for (std::size_t i = 0; i < n; i += kWidth<T>) {
    const Vec<T> value = Load(a + i) * Load(b + i);
    Store(out + i, accumulate ? Load(out + i) + value : value);
  }
}

template <typename T>
void Scale(const T* in, T factor, std::size_t n, bool accumulate, T* out) {
  for (std::size_t i = 0; i < n; i += kWidth<T>) {
    const Vec<T> value = Load(in + i) * factor;
    Store(out + i, accumulate ? Load(out + i) + value : value);
  }
}

template <typename T>
void ScaleTokens(const T* in, const T* weights, std::size_t tokens, std::size_t dim,
                 bool accumulate, T* out) {
  for (std::size_t t = 0; t < tokens; ++t, weights += kLanes)
    for (std::size_t j = 0; j < dim; ++j, in += kLanes, out += kLanes)
      for (std::size_t part = 0; part < kLanes; part += kWidth<T>) {
        const Vec<T> value = Load(in + part) * Load(weights + part);
        Store(out + part, accumulate ? Load(out + part) + value : value);
      }
}

template <typename T>
void DotTokens(const T* a, const T* b, std::size_t tokens, std::size_t dim, bool accumulate,
               T* out) {
  for (std::size_t t = 0; t < tokens; ++t, a += dim * kLanes, b += dim * kLanes, out += kLanes)
    for (std::size_t part = 0; part < kLanes; part += kWidth<T>) {
      Vec<T> sum = accumulate ? Load(out + part) : Vec<T>{};
      for (std::size_t j = 0; j < dim; ++j)
        sum += Load(a + j * kLanes + part) * Load(b + j * kLanes + part);
      Store(out + part, sum);
    }
}

// Finaliser of a 32-bit multiplicative hash (Wellons, "lowbias32").
[[gnu::always_inline]] inline std::uint32_t Mix32(std::uint32_t x) {
  x ^= x >> 16;
  x *= 0x21f0aaadu;
  x ^= x >> 15;
  x *= 0xd35a2d97u;
  x ^= x >> 15;
  return x;
}

template <typename T>
void Dropout(const T* in, const std::uint32_t* row_keys, std::size_t panels, std::size_t size,
             float rate, bool accumulate, T* out) {
  const T scale = T(1) / (T(1) - static_cast<T>(rate));
  const std::uint32_t bound = static_cast<std::uint32_t>(static_cast<double>(rate) * 4294967296.0);
  for (std::size_t p = 0; p < panels; ++p) {
    const std::uint32_t* keys = row_keys + p * kLanes;
    for (std::size_t e = 0; e < size; ++e, in += kLanes, out += kLanes) {
      const std::uint32_t element = static_cast<std::uint32_t>(e + 1) * 0x9e3779b9u;
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        const T value =
            Mix32(Mix32(keys[lane] ^ element) + keys[lane]) >= bound ? in[lane] * scale : T(0);
        out[lane] = accumulate ? out[lane] + value : value;
      }
    }
  }
}

}  // namespace cairn::worker::nn::CAIRN_ISA
