// Histories, their masks, and plain numbers.
#include <algorithm>
#include <cmath>

#include <glog/logging.h>

#include "worker/nn/op.h"
#include "worker/nn/ops/embedding.h"
#include "worker/nn/ops/table_gradient.h"

namespace cairn::worker::nn {
namespace {

// The part of a row's values that is kept, and the position of the first of them.
struct Kept {
  std::size_t begin, end;  // in FieldColumn::index
  std::size_t position;
};

Kept KeptOf(const FieldColumn& column, std::size_t row, std::size_t length) {
  const std::size_t begin = column.offsets[row], end = column.offsets[row + 1];
  const std::size_t count = std::min(end - begin, length);
  return {end - count, end, length - count};
}

template <typename T>
const FieldColumn& ColumnOf(const StepContext<T>& step, int field) {
  CHECK_LT(static_cast<std::size_t>(field), step.input->batch->fields.size());
  return step.input->batch->fields[field];
}

struct HistoryShape {
  int field;
  std::size_t table, length, dim;
};

template <typename T>
class HistoryOp final : public Op<T> {
 public:
  HistoryOp(const OpEnvironment<T>& environment, HistoryShape shape)
      : shape_(shape), ranges_of_thread_(environment.threads) {}

  void BeginStep(const StepContext<T>& step) override {
    if (!step.training) return;
    const TableLoad load{shape_.table, step.input->batch->unique_keys[shape_.table].size(),
                         ColumnOf(step, shape_.field).index.size()};
    DealRows({&load, 1}, &ranges_of_thread_);
  }

  void Forward(const StepContext<T>& step, const BlockContext<T>& block) override {
    const FieldColumn& column = ColumnOf(step, shape_.field);
    const T* values = step.input->tables[shape_.table].values;
    std::fill_n(block.out, block.panels * PanelFloats(), T(0));
    for (std::size_t r = 0; r < block.rows; ++r) {
      const Kept kept = KeptOf(column, block.first_row + r, shape_.length);
      T* out = Position(block.out, r, kept.position);
      for (std::size_t i = kept.begin; i < kept.end; ++i) {
        const T* vector = values + column.index[i] * shape_.dim;
        for (std::size_t j = 0; j < shape_.dim; ++j, out += kLanes) *out = vector[j];
      }
    }
  }

  void Backward(const StepContext<T>&, const BlockContext<T>&) override {}

  void FinishGradient(const StepContext<T>& step, const T* gradient, int thread,
                      int /*threads*/) override {
    const FieldColumn& column = ColumnOf(step, shape_.field);
    T* gradients = step.input->tables[shape_.table].gradients;
    for (const RowRange& range : ranges_of_thread_[thread])
      for (std::size_t row = 0; row < step.rows; ++row) {
        const Kept kept = KeptOf(column, row, shape_.length);
        const T* from = Position(gradient, row, kept.position);
        for (std::size_t i = kept.begin; i < kept.end; ++i, from += shape_.dim * kLanes) {
          const std::size_t index = column.index[i];
          if (index < range.begin || index >= range.end) continue;
          T* to = gradients + index * shape_.dim;
          for (std::size_t j = 0; j < shape_.dim; ++j) to[j] += from[j * kLanes];
        }
      }
  }

  std::int64_t FirstNonFiniteRow(const StepContext<T>& step) const override {
    const FieldColumn& column = ColumnOf(step, shape_.field);
    const T* values = step.input->tables[shape_.table].values;
    for (std::size_t row = 0; row < step.rows; ++row) {
      const Kept kept = KeptOf(column, row, shape_.length);
      for (std::size_t i = kept.begin; i < kept.end; ++i)
        for (std::size_t j = 0; j < shape_.dim; ++j)
          if (!std::isfinite(values[column.index[i] * shape_.dim + j]))
            return static_cast<std::int64_t>(row);
    }
    return -1;
  }

 private:
  std::size_t PanelFloats() const { return shape_.length * shape_.dim * kLanes; }
  // First value of a position of a row, counted from the panel at `data`.
  template <typename U>
  U* Position(U* data, std::size_t row, std::size_t position) const {
    return data + row / kLanes * PanelFloats() + position * shape_.dim * kLanes + row % kLanes;
  }

  const HistoryShape shape_;
  std::vector<std::vector<RowRange>> ranges_of_thread_;
};

template <typename T>
class HistoryMaskOp final : public Op<T> {
 public:
  HistoryMaskOp(const OpEnvironment<T>&, std::vector<int> fields, std::size_t length)
      : fields_(std::move(fields)), length_(length) {}

