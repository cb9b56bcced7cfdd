// Attention. Scores are made for a few queries of one panel and head at a
// time, so that they stay in the nearest caches, and never leave the workspace.
#pragma once

#include "worker/nn/kernels/exp_impl.h"
#include "worker/nn/kernels/lane_product_impl.h"

namespace cairn::worker::nn::CAIRN_ISA {

// Queries whose scores are made at once.
inline constexpr std::size_t kQueries = 16;
// Keys that are multiplied with them before the next ones: what is read again and again stays in
// the first-level cache. A multiple of a tile's columns.
inline constexpr std::size_t kMostKeys = 24;
[[gnu::always_inline]] inline std::size_t KeysAtOnce(std::size_t width) {
  return width <= 16 ? 24 : width <= 32 ? 12 : 6;
}

// Where a head's arrays lie in the workspace.
struct AttentionRoom {
  std::size_t n, m, d, v;      // queries, keys, width of a head's keys and of its values
  std::size_t query;           // [n][d], times the scale
  std::size_t key;             // [m][d]
  std::size_t value;           // [m][v]
  std::size_t scores;          // [kQueries][m], room for [kQueries][kMostKeys]
  std::size_t bias;            // [m]: 0, or -inf for a key that is not active
  std::size_t out_gradient;    // [n][v]; from here on for the gradient only
  std::size_t dots;            // [n]: sum of a query's output times its gradient
  std::size_t query_gradient;  // [n][d]
  std::size_t key_gradient;    // [m][d]
  std::size_t value_gradient;  // [m][v]
  std::size_t score_gradient;  // [kQueries][kMostKeys]
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
    scores = Take(kQueries * (m > kMostKeys ? m : kMostKeys));
    bias = Take(m);
    out_gradient = Take(n * v);
    dots = Take(n);
    query_gradient = Take(n * d);
    key_gradient = Take(m * d);
    value_gradient = Take(m * v);
    score_gradient = Take(kQueries * kMostKeys);
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

