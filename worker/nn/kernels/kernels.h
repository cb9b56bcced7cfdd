// The compute kernels of one instruction set, as a table of functions.
//
// All activations are in panels (worker/nn/panel.h). A kernel handles `panels` consecutive panels
// of a block on the calling thread; none allocates, locks or fails. Pointers must not overlap
// unless said so.
#pragma once

#include <cstddef>
#include <cstdint>

#include "worker/nn/gemm.h"
#include "worker/nn/isa.h"
#include "worker/nn/panel.h"

namespace cairn::worker::nn {

// Per-row products: c[m, n] (+)= sum over k of a[m, k] * b[k, n], every lane (row) on its own.
// Element (i, j) of an operand lies at base + panel * panel_stride + (i * row + j * column) * 16.
template <typename T>
struct LaneOperand {
  T* data = nullptr;
  std::size_t panel_stride = 0;
  std::size_t row = 0;
  std::size_t column = 0;
};
template <typename T>
struct LaneProductArgs {
  std::size_t rows = 0, columns = 0, depth = 0;  // m, n, k
  std::size_t panels = 0;
  LaneOperand<const T> a;
  LaneOperand<const T> b;
  LaneOperand<T> c;
  bool accumulate = false;
};

// LayerNorm over the last dimension of [tokens, dim]: y = gamma * (x - mean) * r + beta with
// r = 1 / sqrt(biased variance + epsilon).
template <typename T>
struct LayerNormArgs {
  std::size_t panels = 0, tokens = 0, dim = 0;
  T epsilon = 0;
  const T* in = nullptr;
  const T* gamma = nullptr;  // [dim]
  const T* beta = nullptr;   // [dim]
  T* out = nullptr;          // may be `in`
  // [panels][tokens][2][16]: mean and r; written, or read if they are known already.
  T* statistics = nullptr;
  bool statistics_known = false;
};
// models.md 2.2.
template <typename T>
struct LayerNormGradientArgs {
  std::size_t panels = 0, tokens = 0, dim = 0;
  const T* in = nullptr;
  const T* gamma = nullptr;
  const T* statistics = nullptr;  // as layer_norm left them
  const T* out_gradient = nullptr;
  T* in_gradient = nullptr;
  bool accumulate_input = false;
  T* gamma_gradient = nullptr;  // [dim]
  T* beta_gradient = nullptr;   // [dim]
  bool accumulate_parameters = false;
  T* workspace = nullptr;  // layer_norm_workspace(dim) floats, 64-byte aligned
};

// Per-feature work of BatchNorm on [tokens, size] elements of `rows` rows (the last panel may be
// part). A feature's rows times tokens are taken together.
template <typename T>
struct FeatureArgs {
  std::size_t rows = 0, tokens = 1, size = 0;
  const T* in = nullptr;
  const T* out_gradient = nullptr;
};

template <typename T>
struct FeatureGradient {
  const T* a = nullptr;
  const T* dy_mean = nullptr;
  const T* b = nullptr;
  const T* mean = nullptr;
};

// Scaled dot-product attention between the tokens of a row, worker/nn/ops/attention.h. Tensors are
// whole panels: q [queries, dim], k [keys, dim], v [keys, value_dim].
template <typename T>
struct AttentionShape {
  std::size_t queries = 0, keys = 0;
  std::size_t heads = 1, dim = 0, value_dim = 0;
  T scale = 1;
  bool softmax = true;
};
template <typename T>
struct AttentionArgs {
  AttentionShape<T> shape;
  std::size_t panels = 0;
  const T* q = nullptr;
  const T* k = nullptr;
  const T* v = nullptr;
  // A key is active where all masks that are not null allow it.
  const T* key_mask = nullptr;  // [keys]: not 0
  const T* ranks = nullptr;     // [queries, keys]: below active_ranks
  T active_ranks = 0;
  const std::uint8_t* pairs = nullptr;  // [queries * keys], the same for all rows: not 0
  bool diagonal = false;                // key i is active for query i, whatever the masks say
  T* out = nullptr;                     // [queries, value_dim]; not used by the gradient
  // [panels][heads][queries][2][16]: largest score and 1 / sum of exponentials; written, or read by
  // the gradient. Not used without softmax.
  T* statistics = nullptr;
  T* workspace = nullptr;  // attention_workspace(shape) floats, 64-byte aligned
};
template <typename T>
struct AttentionGradientArgs {
  AttentionArgs<T> forward;
  const T* out = nullptr;  // what the forward pass gave; not used without softmax
  const T* out_gradient = nullptr;
  // Null: not wanted. They may be one array if all but the first of them accumulate.
  T* q_gradient = nullptr;
  T* k_gradient = nullptr;
  T* v_gradient = nullptr;
  bool accumulate_q = false, accumulate_k = false, accumulate_v = false;
};

// Turns pairs of neighbouring values by fixed angles, or back (`inverse`).
template <typename T>
struct RotateArgs {
  std::size_t panels = 0, pairs = 0;
  const T* cosine = nullptr;  // [pairs]
  const T* sine = nullptr;
  bool inverse = false;
  const T* in = nullptr;  // [panels][pairs][2][16]
  T* out = nullptr;
  bool accumulate = false;
};

template <typename T>
struct Kernels {
  const char* name = "";

  // Outputs are packed in tiles of this many; a packed matrix has depth * PackedOutputs floats.
  std::size_t tile_outputs = 0;
  // Packs tiles [first_tile, end_tile).
  void (*pack_weights)(const WeightView<T>& weights, std::size_t first_tile, std::size_t end_tile,
                       T* packed) = nullptr;
  void (*mix)(const MixArgs<T>& args) = nullptr;
  void (*mix_weight_gradient)(const MixGradientArgs<T>& args) = nullptr;
  std::size_t (*mix_gradient_workspace)(std::size_t outputs) = nullptr;

