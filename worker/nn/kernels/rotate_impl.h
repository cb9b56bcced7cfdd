// The rotation of RoPE.
#pragma once

#include "worker/nn/kernels/kernels.h"
#include "worker/nn/kernels/simd.h"

namespace cairn::worker::nn::CAIRN_ISA {

// Pairs (a, b) of neighbouring values -> (a cos - b sin, b cos + a sin).
template <typename T>
void Rotate(const RotateArgs<T>& args) {
  const T* in = args.in;
  T* out = args.out;
  for (std::size_t p = 0; p < args.panels; ++p)
    for (std::size_t i = 0; i < args.pairs; ++i, in += 2 * kLanes, out += 2 * kLanes) {
      const T c = args.cosine[i], s = args.inverse ? -args.sine[i] : args.sine[i];
      for (std::size_t part = 0; part < kLanes; part += kWidth<T>) {
        const Vec<T> a = Load(in + part), b = Load(in + kLanes + part);
        Vec<T> left = a * c - b * s, right = b * c + a * s;
        if (args.accumulate) {
          left += Load(out + part);
          right += Load(out + kLanes + part);
        }
        Store(out + part, left);
        Store(out + kLanes + part, right);
      }
    }
}

}  // namespace cairn::worker::nn::CAIRN_ISA
