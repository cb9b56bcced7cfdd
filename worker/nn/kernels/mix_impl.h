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

// [depth / kDepth][outputs / kTile][kDepth][kTile], zero padded; the last depth may be smaller. One
// pass reads its weights in the order in which they lie.
template <typename T>
void PackWeights(const WeightView<T>& weights, std::size_t first_tile, std::size_t end_tile,
                 T* packed) {
  const std::size_t padded = (weights.outputs + kTile - 1) / kTile * kTile;
  for (std::size_t k0 = 0; k0 < weights.depth; k0 += kDepth) {
    const std::size_t depth = Min(kDepth, weights.depth - k0);
    for (std::size_t tile = first_tile; tile < end_tile; ++tile) {
      const std::size_t m = tile * kTile;
      const std::size_t valid = Min(kTile, weights.outputs - m);
      T* out = packed + k0 * padded + m * depth;
      const T* in = weights.data + k0 * weights.stride_k + m * weights.stride_m;
      for (std::size_t k = 0; k < depth; ++k) {
        for (std::size_t i = 0; i < kTile; ++i)
          out[i] = i < valid ? in[i * weights.stride_m] : T(0);
        out += kTile;
        in += weights.stride_k;
      }
    }
  }
}

// out[v] + i * row: vector v of output i. b: [depth][NV] vectors. `a` of the next tile follows: it
// is fetched into the first-level cache meanwhile.
template <typename T, std::size_t NV>
[[gnu::always_inline]] inline void MixTile(std::size_t depth, const T* a, const T* b, T* const* out,
                                           std::size_t row, std::size_t valid, const T* bias,
                                           bool accumulate) {
  Vec<T> sum[kTile][NV] = {};
  const std::size_t ahead = depth * kTile;
#pragma GCC unroll 8
  for (std::size_t i = 0; i < kTile; ++i) {
#pragma GCC unroll 4
    for (std::size_t v = 0; v < NV; ++v) __builtin_prefetch(out[v] + i * row, 1);
  }
  for (std::size_t k = 0; k < depth; ++k) {
    __builtin_prefetch(a + ahead);
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

// Where vector number `vector` of the block begins: its panel, and its place in the panel's row.
template <typename T>
[[gnu::always_inline]] inline std::size_t VectorOffset(std::size_t vector, std::size_t columns,
                                                       std::size_t panel_stride) {
  const std::size_t per_panel = columns * kParts<T>;
  return vector / per_panel * panel_stride + vector % per_panel * kWidth<T>;
}

// NV vectors of lanes from vector number `first` of the block on, depth [k0, k0 + depth), outputs
// [m0, m0 + outputs). `next_first` and `next_k0`: the strip that comes after this one.
template <typename T, std::size_t NV>
void MixStrip(const MixArgs<T>& args, std::size_t first, std::size_t k0, std::size_t depth,
              std::size_t m0, std::size_t outputs, std::size_t next_first, std::size_t next_k0) {
  alignas(64) T strip[kDepth * kVectors * kWidth<T>];
  const std::size_t row = args.columns * kLanes;  // floats from element k to k + 1
  T* out[NV];
  const T* next[NV];
  for (std::size_t v = 0; v < NV; ++v) {
    const T* in = args.in + VectorOffset<T>(first + v, args.columns, args.in_stride) + k0 * row;
    for (std::size_t k = 0; k < depth; ++k)
      Store(strip + (k * NV + v) * kWidth<T>, Load(in + k * row));
    out[v] = args.out + VectorOffset<T>(first + v, args.columns, args.out_stride) + m0 * row;
    next[v] =
        args.in + VectorOffset<T>(next_first + v, args.columns, args.in_stride) + next_k0 * row;
  }
  const bool accumulate = args.accumulate || k0 > 0;
  const std::size_t padded = (args.outputs + kTile - 1) / kTile * kTile;
  const T* packed = args.packed + k0 * padded;
  // The next strip is brought near while this one is multiplied, some of it beside each tile.
  const std::size_t ahead = (depth * kTile + outputs - 1) / outputs;
  for (std::size_t m = m0; m < m0 + outputs; m += kTile) {
    for (std::size_t k = 0; k < ahead; ++k)
#pragma GCC unroll 4
      for (std::size_t v = 0; v < NV; ++v) {
        __builtin_prefetch(next[v], 0, 2);
        next[v] += row;
      }
    MixTile<T, NV>(depth, packed + m * depth, strip, out, row, Min(kTile, args.outputs - m),
                   args.bias != nullptr ? args.bias + m : nullptr, accumulate);
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
      for (; v + kVectors <= vectors; v += kVectors) {
        const bool is_last = v + 2 * kVectors > vectors;
        MixStrip<T, kVectors>(args, v, k0, depth, m0, outputs, is_last ? 0 : v + kVectors,
                              is_last ? k0 + depth : k0);
      }
      if (v + 2 == vectors) MixStrip<T, 2>(args, v, k0, depth, m0, outputs, 0, k0 + depth);
      if (v + 1 == vectors) MixStrip<T, 1>(args, v, k0, depth, m0, outputs, 0, k0 + depth);
    }
  }
}

}  // namespace cairn::worker::nn::CAIRN_ISA
