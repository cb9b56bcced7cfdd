// Attention, and the rotation of RoPE. Scores are made for a few queries of one panel and head at a
// time, so that they stay in the nearest caches, and never leave the workspace.
#pragma once

#include "worker/nn/kernels/exp_impl.h"
#include "worker/nn/kernels/lane_product_impl.h"

namespace cairn::worker::nn::CAIRN_ISA {

// Queries whose scores are made at once.
inline constexpr std::size_t kQueries = 16;

// Where a head's arrays lie in the workspace.
struct AttentionRoom {
  std::size_t n, m, d, v;      // queries, keys, width of a head's keys and of its values
  std::size_t query;           // [n][d], times the scale
  std::size_t key;             // [m][d]
  std::size_t value;           // [m][v]
  std::size_t scores;          // [kQueries][m]
  std::size_t out_gradient;    // [n][v]; from here on for the gradient only
  std::size_t query_gradient;  // [kQueries][d]
  std::size_t key_gradient;    // [m][d]
  std::size_t value_gradient;  // [m][v]
  std::size_t score_gradient;  // [kQueries][m]
  std::size_t end = 0;

  template <typename T>
  explicit AttentionRoom(const AttentionShape<T>& shape)
      : n(shape.queries),
        m(shape.keys),
        d(shape.dim / shape.heads),
        v(shape.value_dim / shape.heads) {
    query = Take(n * d);
    key = Take(m * d);
    value = Take(m * v);
    scores = Take(kQueries * m);
    out_gradient = Take(n * v);
    query_gradient = Take(kQueries * d);
    key_gradient = Take(m * d);
    value_gradient = Take(m * v);
    score_gradient = Take(kQueries * m);
  }

 private:
  std::size_t Take(std::size_t values) {
    const std::size_t begin = end;
    end += values * kLanes;
    return begin;
  }
};

template <typename T>
std::size_t AttentionWorkspace(const AttentionShape<T>& shape) {
  return AttentionRoom(shape).end;
}

// to[i] (+)= factor * from[i]: `rows` rows of `width` values, `from_row` and `to_row` values apart.
template <typename T>
[[gnu::always_inline]] inline void CopyRows(const T* from, std::size_t from_row, std::size_t rows,
                                            std::size_t width, T factor, bool accumulate, T* to,
                                            std::size_t to_row) {
  for (std::size_t i = 0; i < rows; ++i, from += from_row * kLanes, to += to_row * kLanes)
    for (std::size_t e = 0; e < width * kLanes; e += kWidth<T>) {
      const Vec<T> value = Load(from + e) * factor;
      Store(to + e, accumulate ? Load(to + e) + value : value);
    }
}

// c (+)= a b of one panel.
template <typename T>
[[gnu::always_inline]] inline void PanelProduct(std::size_t rows, std::size_t columns,
                                                std::size_t depth, LaneOperand<const T> a,
                                                LaneOperand<const T> b, LaneOperand<T> c,
                                                bool accumulate = false) {
  LaneProduct<T>({rows, columns, depth, 1, a, b, c, accumulate});
}

// Which keys of one query are active, from one part of the lanes on.
template <typename T>
struct ActiveKeys {
  const T* keys = nullptr;
  const T* ranks = nullptr;
  const std::uint8_t* pairs = nullptr;
  T active = 0;
  std::size_t always;  // a key that is active whatever the masks say

  ActiveKeys(const AttentionArgs<T>& args, std::size_t panel, std::size_t query, std::size_t part) {
    const std::size_t n = args.shape.queries, m = args.shape.keys;
    if (args.key_mask != nullptr) keys = args.key_mask + panel * m * kLanes + part;
    if (args.ranks != nullptr) ranks = args.ranks + (panel * n + query) * m * kLanes + part;
    if (args.pairs != nullptr) pairs = args.pairs + query * m;
    active = args.active_ranks;
    always = args.diagonal ? query : m;
  }

  bool AreAll() const { return keys == nullptr && ranks == nullptr && pairs == nullptr; }

  [[gnu::always_inline]] Vec<T> Choose(std::size_t j, Vec<T> score, Vec<T> inactive) const {
    if (j == always) return score;
    if (keys != nullptr) score = Load(keys + j * kLanes) != T(0) ? score : inactive;
    if (ranks != nullptr) score = Load(ranks + j * kLanes) < active ? score : inactive;
    return pairs != nullptr && pairs[j] == 0 ? inactive : score;
  }
};

template <typename T>
[[gnu::always_inline]] inline Vec<T> Larger(Vec<T> a, Vec<T> b) {
  return a < b ? b : a;
}

template <typename T>
void MaskRow(const ActiveKeys<T>& active, std::size_t m, T inactive, T* row) {
  if (active.AreAll()) return;
  for (std::size_t j = 0; j < m; ++j)
    Store(row + j * kLanes, active.Choose(j, Load(row + j * kLanes), Broadcast(inactive)));
}

// Scores -> exp(score - most), 0 where inactive. statistics: most, and 1 / sum or, for a row
// without an active key, 0.
template <typename T>
void ExpRow(const ActiveKeys<T>& active, std::size_t m, T* row, T* statistics) {
  const Vec<T> lowest = Broadcast(-static_cast<T>(__builtin_inf()));
  MaskRow(active, m, -static_cast<T>(__builtin_inf()), row);
  Vec<T> most[4] = {lowest, lowest, lowest, lowest};
  std::size_t j = 0;
  for (; j + 4 <= m; j += 4)
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) most[i] = Larger<T>(most[i], Load(row + (j + i) * kLanes));
  for (; j < m; ++j) most[0] = Larger<T>(most[0], Load(row + j * kLanes));
  Vec<T> shift = Larger<T>(Larger<T>(most[0], most[1]), Larger<T>(most[2], most[3]));
  shift = shift == lowest ? Vec<T>{} : shift;
  Vec<T> sum = {};
  for (j = 0; j < m; ++j) {
    const Vec<T> e = Exp(Load(row + j * kLanes) - shift);
    Store(row + j * kLanes, e);
    sum += e;
  }
  Store(statistics, shift);
  Store(statistics + kLanes, sum == T(0) ? Vec<T>{} : T(1) / sum);
}

