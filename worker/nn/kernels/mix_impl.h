// Products with weight matrices; the contract is in worker/nn/gemm.h. Cache blocking as in BLIS
// (Van Zee, van de Geijn 2015): a strip of the activations stays in the first-level cache, the
// packed weights of one pass in the second.
#pragma once

#include "worker/nn/kernels/kernels.h"
#include "worker/nn/kernels/simd.h"

namespace cairn::worker::nn::CAIRN_ISA {

// Register tile: kTile weights by kVectors vectors of lanes, all sums in registers.
#if CAIRN_VECTOR_BYTES == 64
inline constexpr std::size_t kTile = 8, kVectors = 3;
#else
inline constexpr std::size_t kTile = 4, kVectors = 3;
#endif
// Depth of one pass, and outputs of one pass.
inline constexpr std::size_t kDepth = 128;
inline constexpr std::size_t kOutputs = 512;

// [outputs / kTile][depth][kTile], zero padded.
template <typename T>
void PackWeights(const WeightView<T>& weights, std::size_t first_tile, std::size_t end_tile,
                 T* packed) {
  for (std::size_t tile = first_tile; tile < end_tile; ++tile) {
    const std::size_t m = tile * kTile;
    const std::size_t valid = Min(kTile, weights.outputs - m);
    T* out = packed + m * weights.depth;
    const T* in = weights.data + m * weights.stride_m;
    for (std::size_t k = 0; k < weights.depth; ++k) {
      for (std::size_t i = 0; i < kTile; ++i) out[i] = i < valid ? in[i * weights.stride_m] : T(0);
      out += kTile;
      in += weights.stride_k;
    }
  }
}

// out[v] + i * row: vector v of output i. b: [depth][NV] vectors.
template <typename T, std::size_t NV>
[[gnu::always_inline]] inline void MixTile(std::size_t depth, const T* a, const T* b, T* const* out,
                                           std::size_t row, std::size_t valid, const T* bias,
                                           bool accumulate) {
  Vec<T> sum[kTile][NV] = {};
  for (std::size_t k = 0; k < depth; ++k) {
    Vec<T> right[NV];
#pragma GCC unroll 4
    for (std::size_t v = 0; v < NV; ++v) right[v] = Load(b + v * kWidth<T>);
#pragma GCC unroll 8
    for (std::size_t i = 0; i < kTile; ++i) {
      const Vec<T> left = Broadcast(a[i]);
#pragma GCC unroll 4
      for (std::size_t v = 0; v < NV; ++v) sum[i][v] += left * right[v];
    }
    a += kTile;
    b += NV * kWidth<T>;
  }
#pragma GCC unroll 8
  for (std::size_t i = 0; i < kTile; ++i) {
    if (i >= valid) break;
    const Vec<T> added = Broadcast(bias != nullptr ? bias[i] : T(0));
#pragma GCC unroll 4
    for (std::size_t v = 0; v < NV; ++v) {
      T* to = out[v] + i * row;
      Store(to, sum[i][v] + (accumulate ? Load(to) : added));
    }
  }
}

// NV vectors of lanes from vector number `first` of the block on, depth [k0, k0 + depth), outputs
// [m0, m0 + outputs).
template <typename T, std::size_t NV>
void MixStrip(const MixArgs<T>& args, std::size_t first, std::size_t k0, std::size_t depth,
              std::size_t m0, std::size_t outputs) {
  alignas(64) T strip[kDepth * kVectors * kWidth<T>];
  const std::size_t row = args.columns * kLanes;  // floats from element k to k + 1
  const std::size_t per_panel = args.columns * kParts<T>;
  T* out[NV];
  for (std::size_t v = 0; v < NV; ++v) {
    const std::size_t panel = (first + v) / per_panel;
    const std::size_t offset = (first + v) % per_panel * kWidth<T>;
    const T* in = args.in + panel * args.in_stride + k0 * row + offset;
    for (std::size_t k = 0; k < depth; ++k)
      Store(strip + (k * NV + v) * kWidth<T>, Load(in + k * row));
    out[v] = args.out + panel * args.out_stride + offset + m0 * row;
  }
  const bool accumulate = args.accumulate || k0 > 0;
  for (std::size_t m = m0; m < m0 + outputs; m += kTile) {
    MixTile<T, NV>(depth, args.packed + m * args.depth + k0 * kTile, strip, out, row,
                   Min(kTile, args.outputs - m), args.bias != nullptr ? args.bias + m : nullptr,
                   accumulate);
    for (std::size_t v = 0; v < NV; ++v) out[v] += kTile * row;
  }
}

template <typename T>
void Mix(const MixArgs<T>& args) {
  const std::size_t vectors = args.panels * args.columns * kParts<T>;
  for (std::size_t m0 = 0; m0 < args.outputs; m0 += kOutputs) {
    const std::size_t outputs = Min(kOutputs, args.outputs - m0);
    for (std::size_t k0 = 0; k0 < args.depth; k0 += kDepth) {
      const std::size_t depth = Min(kDepth, args.depth - k0);
      std::size_t v = 0;
      for (; v + kVectors <= vectors; v += kVectors)
        MixStrip<T, kVectors>(args, v, k0, depth, m0, outputs);
      if (v + 2 == vectors) MixStrip<T, 2>(args, v, k0, depth, m0, outputs);
      if (v + 1 == vectors) MixStrip<T, 1>(args, v, k0, depth, m0, outputs);
    }
  }
}

}  // namespace cairn::worker::nn::CAIRN_ISA
