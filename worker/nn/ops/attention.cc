#include "worker/nn/ops/attention.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "worker/nn/huge_buffer.h"
#include "worker/nn/op.h"

namespace cairn::worker::nn {
namespace {

// Inputs: q, k, v and, where the position is not -1, the masks.
struct AttentionLayout {
  AttentionShape<double> shape;
  int keys = -1, ranks = -1;
  std::uint32_t active = 0;
  bool diagonal = false;
  std::vector<std::uint8_t> pairs;
};

template <typename T>
class AttentionOp final : public Op<T> {
 public:
  AttentionOp(const OpEnvironment<T>& environment, AttentionLayout layout)
      : kernels_(*environment.kernels), layout_(std::move(layout)) {
    const AttentionShape<double>& shape = layout_.shape;
    shape_ = {shape.queries, shape.keys,      shape.heads,
              shape.dim,     shape.value_dim, static_cast<T>(shape.scale),
              shape.softmax};
  }

  std::size_t WorkspaceFloats() const override { return kernels_.attention_workspace(shape_); }
  std::size_t MemoryBytes() const override { return statistics_.bytes(); }

  void BeginStep(const StepContext<T>& step) override {
    if (shape_.softmax) statistics_.Grow(PanelsOf(step.rows) * StatisticsPerPanel());
  }

  void Forward(const StepContext<T>&, const BlockContext<T>& block) override {
    AttentionArgs<T> args = Args(block);
    args.out = block.out;
    kernels_.attention(args);
  }

  void Backward(const StepContext<T>&, const BlockContext<T>& block) override {
    kernels_.attention_gradient({.forward = Args(block),
                                 .out = block.out,
                                 .out_gradient = block.out_gradient,
                                 .q_gradient = block.in_gradient[0],
                                 .k_gradient = block.in_gradient[1],
                                 .v_gradient = block.in_gradient[2],
                                 .accumulate_q = block.accumulate[0],
                                 .accumulate_k = block.accumulate[1],
                                 .accumulate_v = block.accumulate[2]});
  }

 private:
  std::size_t StatisticsPerPanel() const { return shape_.heads * shape_.queries * 2 * kLanes; }

  AttentionArgs<T> Args(const BlockContext<T>& block) {
    AttentionArgs<T> args;
    args.shape = shape_;
    args.panels = block.panels;
    args.q = block.in[0];
    args.k = block.in[1];
    args.v = block.in[2];
    if (layout_.keys >= 0) args.key_mask = block.in[layout_.keys];
    if (layout_.ranks >= 0) args.ranks = block.in[layout_.ranks];
    args.active_ranks = static_cast<T>(layout_.active);
    if (!layout_.pairs.empty()) args.pairs = layout_.pairs.data();
    args.diagonal = layout_.diagonal;
    if (shape_.softmax)
      args.statistics = statistics_.data() + block.first_row / kLanes * StatisticsPerPanel();
    args.workspace = block.workspace;
    return args;
  }

  const Kernels<T>& kernels_;
  const AttentionLayout layout_;
  AttentionShape<T> shape_;
  HugeBuffer<T> statistics_;  // of each panel, head and query: largest score, 1 / sum
};

// Unsigned integers in the order of the floating-point numbers, the largest number first; -0 and 0
// are equal.
std::uint32_t DescendingKey(float x) {
  std::uint32_t bits;
  x += 0.0f;
  std::memcpy(&bits, &x, sizeof bits);
  return bits >> 31 != 0 ? bits : ~bits & 0x7fffffffu;
}
std::uint64_t DescendingKey(double x) {
  std::uint64_t bits;
  x += 0.0;
  std::memcpy(&bits, &x, sizeof bits);
  return bits >> 63 != 0 ? bits : ~bits & 0x7fffffffffffffffu;
}

// Sorts by the keys' digits, the lowest first; each pass keeps the order of equal digits, so equal
// values stay in the order of their indices.
template <typename T>
class RanksOp final : public Op<T> {
 public:
  RanksOp(const OpEnvironment<T>&, std::size_t size) : size_(size) {}

  std::size_t WorkspaceFloats() const override {
    return (2 * size_ * sizeof(Entry) + sizeof(T) - 1) / sizeof(T);
  }

