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

// Vectors of the group of outputs that begins at m: kVectors, or fewer in the last group.
template <typename T>
[[gnu::always_inline]] inline std::size_t GroupVectors(std::size_t outputs, std::size_t m) {
  return Min(kVectors, (outputs - m + kWidth<T> - 1) / kWidth<T>);
}

// dy of `columns` pairs from pair `first` on -> turned[group][column][lane][width of the group],
// zero padded.
template <typename T>
void TurnStrip(const MixGradientArgs<T>& args, std::size_t first, std::size_t columns, T* turned) {
  const std::size_t row = args.columns * kLanes;
  for (std::size_t c = 0; c < columns; ++c) {
    const T* dy = args.out_gradient + (first + c) / args.columns * args.out_stride +
                  (first + c) % args.columns * kLanes;
    for (std::size_t g = 0; g < args.outputs; g += kGroup<T>) {
      const std::size_t width = GroupVectors<T>(args.outputs, g) * kWidth<T>;
      T* out = turned + g * columns * kLanes + c * kLanes * width;
      for (std::size_t m = g; m < Min(g + width, args.outputs); m += kWidth<T>) {
        T* to = out + m - g;
        if (m + kWidth<T> <= args.outputs) {
          for (std::size_t lane = 0; lane < kLanes; lane += kWidth<T>)
            Transpose(dy + m * row + lane, row, to + lane * width, width);
          continue;
        }
        for (std::size_t lane = 0; lane < kLanes; ++lane)
          for (std::size_t i = 0; i < kWidth<T>; ++i)
            to[lane * width + i] = m + i < args.outputs ? dy[(m + i) * row + lane] : T(0);
      }
    }
  }
}

// (panel, column) pairs whose dy were turned.
template <typename T>
struct GradientStrip {
  std::size_t columns = 0;
  // x of each pair; behind them the first two again, a tile of rows further: what is needed next.
  const T* x[kStripColumns + 2];
  bool accumulate = false;
};

template <typename T>
GradientStrip<T> MakeStrip(const MixGradientArgs<T>& args, std::size_t first, std::size_t columns) {
  GradientStrip<T> strip;
  strip.columns = columns;
  for (std::size_t c = 0; c < columns; ++c)
    strip.x[c] =
        args.in + (first + c) / args.columns * args.in_stride + (first + c) % args.columns * kLanes;
  for (std::size_t c = 0; c < 2; ++c)
    strip.x[columns + c] = strip.x[c % columns] + kTile * args.columns * kLanes;
  strip.accumulate = args.accumulate || first > 0;
  return strip;
}

template <typename T, std::size_t NV>
[[gnu::always_inline]] inline void StoreRow(T* out, const Vec<T> (&sum)[NV], std::size_t valid,
                                            bool accumulate) {
  if (valid >= NV * kWidth<T>) {
#pragma GCC unroll 4
    for (std::size_t v = 0; v < NV; ++v) {
      T* to = out + v * kWidth<T>;
      Store(to, accumulate ? sum[v] + Load(to) : sum[v]);
    }
    return;
  }
  T edge[NV * kWidth<T>];
#pragma GCC unroll 4
  for (std::size_t v = 0; v < NV; ++v) Store(edge + v * kWidth<T>, sum[v]);
  for (std::size_t j = 0; j < valid; ++j) out[j] = accumulate ? out[j] + edge[j] : edge[j];
}

// dW rows [k, k + ROWS), outputs of one group of NV vectors from m on.
template <typename T, std::size_t ROWS, std::size_t NV>
[[gnu::always_inline]] inline void GradientTile(const MixGradientArgs<T>& args,
                                                const GradientStrip<T>& strip, std::size_t k,
                                                const T* turned, std::size_t m) {
  const std::size_t row = args.columns * kLanes;
  Vec<T> sum[ROWS][NV] = {};
  T* out = args.weight_gradient + k * args.outputs + m;
#pragma GCC unroll 8
  for (std::size_t i = 0; i < ROWS; ++i) {
#pragma GCC unroll 4
    for (std::size_t v = 0; v <= NV; ++v)
      __builtin_prefetch(out + i * args.outputs + v * kWidth<T>, 1);
  }
  for (std::size_t c = 0; c < strip.columns; ++c) {
    const T* x = strip.x[c] + k * row;
    const T* next = strip.x[c + 2] + k * row;
#pragma GCC unroll 8
    for (std::size_t i = 0; i < ROWS; ++i) __builtin_prefetch(next + i * row);
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      Vec<T> right[NV];
#pragma GCC unroll 4
      for (std::size_t v = 0; v < NV; ++v) right[v] = Load(turned + v * kWidth<T>);
#pragma GCC unroll 8
      for (std::size_t i = 0; i < ROWS; ++i) {
        const Vec<T> left = Broadcast(x[i * row]);
#pragma GCC unroll 4
        for (std::size_t v = 0; v < NV; ++v) sum[i][v] += left * right[v];
      }
      ++x;
      turned += NV * kWidth<T>;
    }
  }
  const std::size_t valid = args.outputs - m;
#pragma GCC unroll 8
  for (std::size_t i = 0; i < ROWS; ++i)
    StoreRow<T, NV>(out + i * args.outputs, sum[i], valid, strip.accumulate);
}

// dW rows [k0, end) of one group, and with k0 = 0 the bias: a row whose x is 1.
template <typename T, std::size_t NV>
void GradientGroup(const MixGradientArgs<T>& args, const GradientStrip<T>& strip, std::size_t k0,
                   std::size_t end, std::size_t m) {
  const T* turned = args.workspace + m * strip.columns * kLanes;
  std::size_t k = k0;
  for (; k + kTile <= end; k += kTile) GradientTile<T, kTile, NV>(args, strip, k, turned, m);
  for (; k < end; ++k) GradientTile<T, 1, NV>(args, strip, k, turned, m);
  if (args.bias_gradient == nullptr || k0 > 0) return;
  Vec<T> sum[NV] = {};
  for (std::size_t i = 0; i < strip.columns * kLanes; ++i)
#pragma GCC unroll 4
    for (std::size_t v = 0; v < NV; ++v) sum[v] += Load(turned + (i * NV + v) * kWidth<T>);
  StoreRow<T, NV>(args.bias_gradient + m, sum, args.outputs - m, strip.accumulate);
}

template <typename T>
void MixWeightGradient(const MixGradientArgs<T>& args) {
  const std::size_t pairs = args.panels * args.columns;
  const std::size_t strips = (pairs + kStripColumns - 1) / kStripColumns;
  std::size_t first = 0;
  for (std::size_t s = 0; s < strips; ++s) {
    const std::size_t columns = (pairs - first + strips - s - 1) / (strips - s);
    const GradientStrip<T> strip = MakeStrip(args, first, columns);
    TurnStrip(args, first, columns, args.workspace);
    for (std::size_t k0 = 0; k0 < args.depth; k0 += kInputs) {
      const std::size_t end = Min(k0 + kInputs, args.depth);
      for (std::size_t m = 0; m < args.outputs; m += kGroup<T>) {
        switch (GroupVectors<T>(args.outputs, m)) {
          case 1:
            GradientGroup<T, 1>(args, strip, k0, end, m);
            break;
          case 2:
            GradientGroup<T, 2>(args, strip, k0, end, m);
            break;
          default:
            GradientGroup<T, 3>(args, strip, k0, end, m);
        }
      }
    }
    first += columns;
  }
}

}  // namespace cairn::worker::nn::CAIRN_ISA
