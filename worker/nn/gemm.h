// Products of activations with weight matrices: arguments of the kernels mix, pack_weights and
// mix_weight_gradient of worker/nn/kernels/kernels.h.
//
// For every row of the batch, x [depth, columns] is mixed into y [outputs, columns]:
//
//   y[m, c] = sum over k of W[k, m] * x[k, c]   (+ bias[m])          W [depth, outputs], row-major
//
// columns = 1 is a linear layer y = x W; columns = d mixes tokens, Y = W^T X. In panels (panel.h)
// both are one product: the right operand's columns are (panel, c, lane), all of them contiguous
// vectors of rows, so neither operand has to be transposed.
//
//   forward           y = mix(x, W)                              NN
//   input gradient    dx = mix(dy, W^T)                          NT: the transposed packing of W
//   weight gradient   dW[k, m] += sum over rows, c of x[k, c] * dy[m, c]     TN
#pragma once

#include <cstddef>

namespace cairn::worker::nn {

// A weight matrix seen as [depth, outputs]: element (k, m) is data[k * stride_k + m * stride_m].
// (stride_k, stride_m) = (outputs, 1) for W and (1, depth of W's rows) for its transpose.
template <typename T>
struct WeightView {
  const T* data = nullptr;
  std::size_t depth = 0;
  std::size_t outputs = 0;
  std::size_t stride_k = 0;
  std::size_t stride_m = 0;
};

template <typename T>
struct MixArgs {
  const T* packed = nullptr;  // weights as pack_weights left them
  std::size_t depth = 0;
  std::size_t outputs = 0;
  const T* in = nullptr;       // panel p at in + p * in_stride: [depth][columns][16]
  std::size_t in_stride = 0;   // floats, >= depth * columns * 16
  T* out = nullptr;            // panel p at out + p * out_stride: [outputs][columns][16]
  std::size_t out_stride = 0;  // floats, >= outputs * columns * 16
  std::size_t panels = 0;
  std::size_t columns = 1;
  const T* bias = nullptr;  // [outputs] or null; not with accumulate
  bool accumulate = false;  // add to out instead of overwriting it
};

template <typename T>
struct MixGradientArgs {
  std::size_t depth = 0;
  std::size_t outputs = 0;
  const T* in = nullptr;  // x, as in MixArgs
  std::size_t in_stride = 0;
  const T* out_gradient = nullptr;  // dy, as out in MixArgs
  std::size_t out_stride = 0;
  std::size_t panels = 0;
  std::size_t columns = 1;
  T* weight_gradient = nullptr;  // [depth, outputs] row-major
  T* bias_gradient = nullptr;    // [outputs] or null
  bool accumulate = false;       // add to the gradients instead of overwriting them
  T* workspace = nullptr;        // mix_gradient_workspace(outputs) floats, 64-byte aligned
};

}  // namespace cairn::worker::nn