  void Forward(const StepContext<T>&, const BlockContext<T>& block) override {
    Entry* from = reinterpret_cast<Entry*>(block.workspace);
    for (std::size_t p = 0; p < block.panels; ++p)
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        const std::size_t at = p * size_ * kLanes + lane;
        for (std::size_t i = 0; i < size_; ++i)
          from[i] = {DescendingKey(block.in[0][at + i * kLanes]), static_cast<std::uint32_t>(i)};
        const Entry* sorted = Sort(from, from + size_);
        for (std::size_t i = 0; i < size_; ++i)
          block.out[at + sorted[i].index * kLanes] = static_cast<T>(i);
      }
  }

  void Backward(const StepContext<T>&, const BlockContext<T>&) override {}  // a constant

 private:
  using Key = decltype(DescendingKey(T()));
  struct Entry {
    Key key;
    std::uint32_t index;
  };
  static constexpr int kDigitBits = 8;
  static constexpr std::size_t kDigits = std::size_t{1} << kDigitBits;

  // Returns where the sorted entries lie: `from` or `to`.
  const Entry* Sort(Entry* from, Entry* to) const {
    for (std::size_t shift = 0; shift < sizeof(Key) * 8; shift += kDigitBits) {
      std::size_t begin[kDigits + 1] = {};
      for (std::size_t i = 0; i < size_; ++i) ++begin[Digit(from[i], shift) + 1];
      if (begin[Digit(from[0], shift) + 1] == size_) continue;  // all equal
      for (std::size_t digit = 0; digit < kDigits; ++digit) begin[digit + 1] += begin[digit];
      for (std::size_t i = 0; i < size_; ++i) to[begin[Digit(from[i], shift)]++] = from[i];
      std::swap(from, to);
    }
    return from;
  }

  static std::size_t Digit(const Entry& entry, std::size_t shift) {
    return static_cast<std::size_t>(entry.key >> shift) & (kDigits - 1);
  }

  const std::size_t size_;
};

template <typename T>
class RotaryOp final : public Op<T> {
 public:
  RotaryOp(const OpEnvironment<T>& environment, std::size_t tokens, std::size_t dim,
           std::size_t heads, double base)
      : kernels_(*environment.kernels) {
    const std::size_t pairs = dim / heads / 2;
    for (std::size_t p = 0; p < tokens; ++p)
      for (std::size_t i = 0; i < dim / 2; ++i) {
        const double exponent = -static_cast<double>(i % pairs) / static_cast<double>(pairs);
        const double angle = static_cast<double>(p) * std::pow(base, exponent);
        cosine_.push_back(static_cast<T>(std::cos(angle)));
        sine_.push_back(static_cast<T>(std::sin(angle)));
      }
  }

  std::size_t MemoryBytes() const override { return 2 * cosine_.size() * sizeof(T); }

  void Forward(const StepContext<T>&, const BlockContext<T>& block) override {
    Rotate(block.panels, block.in[0], false, false, block.out);
  }
  void Backward(const StepContext<T>&, const BlockContext<T>& block) override {
    if (block.in_gradient[0] != nullptr)
      Rotate(block.panels, block.out_gradient, true, block.accumulate[0], block.in_gradient[0]);
  }

 private:
  void Rotate(std::size_t panels, const T* in, bool inverse, bool accumulate, T* out) const {
    kernels_.rotate({.panels = panels,
                     .pairs = cosine_.size(),
                     .cosine = cosine_.data(),
                     .sine = sine_.data(),
                     .inverse = inverse,
                     .in = in,
                     .out = out,
                     .accumulate = accumulate});
  }

