// LayerNorm, and the per-feature passes of BatchNorm.
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
      const T* in = args.in + t * args.dim * kLanes + part;
      T* out = args.out + t * args.dim * kLanes + part;
      T* mean = args.statistics + t * 2 * kLanes + part;
      T* r = mean + kLanes;
      if (!args.statistics_known) {
        const Moments<T> m = MomentsOf(in, args.dim, args.epsilon);
        Store(mean, m.mean);
        Store(r, m.r);
      }
      const Moments<T> m{Load(mean), Load(r)};
      for (std::size_t e = 0; e < args.dim; ++e)
        Store(out + e * kLanes,
              (Load(in + e * kLanes) - m.mean) * m.r * args.gamma[e] + args.beta[e]);
    }
  }
}

// Sums of dy * xhat and dy, lane by lane; rounded up to a whole transposition.
template <typename T>
std::size_t LayerNormWorkspace(std::size_t dim) {
  return 2 * (dim + kLanes) * kLanes;
}

// u = dy * gamma;  dx = r * (u - mean(u) - xhat * mean(u * xhat)).
template <typename T>
[[gnu::always_inline]] inline void LayerNormGradientRow(const LayerNormGradientArgs<T>& args,
                                                        const Moments<T>& m, const T* in,
                                                        const T* dy, T* dx, T* dgamma, T* dbeta) {
  const T inverse = T(1) / static_cast<T>(args.dim);
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

// out[e] (+)= sum of the sixteen lanes of element e. Sums of a square of elements at a time:
// turned, they are sums of vectors.
template <typename T>
void SumRows(const T* lanes, std::size_t count, bool accumulate, T* out) {
  constexpr std::size_t n = kWidth<T>;
  for (std::size_t e = 0; e < count; e += n) {
    Vec<T> total = {};
    for (std::size_t part = 0; part < kLanes; part += n) {
      T turned[n * n];
      Transpose(lanes + e * kLanes + part, kLanes, turned, n);
      for (std::size_t i = 0; i < n; ++i) total += Load(turned + i * n);
    }
    T sum[n];
    Store(sum, total);
    for (std::size_t i = 0; i < Min(n, count - e); ++i)
      out[e + i] = accumulate ? out[e + i] + sum[i] : sum[i];
  }
}

template <typename T>
void LayerNormGradient(const LayerNormGradientArgs<T>& args) {
  const std::size_t size = LayerNormWorkspace<T>(args.dim) / 2;
  T* dgamma = args.workspace;
  T* dbeta = args.workspace + size;
  for (std::size_t i = 0; i < 2 * size; i += kWidth<T>) Store(dgamma + i, Vec<T>{});
  for (std::size_t t = 0; t < args.panels * args.tokens; ++t) {
    for (std::size_t part = 0; part < kLanes; part += kWidth<T>) {
      const std::size_t at = t * args.dim * kLanes + part;
      const T* mean = args.statistics + t * 2 * kLanes + part;
      const Moments<T> m{Load(mean), Load(mean + kLanes)};
      LayerNormGradientRow(args, m, args.in + at, args.out_gradient + at, args.in_gradient + at,
                           dgamma + part, dbeta + part);
    }
  }
  SumRows(dgamma, args.dim, args.accumulate_parameters, args.gamma_gradient);
  SumRows(dbeta, args.dim, args.accumulate_parameters, args.beta_gradient);
}

// 1 in the lanes of valid rows of panel p, from lane `part` on; 0 in the others.
template <typename T>
[[gnu::always_inline]] inline Vec<T> RowMask(std::size_t rows, std::size_t p, std::size_t part) {
  Vec<T> mask;
  for (std::size_t i = 0; i < kWidth<T>; ++i) mask[i] = p * kLanes + part + i < rows ? T(1) : T(0);
  return mask;
}

// A vector of tokens * size elements is seen as `tokens` panels one after the other.
template <typename T>
struct FeaturePanels {
  std::size_t rows, tokens;
  std::size_t panels;  // PanelsOf(rows) * tokens
  std::size_t full;    // of these, with sixteen rows
  explicit FeaturePanels(const FeatureArgs<T>& args)
      : rows(args.rows),
        tokens(args.tokens),
        panels(PanelsOf(args.rows) * args.tokens),
        full(args.rows / kLanes * args.tokens) {}
  [[gnu::always_inline]] Vec<T> Mask(std::size_t p, std::size_t part) const {
    return RowMask<T>(rows, p / tokens, part);
  }
};

template <typename T>
void FeatureMoments(const FeatureArgs<T>& args, double* mean, double* m2) {
  const FeaturePanels<T> shape(args);
  const std::size_t panel = args.size * kLanes;
  for (std::size_t e = 0; e < args.size; ++e) {
    const T* x = args.in + e * kLanes;
    Vec<T> sum = {};
    for (std::size_t p = 0; p < shape.panels; ++p)
      for (std::size_t part = 0; part < kLanes; part += kWidth<T>) {
        const Vec<T> value = Load(x + p * panel + part);
        sum += p < shape.full ? value : value * shape.Mask(p, part);
      }
    const T centre = SumLanes<T>(sum) / static_cast<T>(args.rows * args.tokens);
    Vec<T> square = {};
    for (std::size_t p = 0; p < shape.panels; ++p)
      for (std::size_t part = 0; part < kLanes; part += kWidth<T>) {
        const Vec<T> value = Load(x + p * panel + part) - centre;
        square += value * (p < shape.full ? value : value * shape.Mask(p, part));
      }
    mean[e] = static_cast<double>(centre);
    m2[e] = static_cast<double>(SumLanes<T>(square));
  }
}

// Lanes past the last row have dy = 0, so they need no mask here.
template <typename T>
void FeatureGradientSums(const FeatureArgs<T>& args, const T* mean, double* sum, double* dot) {
  const FeaturePanels<T> shape(args);
  const std::size_t panel = args.size * kLanes;
  for (std::size_t e = 0; e < args.size; ++e) {
    const T* x = args.in + e * kLanes;
    const T* dy = args.out_gradient + e * kLanes;
    Vec<T> total = {}, product = {};
    for (std::size_t p = 0; p < shape.panels; ++p)
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
void FeatureSums(const FeatureArgs<T>& args, bool accumulate, T* sums) {
  const FeaturePanels<T> shape(args);
  const std::size_t panel = args.size * kLanes;
  for (std::size_t e = 0; e < args.size; ++e) {
    const T* x = args.in == nullptr ? nullptr : args.in + e * kLanes;
    const T* dy = args.out_gradient + e * kLanes;
    Vec<T> sum = {};
    for (std::size_t p = 0; p < shape.panels; ++p)
      for (std::size_t part = 0; part < kLanes; part += kWidth<T>) {
        const Vec<T> gradient = Load(dy + p * panel + part);
        sum += x == nullptr ? gradient : gradient * Load(x + p * panel + part);
      }
    sums[e] = (accumulate ? sums[e] : T(0)) + SumLanes<T>(sum);
  }
}

template <typename T>
void FeatureAffine(const FeatureArgs<T>& args, const T* mean, const T* scale, const T* shift,
                   T* out) {
  const std::size_t panels = FeaturePanels<T>(args).panels;
  const T* in = args.in;
  for (std::size_t p = 0; p < panels; ++p)
    for (std::size_t e = 0; e < args.size; ++e, in += kLanes, out += kLanes)
      for (std::size_t part = 0; part < kLanes; part += kWidth<T>)
        Store(out + part, (Load(in + part) - mean[e]) * scale[e] + shift[e]);
}

template <typename T>
void FeatureAffineGradient(const FeatureArgs<T>& args, const FeatureGradient<T>& g, bool accumulate,
                           T* in_gradient) {
  const FeaturePanels<T> shape(args);
  const T* x = args.in;
  const T* dy = args.out_gradient;
  T* dx = in_gradient;
  for (std::size_t p = 0; p < shape.panels; ++p)
    for (std::size_t e = 0; e < args.size; ++e, x += kLanes, dy += kLanes, dx += kLanes)
      for (std::size_t part = 0; part < kLanes; part += kWidth<T>) {
        Vec<T> value =
            (Load(dy + part) - g.dy_mean[e]) * g.a[e] + (Load(x + part) - g.mean[e]) * g.b[e];
        if (p >= shape.full) value *= shape.Mask(p, part);
        Store(dx + part, accumulate ? Load(dx + part) + value : value);
      }
}

}  // namespace cairn::worker::nn::CAIRN_ISA