// row: scores -> A. gradient: A' -> S' = A * (A' - sum of A * A').
template <typename T>
void SoftmaxGradientRow(const ActiveKeys<T>& active, std::size_t m, const T* statistics, T* row,
                        T* gradient) {
  MaskRow(active, m, -static_cast<T>(__builtin_inf()), row);
  const Vec<T> shift = Load(statistics), inverse = Load(statistics + kLanes);
  Vec<T> dot = {};
  for (std::size_t j = 0; j < m; ++j) {
    const Vec<T> a = Exp(Load(row + j * kLanes) - shift) * inverse;
    Store(row + j * kLanes, a);
    dot += a * Load(gradient + j * kLanes);
  }
  for (std::size_t j = 0; j < m; ++j)
    Store(gradient + j * kLanes, Load(row + j * kLanes) * (Load(gradient + j * kLanes) - dot));
}

// Forward of one head of one panel.
template <typename T>
void AttentionHead(const AttentionArgs<T>& args, std::size_t p, std::size_t h) {
  const AttentionShape<T>& shape = args.shape;
  const AttentionRoom room(shape);
  const std::size_t n = room.n, m = room.m, d = room.d, v = room.v;
  T* const query = args.workspace + room.query;
  T* const key = args.workspace + room.key;
  T* const value = args.workspace + room.value;
  T* const scores = args.workspace + room.scores;
  CopyRows(args.q + (p * n * shape.dim + h * d) * kLanes, shape.dim, n, d, shape.scale, false,
           query, d);
  CopyRows(args.k + (p * m * shape.dim + h * d) * kLanes, shape.dim, m, d, T(1), false, key, d);
  CopyRows(args.v + (p * m * shape.value_dim + h * v) * kLanes, shape.value_dim, m, v, T(1), false,
           value, v);
  for (std::size_t i0 = 0; i0 < n; i0 += kQueries) {
    const std::size_t rows = Min(kQueries, n - i0);
    T* const statistics = args.statistics + ((p * shape.heads + h) * n + i0) * 2 * kLanes;
    T* const out = args.out + ((p * n + i0) * shape.value_dim + h * v) * kLanes;
    PanelProduct<T>(rows, m, d, {query + i0 * d * kLanes, 0, d, 1}, {key, 0, 1, d},
                    {scores, 0, m, 1});
    for (std::size_t i = 0; i < rows; ++i)
      for (std::size_t part = 0; part < kLanes; part += kWidth<T>) {
        const ActiveKeys<T> active(args, p, i0 + i, part);
        T* const row = scores + i * m * kLanes + part;
        if (shape.softmax) {
          ExpRow(active, m, row, statistics + i * 2 * kLanes + part);
        } else {
          MaskRow(active, m, T(0), row);
        }
      }
    PanelProduct<T>(rows, v, m, {scores, 0, m, 1}, {value, 0, v, 1}, {out, 0, shape.value_dim, 1});
    if (!shape.softmax) continue;
    for (std::size_t i = 0; i < rows; ++i)
      for (std::size_t part = 0; part < kLanes; part += kWidth<T>) {
        const Vec<T> inverse = Load(statistics + (2 * i + 1) * kLanes + part);
        T* const row = out + i * shape.value_dim * kLanes + part;
        for (std::size_t e = 0; e < v; ++e)
          Store(row + e * kLanes, Load(row + e * kLanes) * inverse);
      }
  }
}

template <typename T>
void Attention(const AttentionArgs<T>& args) {
  for (std::size_t p = 0; p < args.panels; ++p)
    for (std::size_t h = 0; h < args.shape.heads; ++h) AttentionHead(args, p, h);
}

