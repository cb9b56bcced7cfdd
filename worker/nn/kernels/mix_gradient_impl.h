// Gradient of the weights: dW[k, m] += sum over (row, column) of x[k] * dy[m]. The sum runs over
// lanes, so dy is turned to [lane][m] once for a strip of lanes; x is read lane by lane as it lies.
#pragma once

#include "worker/nn/kernels/mix_impl.h"

namespace cairn::worker::nn::CAIRN_ISA {

// One strip: at most this many (panel, column) pairs of 16 lanes each.
inline constexpr std::size_t kStripColumns = 15;
// Inputs of one pass over the strip: their x stay in the second-level cache.
inline constexpr std::size_t kInputs = 128;
template <typename T>
inline constexpr std::size_t kGroup = kVectors* kWidth<T>;  // outputs of a register tile

template <typename T>
std::size_t MixGradientWorkspace(std::size_t outputs) {
  return (outputs + kGroup<T> - 1) / kGroup<T> * kGroup<T> * kStripColumns * kLanes;
}

// n x n block: out[j * out_row + i] = in[i * in_row + j], n = lanes of a register. log2(n) rounds
// of interleaving row i with row i + n/2 transpose it.
template <typename T>
[[gnu::always_inline]] inline void Transpose(const T* in, std::size_t in_row, T* out,
                                             std::size_t out_row) {
  constexpr std::size_t n = kWidth<T>;
  Vec<T> a[n], b[n];
#pragma GCC unroll 16
  for (std::size_t i = 0; i < n; ++i) a[i] = Load(in + i * in_row);
#pragma GCC unroll 4
  for (std::size_t round = 1; round < n; round *= 2) {
#pragma GCC unroll 16
    for (std::size_t i = 0; i < n / 2; ++i) {
      b[2 * i] = InterleaveLow<T>(a[i], a[i + n / 2]);
      b[2 * i + 1] = InterleaveHigh<T>(a[i], a[i + n / 2]);
    }
#pragma GCC unroll 16
    for (std::size_t i = 0; i < n; ++i) a[i] = b[i];
  }
#pragma GCC unroll 16
  for (std::size_t i = 0; i < n; ++i) Store(out + i * out_row, a[i]);
}

// dy of `columns` pairs from pair `first` on -> turned[group][column][lane][kGroup], zero padded.
template <typename T>
void TurnStrip(const MixGradientArgs<T>& args, std::size_t first, std::size_t columns, T* turned) {
  const std::size_t row = args.columns * kLanes;
  const std::size_t groups = (args.outputs + kGroup<T> - 1) / kGroup<T>;
  for (std::size_t c = 0; c < columns; ++c) {
    const T* dy = args.out_gradient + (first + c) / args.columns * args.out_stride +
                  (first + c) % args.columns * kLanes;
    for (std::size_t g = 0; g < groups; ++g) {
      T* out = turned + (g * columns + c) * kLanes * kGroup<T>;
      for (std::size_t part = 0; part < kVectors; ++part) {
        const std::size_t m = g * kGroup<T> + part * kWidth<T>;
        T* to = out + part * kWidth<T>;
        if (m + kWidth<T> <= args.outputs) {
          for (std::size_t lane = 0; lane < kLanes; lane += kWidth<T>)
            Transpose(dy + m * row + lane, row, to + lane * kGroup<T>, kGroup<T>);
          continue;
        }
        for (std::size_t lane = 0; lane < kLanes; ++lane)
          for (std::size_t i = 0; i < kWidth<T>; ++i)
            to[lane * kGroup<T> + i] = m + i < args.outputs ? dy[(m + i) * row + lane] : T(0);
      }
    }
  }
}

// dW rows [k, k + kTile), outputs of one group.
template <typename T, std::size_t ROWS>
[[gnu::always_inline]] inline void GradientTile(const MixGradientArgs<T>& args, std::size_t first,
                                                std::size_t columns, std::size_t k, const T* turned,
                                                std::size_t m, bool accumulate) {
  const std::size_t row = args.columns * kLanes;
  Vec<T> sum[ROWS][kVectors] = {};
#pragma GCC unroll 8
  for (std::size_t i = 0; i < ROWS; ++i) {
    const T* out = args.weight_gradient + (k + i) * args.outputs + m;
#pragma GCC unroll 4
    for (std::size_t v = 0; v <= kVectors; ++v) __builtin_prefetch(out + v * kWidth<T>, 1);
  }
  for (std::size_t c = 0; c < columns; ++c) {
    const T* x = args.in + (first + c) / args.columns * args.in_stride +
                 (first + c) % args.columns * kLanes + k * row;
    // The column after the next one, or the next rows of the first columns.
    const std::size_t ahead = c + 2 < columns ? c + 2 : c + 2 - columns;
    const T* next = args.in + (first + ahead) / args.columns * args.in_stride +
                    (first + ahead) % args.columns * kLanes +
                    (k + (c + 2 < columns ? 0 : ROWS)) * row;
#pragma GCC unroll 8
    for (std::size_t i = 0; i < ROWS; ++i) __builtin_prefetch(next + i * row);
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      Vec<T> right[kVectors];
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kVectors; ++v) right[v] = Load(turned + v * kWidth<T>);
#pragma GCC unroll 8
      for (std::size_t i = 0; i < ROWS; ++i) {
        const Vec<T> left = Broadcast(x[i * row]);
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kVectors; ++v) sum[i][v] += left * right[v];
      }
      ++x;
      turned += kGroup<T>;
    }
  }
  const std::size_t valid = Min(kGroup<T>, args.outputs - m);
