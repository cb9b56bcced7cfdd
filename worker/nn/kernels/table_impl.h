// The table of all kernels of this instruction set.
#pragma once

#include "worker/nn/kernels/activation_impl.h"
#include "worker/nn/kernels/attention_impl.h"
#include "worker/nn/kernels/elementwise_impl.h"
#include "worker/nn/kernels/exp_impl.h"
#include "worker/nn/kernels/lane_product_impl.h"
#include "worker/nn/kernels/mix_gradient_impl.h"
#include "worker/nn/kernels/norm_impl.h"
#include "worker/nn/kernels/rotate_impl.h"

namespace cairn::worker::nn::CAIRN_ISA {

template <typename T>
constexpr Kernels<T> MakeTable(const char* name) {
  Kernels<T> table;
  table.name = name;
  table.tile_outputs = kTile;
  table.pack_weights = &PackWeights<T>;
  table.mix = &Mix<T>;
  table.mix_weight_gradient = &MixWeightGradient<T>;
  table.mix_gradient_workspace = &MixGradientWorkspace<T>;
  table.lane_product = &LaneProduct<T>;
  table.attention = &Attention<T>;
  table.attention_gradient = &AttentionGradient<T>;
  table.attention_workspace = &AttentionWorkspace<T>;
  table.rotate = &Rotate<T>;
  table.layer_norm = &LayerNorm<T>;
  table.layer_norm_workspace = &LayerNormWorkspace<T>;
  table.layer_norm_gradient = &LayerNormGradient<T>;
  table.feature_moments = &FeatureMoments<T>;
  table.feature_gradient_sums = &FeatureGradientSums<T>;
  table.feature_affine = &FeatureAffine<T>;
  table.feature_affine_gradient = &FeatureAffineGradient<T>;
  table.feature_sums = &FeatureSums<T>;
  table.relu = &Relu<T>;
  table.relu_gradient = &ReluGradient<T>;
  table.add = &Add<T>;
  table.exp = &ExpOf<T>;
  table.subtract = &Subtract<T>;
  table.multiply = &Multiply<T>;
  table.scale = &Scale<T>;
  table.scale_tokens = &ScaleTokens<T>;
  table.dot_tokens = &DotTokens<T>;
  table.sigmoid = &Sigmoid<T>;
  table.sigmoid_gradient = &SigmoidGradient<T>;
  table.swish = &Swish<T>;
  table.swish_gradient = &SwishGradient<T>;
  table.gelu = &Gelu<T>;
  table.gelu_gradient = &GeluGradient<T>;
  table.floor = &Floor<T>;
  table.floor_gradient = &FloorGradient<T>;
  table.dropout = &Dropout<T>;
  return table;
}

}  // namespace cairn::worker::nn::CAIRN_ISA