  // Of the keys from number `first` on.
  ActiveKeys(const AttentionArgs<T>& args, std::size_t panel, std::size_t query, std::size_t first,
             std::size_t part) {
    const std::size_t n = args.shape.queries, m = args.shape.keys;
    if (args.key_mask != nullptr) keys = args.key_mask + (panel * m + first) * kLanes + part;
    if (args.ranks != nullptr)
      ranks = args.ranks + ((panel * n + query) * m + first) * kLanes + part;
    if (args.pairs != nullptr) pairs = args.pairs + query * m + first;
    active = args.active_ranks;
    always = args.diagonal ? query - first : m;
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

// -inf for each key that the mask of a panel's keys leaves out, else 0. Null if there is no mask,
// or if there are others, which MaskRow must apply.
template <typename T>
const T* KeyBias(const AttentionArgs<T>& args, std::size_t panel, T* bias) {
  if (args.key_mask == nullptr || args.ranks != nullptr || args.pairs != nullptr || args.diagonal)
    return nullptr;
  const T* mask = args.key_mask + panel * args.shape.keys * kLanes;
  const Vec<T> lowest = Broadcast(-static_cast<T>(__builtin_inf()));
  for (std::size_t i = 0; i < args.shape.keys * kLanes; i += kWidth<T>)
    Store(bias + i, Load(mask + i) != T(0) ? Vec<T>{} : lowest);
  return bias;
}

template <bool BIASED, typename T>
[[gnu::always_inline]] inline Vec<T> Score(const T* row, const T* bias, std::size_t j) {
  if constexpr (BIASED) return Load(row + j * kLanes) + Load(bias + j * kLanes);
  return Load(row + j * kLanes);
}

// Scores -> exp(score - most), 0 where the score is -inf. statistics: most, and 1 / sum or, for a
// row without an active key, 0.
template <bool BIASED, typename T>
void ExpRow(std::size_t m, const T* bias, T* row, T* statistics) {
  const Vec<T> lowest = Broadcast(-static_cast<T>(__builtin_inf()));
  Vec<T> most[4] = {lowest, lowest, lowest, lowest};
  std::size_t j = 0;
  for (; j + 4 <= m; j += 4)
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i)
      most[i] = Larger<T>(most[i], Score<BIASED>(row, bias, j + i));
  for (; j < m; ++j) most[0] = Larger<T>(most[0], Score<BIASED>(row, bias, j));
  Vec<T> shift = Larger<T>(Larger<T>(most[0], most[1]), Larger<T>(most[2], most[3]));
  shift = shift == lowest ? Vec<T>{} : shift;
  Vec<T> sum = {};
#pragma GCC unroll 2
  for (j = 0; j < m; ++j) {
    const Vec<T> e = ExpNotPositive(Score<BIASED>(row, bias, j) - shift);
    Store(row + j * kLanes, e);
    sum += e;
  }
  Store(statistics, shift);
  Store(statistics + kLanes, sum == T(0) ? Vec<T>{} : T(1) / sum);
}

// scores -> A; gradient: A' -> S' = A * (A' - dot). dot is the sum of A * A' over all keys.
template <bool BIASED, typename T>
void SoftmaxGradientRow(std::size_t count, const T* bias, const T* statistics, const T* dot, T* row,
                        T* gradient) {
  const Vec<T> shift = Load(statistics), inverse = Load(statistics + kLanes), all = Load(dot);
#pragma GCC unroll 2
  for (std::size_t j = 0; j < count; ++j) {
    const Vec<T> a = ExpNotPositive(Score<BIASED>(row, bias, j) - shift) * inverse;
    Store(row + j * kLanes, a);
    Store(gradient + j * kLanes, a * (Load(gradient + j * kLanes) - all));
  }
}

// `scores` [rows][m] = a [rows][depth] times the rows of b [m][depth].
template <typename T>
void ScoreProduct(std::size_t rows, std::size_t m, std::size_t depth, const T* a, const T* b,
                  T* scores) {
  const std::size_t step = KeysAtOnce(depth);
  for (std::size_t j = 0; j < m; j += step)
    PanelProduct<T>(rows, Min(step, m - j), depth, {a, 0, depth, 1},
                    {b + j * depth * kLanes, 0, 1, depth}, {scores + j * kLanes, 0, m, 1});
}

// out [rows][width] = scores [rows][m] times b [m][width]; rows of out lie out_row apart.
template <typename T>
void ValueProduct(std::size_t rows, std::size_t m, std::size_t width, const T* scores, const T* b,
                  T* out, std::size_t out_row) {
  const std::size_t step = KeysAtOnce(width);
  for (std::size_t j = 0; j < m; j += step)
    PanelProduct<T>(rows, width, Min(step, m - j), {scores + j * kLanes, 0, m, 1},
                    {b + j * width * kLanes, 0, width, 1}, {out, 0, out_row, 1}, j > 0);
}

// The score of a pair that is not active.
template <typename T>
T Inactive(const AttentionShape<T>& shape) {
  return shape.softmax ? -static_cast<T>(__builtin_inf()) : T(0);
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
  const T* const bias = KeyBias(args, p, args.workspace + room.bias);
  CopyRows(args.q + (p * n * shape.dim + h * d) * kLanes, shape.dim, n, d, shape.scale, false,
           query, d);
  CopyRows(args.k + (p * m * shape.dim + h * d) * kLanes, shape.dim, m, d, T(1), false, key, d);
  CopyRows(args.v + (p * m * shape.value_dim + h * v) * kLanes, shape.value_dim, m, v, T(1), false,
           value, v);
  for (std::size_t i0 = 0; i0 < n; i0 += kQueries) {
    const std::size_t rows = Min(kQueries, n - i0);
    T* const statistics = args.statistics + ((p * shape.heads + h) * n + i0) * 2 * kLanes;
    T* const out = args.out + ((p * n + i0) * shape.value_dim + h * v) * kLanes;
    ScoreProduct(rows, m, d, query + i0 * d * kLanes, key, scores);
    for (std::size_t i = 0; i < rows; ++i)
      for (std::size_t part = 0; part < kLanes; part += kWidth<T>) {
        T* const row = scores + i * m * kLanes + part;
        T* const kept = statistics + i * 2 * kLanes + part;
        if (bias != nullptr && shape.softmax) {
          ExpRow<true>(m, bias + part, row, kept);
          continue;
        }
        MaskRow(ActiveKeys<T>(args, p, i0 + i, 0, part), m, Inactive(shape), row);
        if (shape.softmax) ExpRow<false>(m, bias, row, kept);
      }
    ValueProduct(rows, m, v, scores, value, out, shape.value_dim);
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

// dots[i] = sum over a head's values of out * out_gradient, which is that of A * A' over the keys.
template <typename T>
void OutputDots(const T* out, std::size_t out_row, const T* gradient, std::size_t n, std::size_t v,
                T* dots) {
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t part = 0; part < kLanes; part += kWidth<T>) {
      Vec<T> sum = {};
      for (std::size_t e = 0; e < v; ++e)
        sum += Load(out + (i * out_row + e) * kLanes + part) *
               Load(gradient + (i * v + e) * kLanes + part);
      Store(dots + i * kLanes + part, sum);
    }
}

// One head of one panel in the backward pass.
template <typename T>
struct GradientHead {
  const AttentionGradientArgs<T>& args;
  const std::size_t p, h;
  const AttentionRoom room;
  T* const query;
  T* const key;
  T* const value;
  T* const out_gradient;
  T* const query_gradient;
  T* const key_gradient;
  T* const value_gradient;
  const T* bias = nullptr;

  GradientHead(const AttentionGradientArgs<T>& a, std::size_t panel, std::size_t head)
      : args(a),
        p(panel),
        h(head),
        room(a.forward.shape),
        query(a.forward.workspace + room.query),
        key(a.forward.workspace + room.key),
        value(a.forward.workspace + room.value),
        out_gradient(a.forward.workspace + room.out_gradient),
        query_gradient(a.forward.workspace + room.query_gradient),
        key_gradient(a.forward.workspace + room.key_gradient),
        value_gradient(a.forward.workspace + room.value_gradient) {}
};

// Scores of `rows` queries from i0 on and `count` keys from j0 on -> A and S', both [rows][count].
template <typename T>
void GradientScores(const GradientHead<T>& head, std::size_t i0, std::size_t rows, std::size_t j0,
                    std::size_t count, T* scores, T* gradients) {
  const AttentionArgs<T>& forward = head.args.forward;
  const AttentionShape<T>& shape = forward.shape;
  const std::size_t n = head.room.n, d = head.room.d, v = head.room.v;
  const T* const statistics =
      forward.statistics + ((head.p * shape.heads + head.h) * n + i0) * 2 * kLanes;
  const T* const dots = forward.workspace + head.room.dots + i0 * kLanes;
  PanelProduct<T>(rows, count, d, {head.query + i0 * d * kLanes, 0, d, 1},
                  {head.key + j0 * d * kLanes, 0, 1, d}, {scores, 0, count, 1});
  PanelProduct<T>(rows, count, v, {head.out_gradient + i0 * v * kLanes, 0, v, 1},
                  {head.value + j0 * v * kLanes, 0, 1, v}, {gradients, 0, count, 1});
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t part = 0; part < kLanes; part += kWidth<T>) {
      T* const row = scores + i * count * kLanes + part;
      T* const gradient = gradients + i * count * kLanes + part;
      const T* const kept = statistics + i * 2 * kLanes + part;
      const T* const dot = dots + i * kLanes + part;
      if (head.bias != nullptr && shape.softmax) {
        SoftmaxGradientRow<true>(count, head.bias + j0 * kLanes + part, kept, dot, row, gradient);
        continue;
      }
      const ActiveKeys<T> active(forward, head.p, i0 + i, j0, part);
      MaskRow(active, count, Inactive(shape), row);
      if (shape.softmax) {
        SoftmaxGradientRow<false>(count, head.bias, kept, dot, row, gradient);
      } else {
        MaskRow(active, count, T(0), gradient);
      }
    }
}

// V' = A^T O', A' = O' V^T, Q' = scale S' K, K' = scale S'^T Q.
template <typename T>
void AttentionGradientHead(const AttentionGradientArgs<T>& args, std::size_t p, std::size_t h) {
  const AttentionArgs<T>& forward = args.forward;
  const AttentionShape<T>& shape = forward.shape;
  GradientHead<T> head(args, p, h);
  const std::size_t n = head.room.n, m = head.room.m, d = head.room.d, v = head.room.v;
  const std::size_t q_at = (p * n * shape.dim + h * d) * kLanes;
  const std::size_t k_at = (p * m * shape.dim + h * d) * kLanes;
  const std::size_t v_at = (p * m * shape.value_dim + h * v) * kLanes;
  const std::size_t o_at = (p * n * shape.value_dim + h * v) * kLanes;
  head.bias = KeyBias(forward, p, forward.workspace + head.room.bias);
  CopyRows(forward.q + q_at, shape.dim, n, d, shape.scale, false, head.query, d);
  CopyRows(forward.k + k_at, shape.dim, m, d, T(1), false, head.key, d);
  CopyRows(forward.v + v_at, shape.value_dim, m, v, T(1), false, head.value, v);
  CopyRows(args.out_gradient + o_at, shape.value_dim, n, v, T(1), false, head.out_gradient, v);
  if (shape.softmax)
    OutputDots<T>(args.out + o_at, shape.value_dim, head.out_gradient, n, v,
                  forward.workspace + head.room.dots);
  T* const scores = forward.workspace + head.room.scores;
  T* const gradients = forward.workspace + head.room.score_gradient;
  const std::size_t step = KeysAtOnce(d > v ? d : v);
  for (std::size_t j0 = 0; j0 < m; j0 += step) {
    const std::size_t count = Min(step, m - j0);
    for (std::size_t i0 = 0; i0 < n; i0 += kQueries) {
      const std::size_t rows = Min(kQueries, n - i0);
      GradientScores(head, i0, rows, j0, count, scores, gradients);
      if (args.v_gradient != nullptr)
        PanelProduct<T>(count, v, rows, {scores, 0, 1, count},
                        {head.out_gradient + i0 * v * kLanes, 0, v, 1},
                        {head.value_gradient + j0 * v * kLanes, 0, v, 1}, i0 > 0);
      if (args.k_gradient != nullptr)
        PanelProduct<T>(count, d, rows, {gradients, 0, 1, count},
                        {head.query + i0 * d * kLanes, 0, d, 1},
                        {head.key_gradient + j0 * d * kLanes, 0, d, 1}, i0 > 0);
      if (args.q_gradient != nullptr)
        PanelProduct<T>(rows, d, count, {gradients, 0, count, 1},
                        {head.key + j0 * d * kLanes, 0, d, 1},
                        {head.query_gradient + i0 * d * kLanes, 0, d, 1}, j0 > 0);
    }
  }
  // In this order: the three may be gradients of one tensor, the later ones then add.
  if (args.q_gradient != nullptr)
    CopyRows(head.query_gradient, d, n, d, shape.scale, args.accumulate_q, args.q_gradient + q_at,
             shape.dim);
  if (args.k_gradient != nullptr)
    CopyRows(head.key_gradient, d, m, d, T(1), args.accumulate_k, args.k_gradient + k_at,
             shape.dim);
  if (args.v_gradient != nullptr)
    CopyRows(head.value_gradient, v, m, v, T(1), args.accumulate_v, args.v_gradient + v_at,
             shape.value_dim);
}

template <typename T>
void AttentionGradient(const AttentionGradientArgs<T>& args) {
  for (std::size_t p = 0; p < args.forward.panels; ++p)
    for (std::size_t h = 0; h < args.forward.shape.heads; ++h) AttentionGradientHead(args, p, h);
}

}  // namespace cairn::worker::nn::CAIRN_ISA