// Gradient of one head of one panel: V' = A^T O', A' = O' V^T, Q' = scale S' K, K' = scale S'^T Q.
template <typename T>
void AttentionGradientHead(const AttentionGradientArgs<T>& args, std::size_t p, std::size_t h) {
  const AttentionArgs<T>& forward = args.forward;
  const AttentionShape<T>& shape = forward.shape;
  const AttentionRoom room(shape);
  const std::size_t n = room.n, m = room.m, d = room.d, v = room.v;
  T* const query = forward.workspace + room.query;
  T* const key = forward.workspace + room.key;
  T* const value = forward.workspace + room.value;
  T* const scores = forward.workspace + room.scores;
  T* const out_gradient = forward.workspace + room.out_gradient;
  T* const query_gradient = forward.workspace + room.query_gradient;
  T* const key_gradient = forward.workspace + room.key_gradient;
  T* const value_gradient = forward.workspace + room.value_gradient;
  T* const score_gradient = forward.workspace + room.score_gradient;
  const std::size_t q_at = (p * n * shape.dim + h * d) * kLanes;
  const std::size_t k_at = (p * m * shape.dim + h * d) * kLanes;
  const std::size_t v_at = (p * m * shape.value_dim + h * v) * kLanes;
  CopyRows(forward.q + q_at, shape.dim, n, d, shape.scale, false, query, d);
  CopyRows(forward.k + k_at, shape.dim, m, d, T(1), false, key, d);
  CopyRows(forward.v + v_at, shape.value_dim, m, v, T(1), false, value, v);
  CopyRows(args.out_gradient + (p * n * shape.value_dim + h * v) * kLanes, shape.value_dim, n, v,
           T(1), false, out_gradient, v);
  for (std::size_t i0 = 0; i0 < n; i0 += kQueries) {
    const std::size_t rows = Min(kQueries, n - i0);
    const T* const statistics = forward.statistics + ((p * shape.heads + h) * n + i0) * 2 * kLanes;
    const LaneOperand<const T> q_rows{query + i0 * d * kLanes, 0, d, 1};
    const LaneOperand<const T> o_rows{out_gradient + i0 * v * kLanes, 0, v, 1};
    PanelProduct<T>(rows, m, d, q_rows, {key, 0, 1, d}, {scores, 0, m, 1});
    PanelProduct<T>(rows, m, v, o_rows, {value, 0, 1, v}, {score_gradient, 0, m, 1});
    for (std::size_t i = 0; i < rows; ++i)
      for (std::size_t part = 0; part < kLanes; part += kWidth<T>) {
        const ActiveKeys<T> active(forward, p, i0 + i, part);
        T* const row = scores + i * m * kLanes + part;
        T* const gradient = score_gradient + i * m * kLanes + part;
        if (shape.softmax) {
          SoftmaxGradientRow(active, m, statistics + i * 2 * kLanes + part, row, gradient);
        } else {
          MaskRow(active, m, T(0), row);
          MaskRow(active, m, T(0), gradient);
        }
      }
    if (args.v_gradient != nullptr)
      PanelProduct<T>(m, v, rows, {scores, 0, 1, m}, o_rows, {value_gradient, 0, v, 1}, i0 > 0);
    if (args.q_gradient != nullptr) {
      PanelProduct<T>(rows, d, m, {score_gradient, 0, m, 1}, {key, 0, d, 1},
                      {query_gradient, 0, d, 1});
      CopyRows(query_gradient, d, rows, d, shape.scale, args.accumulate_q,
               args.q_gradient + q_at + i0 * shape.dim * kLanes, shape.dim);
    }
    if (args.k_gradient != nullptr)
      PanelProduct<T>(m, d, rows, {score_gradient, 0, 1, m}, q_rows, {key_gradient, 0, d, 1},
                      i0 > 0);
  }
  // Last, and in this order: the three may be gradients of one tensor, the later ones then add.
  if (args.k_gradient != nullptr)
    CopyRows(key_gradient, d, m, d, T(1), args.accumulate_k, args.k_gradient + k_at, shape.dim);
  if (args.v_gradient != nullptr)
    CopyRows(value_gradient, v, m, v, T(1), args.accumulate_v, args.v_gradient + v_at,
             shape.value_dim);
}

template <typename T>
void AttentionGradient(const AttentionGradientArgs<T>& args) {
  for (std::size_t p = 0; p < args.forward.panels; ++p)
    for (std::size_t h = 0; h < args.forward.shape.heads; ++h) AttentionGradientHead(args, p, h);
}

// Pairs (a, b) of neighbouring values -> (a cos - b sin, b cos + a sin).
template <typename T>
void Rotate(const RotateArgs<T>& args) {
  const T* in = args.in;
  T* out = args.out;
  for (std::size_t p = 0; p < args.panels; ++p)
    for (std::size_t i = 0; i < args.pairs; ++i, in += 2 * kLanes, out += 2 * kLanes) {
      const T c = args.cosine[i], s = args.inverse ? -args.sine[i] : args.sine[i];
      for (std::size_t part = 0; part < kLanes; part += kWidth<T>) {
        const Vec<T> a = Load(in + part), b = Load(in + kLanes + part);
        Vec<T> left = a * c - b * s, right = b * c + a * s;
        if (args.accumulate) {
          left += Load(out + part);
          right += Load(out + kLanes + part);
        }
        Store(out + part, left);
        Store(out + kLanes + part, right);
      }
    }
}

}  // namespace cairn::worker::nn::CAIRN_ISA
