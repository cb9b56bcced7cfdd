// Per-row products: every lane multiplies its own small matrices.
#pragma once

#include "worker/nn/kernels/kernels.h"
#include "worker/nn/kernels/simd.h"

namespace cairn::worker::nn::CAIRN_ISA {

#if CAIRN_VECTOR_BYTES == 64
inline constexpr std::size_t kLaneRows = 4, kLaneColumns = 6;
#else
inline constexpr std::size_t kLaneRows = 3, kLaneColumns = 3;
#endif

template <typename T, std::size_t ROWS, std::size_t COLUMNS>
[[gnu::always_inline]] inline void LaneTile(const LaneProductArgs<T>& args, const T* a, const T* b,
                                            T* c) {
  Vec<T> sum[ROWS][COLUMNS] = {};
  const std::size_t a_row = args.a.row * kLanes, b_column = args.b.column * kLanes;
  for (std::size_t k = 0; k < args.depth; ++k) {
    Vec<T> right[COLUMNS];
#pragma GCC unroll 6
    for (std::size_t j = 0; j < COLUMNS; ++j) right[j] = Load(b + j * b_column);
#pragma GCC unroll 4
    for (std::size_t i = 0; i < ROWS; ++i) {
      const Vec<T> left = Load(a + i * a_row);
#pragma GCC unroll 6
      for (std::size_t j = 0; j < COLUMNS; ++j) sum[i][j] += left * right[j];
    }
    a += args.a.column * kLanes;
    b += args.b.row * kLanes;
  }
#pragma GCC unroll 4
  for (std::size_t i = 0; i < ROWS; ++i) {
#pragma GCC unroll 6
    for (std::size_t j = 0; j < COLUMNS; ++j) {
      T* out = c + (i * args.c.row + j * args.c.column) * kLanes;
      Store(out, args.accumulate ? Load(out) + sum[i][j] : sum[i][j]);
    }
  }
}

template <typename T, std::size_t ROWS>
[[gnu::always_inline]] inline void LaneRow(const LaneProductArgs<T>& args, const T* a, const T* b,
                                           T* c) {
  const std::size_t b_column = args.b.column * kLanes, c_column = args.c.column * kLanes;
  std::size_t j = 0;
  for (; j + kLaneColumns <= args.columns; j += kLaneColumns)
    LaneTile<T, ROWS, kLaneColumns>(args, a, b + j * b_column, c + j * c_column);
  if constexpr (kLaneColumns > 4)
    for (; j + 4 <= args.columns; j += 4)
      LaneTile<T, ROWS, 4>(args, a, b + j * b_column, c + j * c_column);
  for (; j + 2 <= args.columns; j += 2)
    LaneTile<T, ROWS, 2>(args, a, b + j * b_column, c + j * c_column);
  for (; j < args.columns; ++j) LaneTile<T, ROWS, 1>(args, a, b + j * b_column, c + j * c_column);
}

template <typename T>
void LaneProduct(const LaneProductArgs<T>& args) {
  const std::size_t a_row = args.a.row * kLanes, c_row = args.c.row * kLanes;
  for (std::size_t p = 0; p < args.panels; ++p) {
    for (std::size_t part = 0; part < kLanes; part += kWidth<T>) {
      const T* a = args.a.data + p * args.a.panel_stride + part;
      const T* b = args.b.data + p * args.b.panel_stride + part;
      T* c = args.c.data + p * args.c.panel_stride + part;
      std::size_t i = 0;
      for (; i + kLaneRows <= args.rows; i += kLaneRows)
        LaneRow<T, kLaneRows>(args, a + i * a_row, b, c + i * c_row);
      for (; i + 2 <= args.rows; i += 2) LaneRow<T, 2>(args, a + i * a_row, b, c + i * c_row);
      for (; i < args.rows; ++i) LaneRow<T, 1>(args, a + i * a_row, b, c + i * c_row);
    }
  }
}

}  // namespace cairn::worker::nn::CAIRN_ISA