  void Forward(const StepContext<T>& step, const BlockContext<T>& block) override {
    std::fill_n(block.out, block.panels * length_ * kLanes, T(0));
    for (std::size_t r = 0; r < block.rows; ++r) {
      std::size_t first = length_;
      for (int field : fields_)
        first =
            std::min(first, KeptOf(ColumnOf(step, field), block.first_row + r, length_).position);
      for (std::size_t t = first; t < length_; ++t) block.out[PanelIndex(r, length_, t)] = T(1);
    }
  }
  void Backward(const StepContext<T>&, const BlockContext<T>&) override {}

 private:
  const std::vector<int> fields_;
  const std::size_t length_;
};

template <typename T>
class NumbersOp final : public Op<T> {
 public:
  NumbersOp(const OpEnvironment<T>&, std::vector<int> fields) : fields_(std::move(fields)) {}

  void Forward(const StepContext<T>& step, const BlockContext<T>& block) override {
    std::fill_n(block.out, block.panels * fields_.size() * kLanes, T(0));
    for (std::size_t f = 0; f < fields_.size(); ++f) {
      const float* number = ColumnOf(step, fields_[f]).number.data() + block.first_row;
      for (std::size_t r = 0; r < block.rows; ++r)
        block.out[PanelIndex(r, fields_.size(), f)] = static_cast<T>(number[r]);
    }
  }
  void Backward(const StepContext<T>&, const BlockContext<T>&) override {}

  std::int64_t FirstNonFiniteRow(const StepContext<T>& step) const override {
    for (std::size_t row = 0; row < step.rows; ++row)
      for (int field : fields_)
        if (!std::isfinite(ColumnOf(step, field).number[row]))
          return static_cast<std::int64_t>(row);
    return -1;
  }

 private:
  const std::vector<int> fields_;
};

Status CheckHistory(const FieldSpec& spec) {
  if (!spec.IsHistory() || spec.max_length == 0)
    return absl::InvalidArgumentError(
        StrCat("field '", spec.name, "' is not a history with a max_length"));
  if (spec.field < 0)
    return absl::InvalidArgumentError(StrCat("field '", spec.name, "' has no place in the batch"));
  return OkStatus();
}

}  // namespace

Result<Tensor> HistoryEmbeddings(GraphBuilder& graph, const FieldSpec& spec) {
  OpDef def;
  def.name = StrCat("history '", spec.name, "'");
  RETURN_IF_ERROR(CheckHistory(spec), "history embeddings");
  if (spec.table < 0 || spec.dim == 0)
    return absl::InvalidArgumentError(StrCat("field '", spec.name, "' has no table"));
  RETURN_IF_ERROR(AddTableUse(graph, spec.name, spec.table, spec.dim, &def), "field ", spec.name);
  def.dims = {spec.max_length, spec.dim};
  def.finishes_gradient = true;
  SetOp<HistoryOp>(def, HistoryShape{spec.field, static_cast<std::size_t>(spec.table),
                                     spec.max_length, spec.dim});
  return graph.AddOp(std::move(def));
}

Result<Tensor> HistoryMask(GraphBuilder& graph, std::span<const FieldSpec> histories) {
  if (histories.empty()) return absl::InvalidArgumentError("history mask: there is no history");
  OpDef def;
  def.name = "history mask";
  std::vector<int> fields;
  for (const FieldSpec& spec : histories) {
    RETURN_IF_ERROR(CheckHistory(spec), "history mask");
    if (spec.max_length != histories[0].max_length)
      return absl::InvalidArgumentError(StrCat(
          "histories '", histories[0].name, "' and '", spec.name,
          "' have different max_length: ", histories[0].max_length, " and ", spec.max_length));
    fields.push_back(spec.field);
  }
  def.dims = {histories[0].max_length};
  def.cheap = true;
  SetOp<HistoryMaskOp>(def, std::move(fields), std::size_t{histories[0].max_length});
  return graph.AddOp(std::move(def));
}

Result<Tensor> Numbers(GraphBuilder& graph, std::span<const FieldSpec> specs) {
  if (specs.empty()) return absl::InvalidArgumentError("numbers: there is no numeric field");
  OpDef def;
  def.name = "numbers";
  std::vector<int> fields;
  for (const FieldSpec& spec : specs) {
    if (spec.kind != FieldSpec::Kind::kNumeric || spec.field < 0)
      return absl::InvalidArgumentError(StrCat("field '", spec.name, "' is not numeric"));
    fields.push_back(spec.field);
  }
  def.dims = {static_cast<std::uint32_t>(specs.size())};
  def.cheap = true;
  SetOp<NumbersOp>(def, std::move(fields));
  return graph.AddOp(std::move(def));
}

}  // namespace cairn::worker::nn
