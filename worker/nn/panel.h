// How activations lie in memory.
//
// Rows of the batch are taken sixteen at a time; sixteen rows are a panel. Element e of row r of a
// tensor with `size` elements per row lies at
//
//   ((r / 16) * size + e) * 16 + r % 16
//
// so that one vector register holds the same element of sixteen rows (one row per lane). All of a
// model's arithmetic is then the same whatever the shapes are: a product with a weight matrix
// multiplies vectors by broadcast weights, per-row products and norms never cross lanes, and no
// width or dimension is too small or too odd for full vectors. Lanes past the last row of the batch
// are computed and ignored: they start as zeros, and their gradients are zero.
#pragma once

#include <cstddef>

namespace cairn::worker::nn {

inline constexpr std::size_t kLanes = 16;

constexpr std::size_t PanelsOf(std::size_t rows) { return (rows + kLanes - 1) / kLanes; }

// Index of element `element` of row `row`, for a tensor of `size` elements per row.
constexpr std::size_t PanelIndex(std::size_t row, std::size_t size, std::size_t element) {
  return ((row / kLanes) * size + element) * kLanes + row % kLanes;
}

}  // namespace cairn::worker::nn
