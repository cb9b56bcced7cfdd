// LayerNorm, and the per-feature passes of BatchNorm. Equations: models.md 2.2 and 2.3.
#pragma once

#include "worker/nn/kernels/kernels.h"
#include "worker/nn/kernels/simd.h"

namespace cairn::worker::nn::CAIRN_ISA {

template <typename T>
struct Moments {
  Vec<T> mean;
  Vec<T> r;  // 1 / sqrt(variance + epsilon)
};

template <typename T>
[[gnu::always_inline]] inline Vec<T> InverseRoot(Vec<T> v) {
  T lane[kWidth<T>];
  Store(lane, v);
  for (std::size_t i = 0; i < kWidth<T>; ++i) lane[i] = T(1) / SquareRoot(lane[i]);
  return Load(lane);
}

// Of `dim` vectors that lie 16 values apart. Four sums at a time hide the latency of the addition.
template <typename T>
[[gnu::always_inline]] inline Moments<T> MomentsOf(const T* x, std::size_t dim, T epsilon) {
  const T inverse = T(1) / static_cast<T>(dim);
  Vec<T> sum[4] = {};
  std::size_t e = 0;
  for (; e + 4 <= dim; e += 4)
    for (std::size_t i = 0; i < 4; ++i) sum[i] += Load(x + (e + i) * kLanes);
  for (; e < dim; ++e) sum[0] += Load(x + e * kLanes);
  const Vec<T> mean = ((sum[0] + sum[1]) + (sum[2] + sum[3])) * inverse;
  Vec<T> square[4] = {};
  for (e = 0; e + 4 <= dim; e += 4)
    for (std::size_t i = 0; i < 4; ++i) {
      const Vec<T> centred = Load(x + (e + i) * kLanes) - mean;
      square[i] += centred * centred;
    }
  for (; e < dim; ++e) {
    const Vec<T> centred = Load(x + e * kLanes) - mean;
    square[0] += centred * centred;
  }
  const Vec<T> variance = ((square[0] + square[1]) + (square[2] + square[3])) * inverse;
  return {mean, InverseRoot<T>(variance + epsilon)};
}

template <typename T>
void LayerNorm(const LayerNormArgs<T>& args) {
  for (std::size_t t = 0; t < args.panels * args.tokens; ++t) {
    for (std::size_t part = 0; part < kLanes; part += kWidth<T>) {
      const std::size_t at = t * args.dim * kLanes + part;
      const T* in = args.in + at;
      T* out = args.out + at;
      const Moments<T> m = MomentsOf(in, args.dim, args.epsilon);
      for (std::size_t e = 0; e < args.dim; ++e)
        Store(out + e * kLanes,
              (Load(in + e * kLanes) - m.mean) * m.r * args.gamma[e] + args.beta[e]);
    }
  }
}

// u = dy * gamma;  dx = r * (u - mean(u) - xhat * mean(u * xhat));  sums of dy and dy * xhat over
// rows and tokens go to workspace, lane by lane.
template <typename T>
[[gnu::always_inline]] inline void LayerNormGradientRow(const LayerNormGradientArgs<T>& args,
                                                        const T* in, const T* dy, T* dx, T* dgamma,
                                                        T* dbeta) {
  const T inverse = T(1) / static_cast<T>(args.dim);
  const Moments<T> m = MomentsOf(in, args.dim, args.epsilon);
  Vec<T> mean_u = {}, mean_ux = {};
  for (std::size_t e = 0; e < args.dim; ++e) {
    const Vec<T> normal = (Load(in + e * kLanes) - m.mean) * m.r;
    const Vec<T> gradient = Load(dy + e * kLanes);
    const Vec<T> product = gradient * normal;
    Store(dgamma + e * kLanes, Load(dgamma + e * kLanes) + product);
    Store(dbeta + e * kLanes, Load(dbeta + e * kLanes) + gradient);
    mean_u += gradient * args.gamma[e];
    mean_ux += product * args.gamma[e];
  }
  mean_u *= inverse;
  mean_ux *= inverse;
  for (std::size_t e = 0; e < args.dim; ++e) {
    const Vec<T> normal = (Load(in + e * kLanes) - m.mean) * m.r;
    const Vec<T> u = Load(dy + e * kLanes) * args.gamma[e];
    const Vec<T> value = m.r * (u - mean_u - normal * mean_ux);
    T* to = dx + e * kLanes;
    Store(to, args.accumulate_input ? Load(to) + value : value);
  }
}

template <typename T>
void LayerNormGradient(const LayerNormGradientArgs<T>& args) {
  T* dgamma = args.workspace;
  T* dbeta = args.workspace + args.dim * kLanes;
  for (std::size_t i = 0; i < 2 * args.dim * kLanes; i += kWidth<T>) Store(dgamma + i, Vec<T>{});
  for (std::size_t t = 0; t < args.panels * args.tokens; ++t) {
    for (std::size_t part = 0; part < kLanes; part += kWidth<T>) {
      const std::size_t at = t * args.dim * kLanes + part;
      LayerNormGradientRow(args, args.in + at, args.out_gradient + at, args.in_gradient + at,
                           dgamma + part, dbeta + part);
    }
  }
  for (std::size_t e = 0; e < args.dim; ++e) {
    Vec<T> gamma = {}, beta = {};
    for (std::size_t part = 0; part < kLanes; part += kWidth<T>) {
      gamma += Load(dgamma + e * kLanes + part);
      beta += Load(dbeta + e * kLanes + part);
    }
    const T g = SumLanes<T>(gamma), b = SumLanes<T>(beta);
    args.gamma_gradient[e] = args.accumulate_parameters ? args.gamma_gradient[e] + g : g;
    args.beta_gradient[e] = args.accumulate_parameters ? args.beta_gradient[e] + b : b;
  }
}

// 1 in the lanes of valid rows of panel p, from lane `part` on; 0 in the others.
template <typename T>
[[gnu::always_inline]] inline Vec<T> RowMask(std::size_t rows, std::size_t p, std::size_t part) {
  Vec<T> mask;
  for (std::size_t i = 0; i < kWidth<T>; ++i) mask[i] = p * kLanes + part + i < rows ? T(1) : T(0);
  return mask;
}

template <typename T>
void FeatureMoments(const FeatureArgs<T>& args, double* mean, double* m2) {
  const std::size_t full = args.rows / kLanes, panels = PanelsOf(args.rows);
  const std::size_t panel = args.size * kLanes;
  for (std::size_t e = 0; e < args.size; ++e) {
    const T* x = args.in + e * kLanes;
    Vec<T> sum = {};
    for (std::size_t p = 0; p < panels; ++p)
      for (std::size_t part = 0; part < kLanes; part += kWidth<T>) {
        const Vec<T> value = Load(x + p * panel + part);
        sum += p < full ? value : value * RowMask<T>(args.rows, p, part);
      }
    const T centre = SumLanes<T>(sum) / static_cast<T>(args.rows);
    Vec<T> square = {};
    for (std::size_t p = 0; p < panels; ++p)
      for (std::size_t part = 0; part < kLanes; part += kWidth<T>) {
        const Vec<T> value = Load(x + p * panel + part) - centre;
        square += value * (p < full ? value : value * RowMask<T>(args.rows, p, part));
      }
    mean[e] = static_cast<double>(centre);
    m2[e] = static_cast<double>(SumLanes<T>(square));
  }
}

// Lanes past the last row have dy = 0, so they need no mask here.
template <typename T>
void FeatureGradientSums(const FeatureArgs<T>& args, const T* mean, double* sum, double* dot) {
  const std::size_t panels = PanelsOf(args.rows), panel = args.size * kLanes;
  for (std::size_t e = 0; e < args.size; ++e) {
    const T* x = args.in + e * kLanes;
    const T* dy = args.out_gradient + e * kLanes;
    Vec<T> total = {}, product = {};
    for (std::size_t p = 0; p < panels; ++p)
      for (std::size_t part = 0; part < kLanes; part += kWidth<T>) {
        const Vec<T> gradient = Load(dy + p * panel + part);
        total += gradient;
        product += gradient * (Load(x + p * panel + part) - mean[e]);
      }
    sum[e] = static_cast<double>(SumLanes<T>(total));
    dot[e] = static_cast<double>(SumLanes<T>(product));
  }
}

template <typename T>
void FeatureAffine(const FeatureArgs<T>& args, const T* mean, const T* scale, const T* shift,
                   T* out) {
  const std::size_t panels = PanelsOf(args.rows);
  const T* in = args.in;
  for (std::size_t p = 0; p < panels; ++p)
    for (std::size_t e = 0; e < args.size; ++e, in += kLanes, out += kLanes)
      for (std::size_t part = 0; part < kLanes; part += kWidth<T>)
        Store(out + part, (Load(in + part) - mean[e]) * scale[e] + shift[e]);
}

template <typename T>
void FeatureAffineGradient(const FeatureArgs<T>& args, const FeatureGradient<T>& g, bool accumulate,
                           T* in_gradient) {
  const std::size_t full = args.rows / kLanes, panels = PanelsOf(args.rows);
  const T* x = args.in;
  const T* dy = args.out_gradient;
  T* dx = in_gradient;
  for (std::size_t p = 0; p < panels; ++p)
    for (std::size_t e = 0; e < args.size; ++e, x += kLanes, dy += kLanes, dx += kLanes)
      for (std::size_t part = 0; part < kLanes; part += kWidth<T>) {
        Vec<T> value =
            (Load(dy + part) - g.dy_mean[e]) * g.a[e] + (Load(x + part) - g.mean[e]) * g.b[e];
        if (p >= full) value *= RowMask<T>(args.rows, p, part);
        Store(dx + part, accumulate ? Load(dx + part) + value : value);
      }
}

}  // namespace cairn::worker::nn::CAIRN_ISA