  const Kernels<T>& kernels_;
  std::vector<T> cosine_, sine_;  // of each token and pair
};

Status HeadsError(std::string_view op, int heads, std::string_view what, std::uint32_t width) {
  return absl::InvalidArgumentError(
      StrCat("op '", op, "': ", heads, " heads do not divide ", what, " ", width));
}

Status CheckAttention(std::string_view name, const Tensor& q, const Tensor& k, const Tensor& v,
                      const AttentionOptions& options) {
  if (q.dims.size() != 2 || k.dims.size() != 2 || q.dims[1] != k.dims[1])
    return ShapeError(name, "queries and keys must be [n, d] and [m, d], not", {q.dims, k.dims});
  if (v.dims.size() != 2 || v.dims[0] != k.dims[0])
    return ShapeError(name, "keys and values must be equal in number", {k.dims, v.dims});
  if (options.heads < 1 || q.dims[1] % options.heads != 0)
    return HeadsError(name, options.heads, "the queries' width", q.dims[1]);
  if (v.dims[1] % options.heads != 0)
    return HeadsError(name, options.heads, "the values' width", v.dims[1]);
  const AttentionMask& mask = options.mask;
  const std::vector<std::uint32_t> scores{q.dims[0], k.dims[0]};
  if (mask.keys && mask.keys->Size() != k.dims[0])
    return ShapeError(name, "keys and their mask do not fit", {k.dims, mask.keys->dims});
  if (mask.ranks && mask.ranks->dims != scores)
    return ShapeError(name, "scores and their ranks do not fit", {scores, mask.ranks->dims});
  if (!mask.pairs.empty() && mask.pairs.size() != SizeOf(scores))
    return ShapeError(name, StrCat("scores and ", mask.pairs.size(), " pairs do not fit"),
                      {scores});
  return OkStatus();
}

}  // namespace

Result<Tensor> Attention(GraphBuilder& graph, std::string name, const Tensor& q, const Tensor& k,
                         const Tensor& v, const AttentionOptions& options) {
  RETURN_IF_ERROR(CheckAttention(name, q, k, v, options), "attention");
  AttentionLayout layout;
  layout.shape = {.queries = q.dims[0],
                  .keys = k.dims[0],
                  .heads = static_cast<std::size_t>(options.heads),
                  .dim = q.dims[1],
                  .value_dim = v.dims[1],
                  .scale = options.scale != 0
                               ? options.scale
                               : 1 / std::sqrt(static_cast<double>(q.dims[1]) / options.heads),
                  .softmax = options.softmax};
  OpDef def;
  def.inputs = {q, k, v};
  def.first_constant_input = 3;
  if (options.mask.keys) {
    layout.keys = static_cast<int>(def.inputs.size());
    def.inputs.push_back(*options.mask.keys);
  }
  if (options.mask.ranks) {
    layout.ranks = static_cast<int>(def.inputs.size());
    layout.active = options.mask.active;
    def.inputs.push_back(*options.mask.ranks);
  }
  def.reads_output = options.softmax;
  layout.pairs = options.mask.pairs;
  layout.diagonal = options.mask.diagonal;
  def.name = std::move(name);
  def.dims = {q.dims[0], v.dims[1]};
  SetOp<AttentionOp>(def, std::move(layout));
  return graph.AddOp(std::move(def));
}

Result<Tensor> Ranks(GraphBuilder& graph, std::string name, const Tensor& x) {
  if (x.dims.size() != 2) return ShapeError(name, "needs [n, m], not", {x.dims});
  OpDef def;
  def.name = std::move(name);
  def.inputs = {x};
  def.first_constant_input = 0;
  def.dims = x.dims;
  def.reads_input = false;
  SetOp<RanksOp>(def, x.Size());
  return graph.AddOp(std::move(def));
}

Result<Tensor> Rotary(GraphBuilder& graph, std::string name, const Tensor& x, int heads,
                      double base) {
  if (x.dims.size() != 2) return ShapeError(name, "needs [tokens, d], not", {x.dims});
  if (heads < 1 || x.dims[1] % heads != 0) return HeadsError(name, heads, "the width", x.dims[1]);
  if (x.dims[1] / heads % 2 != 0)
    return absl::InvalidArgumentError(StrCat("op '", name, "': the width of a head, ", x.dims[1],
                                             " / ", heads, ", is odd and has no pairs to turn"));
  OpDef def;
  def.name = std::move(name);
  def.inputs = {x};
  def.dims = x.dims;
  def.reads_input = false;
  def.cheap = true;
  SetOp<RotaryOp>(def, x.dims[0], x.dims[1], heads, base);
  return graph.AddOp(std::move(def));
}

}  // namespace cairn::worker::nn