  void (*lane_product)(const LaneProductArgs<T>& args) = nullptr;

  void (*attention)(const AttentionArgs<T>& args) = nullptr;
  void (*attention_gradient)(const AttentionGradientArgs<T>& args) = nullptr;
  std::size_t (*attention_workspace)(const AttentionShape<T>& shape) = nullptr;
  void (*rotate)(const RotateArgs<T>& args) = nullptr;

  void (*layer_norm)(const LayerNormArgs<T>& args) = nullptr;
  std::size_t (*layer_norm_workspace)(std::size_t dim) = nullptr;
  void (*layer_norm_gradient)(const LayerNormGradientArgs<T>& args) = nullptr;

  // mean[e], and m2[e] = sum over rows of (x - mean)^2.
  void (*feature_moments)(const FeatureArgs<T>& args, double* mean, double* m2) = nullptr;
  // sum[e] = sum over rows of dy; dot[e] = sum of dy * (x - mean[e]).
  void (*feature_gradient_sums)(const FeatureArgs<T>& args, const T* mean, double* sum,
                                double* dot) = nullptr;
  // y[e] = (x[e] - mean[e]) * scale[e] + shift[e].
  void (*feature_affine)(const FeatureArgs<T>& args, const T* mean, const T* scale, const T* shift,
                         T* out) = nullptr;
  // dx[e] (+)= a[e] * (dy[e] - dy_mean[e]) + b[e] * (x[e] - mean[e]); 0 in lanes past the last row.
  void (*feature_affine_gradient)(const FeatureArgs<T>& args, const FeatureGradient<T>& gradient,
                                  bool accumulate, T* in_gradient) = nullptr;

  // sums[e] (+)= sum over rows and tokens of dy * x, or of dy where `in` is null. Lanes past the
  // last row must have dy = 0.
  void (*feature_sums)(const FeatureArgs<T>& args, bool accumulate, T* sums) = nullptr;

  // Element by element over n contiguous values; out may be an input.
  void (*relu)(const T* in, std::size_t n, T* out) = nullptr;
  // dx (+)= dy where in > 0.
  void (*relu_gradient)(const T* in, const T* out_gradient, std::size_t n, bool accumulate,
                        T* in_gradient) = nullptr;
  void (*add)(const T* a, const T* b, std::size_t n, T* out) = nullptr;
  // n a multiple of 16. Relative error below 1e-7 in float; below the smallest normal number: 0.
  void (*exp)(const T* in, std::size_t n, T* out) = nullptr;
  void (*subtract)(const T* a, const T* b, std::size_t n, T* out) = nullptr;
  // out (+)= a * b; out (+)= factor * in.
  void (*multiply)(const T* a, const T* b, std::size_t n, bool accumulate, T* out) = nullptr;
  void (*scale)(const T* in, T factor, std::size_t n, bool accumulate, T* out) = nullptr;
  // [tokens][dim][16] and [tokens][16]: out[t][j] (+)= in[t][j] * weights[t].
  void (*scale_tokens)(const T* in, const T* weights, std::size_t tokens, std::size_t dim,
                       bool accumulate, T* out) = nullptr;
  // out[t] (+)= sum over j of a[t][j] * b[t][j].
  void (*dot_tokens)(const T* a, const T* b, std::size_t tokens, std::size_t dim, bool accumulate,
                     T* out) = nullptr;
  // The gradients are dx (+)= dy * y'; that of the sigmoid reads its output, the others the input.
  void (*sigmoid)(const T* in, std::size_t n, T* out) = nullptr;
  void (*sigmoid_gradient)(const T* out, const T* out_gradient, std::size_t n, bool accumulate,
                           T* in_gradient) = nullptr;
  void (*swish)(const T* in, std::size_t n, T* out) = nullptr;
  void (*swish_gradient)(const T* in, const T* out_gradient, std::size_t n, bool accumulate,
                         T* in_gradient) = nullptr;
  void (*gelu)(const T* in, std::size_t n, T* out) = nullptr;
  void (*gelu_gradient)(const T* in, const T* out_gradient, std::size_t n, bool accumulate,
                        T* in_gradient) = nullptr;
  // max(in, floor).
  void (*floor)(const T* in, T floor, std::size_t n, T* out) = nullptr;
  void (*floor_gradient)(const T* in, T floor, const T* out_gradient, std::size_t n,
                         bool accumulate, T* in_gradient) = nullptr;
  // [panels][size][16]: out (+)= in * mask / (1 - p), the mask a function of (row_keys, element):
  // row_keys [panels * 16] are 32-bit hashes of (seed, step, op, row).
  void (*dropout)(const T* in, const std::uint32_t* row_keys, std::size_t panels, std::size_t size,
                  float rate, bool accumulate, T* out) = nullptr;
};

// kBest gives the fastest set that this CPU can run; null if it cannot run `isa`. For double there
// is only the generic set, which is returned for every `isa` that the CPU can run.
template <typename T>
const Kernels<T>* FindKernels(Isa isa);

constexpr std::size_t RoundUp(std::size_t n, std::size_t unit) {
  return (n + unit - 1) / unit * unit;
}

// Floats of a packed weight matrix.
template <typename T>
std::size_t PackedFloats(const Kernels<T>& kernels, std::size_t depth, std::size_t outputs) {
  return depth * RoundUp(outputs, kernels.tile_outputs);
}

}  // namespace cairn::worker::nn