#pragma GCC unroll 8
  for (std::size_t i = 0; i < ROWS; ++i) {
    T* out = args.weight_gradient + (k + i) * args.outputs + m;
    if (valid == kGroup<T>) {
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kVectors; ++v) {
        T* to = out + v * kWidth<T>;
        Store(to, accumulate ? sum[i][v] + Load(to) : sum[i][v]);
      }
    } else {
      T edge[kGroup<T>];
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kVectors; ++v) Store(edge + v * kWidth<T>, sum[i][v]);
      for (std::size_t j = 0; j < valid; ++j) out[j] = accumulate ? out[j] + edge[j] : edge[j];
    }
  }
}

template <typename T>
void BiasGradient(const MixGradientArgs<T>& args) {
  const std::size_t row = args.columns * kLanes;
  for (std::size_t m = 0; m < args.outputs; ++m) {
    Vec<T> sum = {};
    for (std::size_t p = 0; p < args.panels; ++p) {
      const T* dy = args.out_gradient + p * args.out_stride + m * row;
      for (std::size_t i = 0; i < row; i += kWidth<T>) sum += Load(dy + i);
    }
    const T total = SumLanes<T>(sum);
    args.bias_gradient[m] = args.accumulate ? args.bias_gradient[m] + total : total;
  }
}

template <typename T>
void MixWeightGradient(const MixGradientArgs<T>& args) {
  const std::size_t pairs = args.panels * args.columns;
  const std::size_t strips = (pairs + kStripColumns - 1) / kStripColumns;
  std::size_t first = 0;
  for (std::size_t s = 0; s < strips; ++s) {
    const std::size_t columns = (pairs - first + strips - s - 1) / (strips - s);
    TurnStrip(args, first, columns, args.workspace);
    const bool accumulate = args.accumulate || first > 0;
    for (std::size_t k0 = 0; k0 < args.depth; k0 += kInputs) {
      const std::size_t end = Min(k0 + kInputs, args.depth);
      for (std::size_t m = 0; m < args.outputs; m += kGroup<T>) {
        const T* turned = args.workspace + m * columns * kLanes;
        std::size_t k = k0;
        for (; k + kTile <= end; k += kTile)
          GradientTile<T, kTile>(args, first, columns, k, turned, m, accumulate);
        for (; k < end; ++k) GradientTile<T, 1>(args, first, columns, k, turned, m, accumulate);
      }
    }
    first += columns;
  }
  if (args.bias_gradient != nullptr) BiasGradient(args);
}

}  // namespace cairn::worker::nn::CAIRN_ISA
