#include "worker/nn/ops/embedding.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <glog/logging.h>

#include "worker/nn/op.h"
#include "worker/nn/ops/table_gradient.h"

namespace cairn::worker::nn {
namespace {

struct Field {
  FieldSpec spec;
  int parameter = -1;  // numeric: the learned vector
};

template <typename T>
class EmbeddingOp final : public Op<T> {
 public:
  EmbeddingOp(const OpEnvironment<T>& environment, std::vector<Field> fields)
      : fields_(std::move(fields)),
        dim_(fields_[0].spec.dim),
        ranges_of_thread_(environment.threads) {
    for (const Field& field : fields_)
      offsets_.push_back(field.parameter < 0 ? 0 : environment.offsets[field.parameter]);
  }

  void BeginStep(const StepContext<T>& step) override {
    for (const Field& field : fields_)
      CHECK_LT(static_cast<std::size_t>(field.spec.field), step.input->batch->fields.size());
    if (step.training) DealTables(step);
  }

  void Forward(const StepContext<T>& step, const BlockContext<T>& block) override {
    for (std::size_t p = 0; p < block.panels; ++p) {
      const std::size_t first = block.first_row + p * kLanes;
      const std::size_t lanes = std::min(kLanes, step.rows - first);
      for (std::size_t f = 0; f < fields_.size(); ++f) {
        T* out = block.out + (p * fields_.size() + f) * dim_ * kLanes;
        std::fill_n(out, dim_ * kLanes, T(0));
        for (std::size_t lane = 0; lane < lanes; ++lane) Embed(step, f, first + lane, out + lane);
      }
    }
  }

  // Gradients of the learned vectors of numeric fields: dw = sum over rows of number * dE.
  void Backward(const StepContext<T>& step, const BlockContext<T>& block) override {
    for (std::size_t f = 0; f < fields_.size(); ++f) {
      if (fields_[f].parameter < 0) continue;
      T* sum = block.parameter_gradients + offsets_[f];
      if (!block.accumulate_parameters) std::fill_n(sum, dim_, T(0));
      const float* number = Column(step, f).number.data() + block.first_row;
      for (std::size_t p = 0; p < block.panels; ++p, number += kLanes) {
        const T* gradient = block.out_gradient + (p * fields_.size() + f) * dim_ * kLanes;
        const std::size_t lanes = std::min(kLanes, block.rows - p * kLanes);
        for (std::size_t j = 0; j < dim_; ++j)
          for (std::size_t lane = 0; lane < lanes; ++lane)
            sum[j] += static_cast<T>(number[lane]) * gradient[j * kLanes + lane];
      }
    }
  }

  void FinishGradient(const StepContext<T>& step, const T* gradient, int thread,
                      int /*threads*/) override {
    for (const RowRange& range : ranges_of_thread_[thread]) {
      T* out = step.input->tables[range.table].gradients;
      for (std::size_t f = 0; f < fields_.size(); ++f)
        if (fields_[f].spec.table == static_cast<int>(range.table))
          Scatter(step, f, range, gradient + f * dim_ * kLanes, out);
    }
  }

  std::int64_t FirstNonFiniteRow(const StepContext<T>& step) const override {
    std::vector<T> value(dim_ * kLanes);
    for (std::size_t row = 0; row < step.rows; ++row)
      for (std::size_t f = 0; f < fields_.size(); ++f) {
        std::fill(value.begin(), value.end(), T(0));
        Embed(step, f, row, value.data());
        for (std::size_t j = 0; j < dim_; ++j)
          if (!std::isfinite(value[j * kLanes])) return static_cast<std::int64_t>(row);
      }
    return -1;
  }

 private:
  // out[j * kLanes] += element j of the row's embedding of field f.
  void Embed(const StepContext<T>& step, std::size_t f, std::size_t row, T* out) const {
    const FieldSpec& spec = fields_[f].spec;
    const FieldColumn& column = Column(step, f);
    if (spec.kind == FieldSpec::Kind::kNumeric) {
      const T number = static_cast<T>(column.number[row]);
      const T* vector = step.parameters + offsets_[f];
      for (std::size_t j = 0; j < dim_; ++j) out[j * kLanes] = number * vector[j];
      return;
    }
    const T* values = step.input->tables[spec.table].values;
    if (spec.kind == FieldSpec::Kind::kCategorical) {
      const T* vector = values + column.index[row] * dim_;
      for (std::size_t j = 0; j < dim_; ++j) out[j * kLanes] = vector[j];
      return;
    }
    const std::size_t begin = column.offsets[row], end = column.offsets[row + 1];
    for (std::size_t i = begin; i < end; ++i) {
      const T* vector = values + column.index[i] * dim_;
      for (std::size_t j = 0; j < dim_; ++j) out[j * kLanes] += vector[j];
    }
    if (spec.pooling == FieldSpec::Pooling::kSum || end - begin < 2) return;
    for (std::size_t j = 0; j < dim_; ++j) out[j * kLanes] /= static_cast<T>(end - begin);
  }

  // gradient: of field f in panel 0. Adds what falls on rows [begin, end) of the table.
  void Scatter(const StepContext<T>& step, std::size_t f, const RowRange& range, const T* gradient,
               T* out) const {
    const FieldSpec& spec = fields_[f].spec;
    const FieldColumn& column = Column(step, f);
    const std::size_t stride = fields_.size() * dim_ * kLanes;
    const bool is_sequence = spec.kind == FieldSpec::Kind::kSequence;
    for (std::size_t row = 0; row < step.rows; ++row) {
      const T* from = gradient + row / kLanes * stride + row % kLanes;
      const std::size_t begin = is_sequence ? column.offsets[row] : row;
      const std::size_t end = is_sequence ? column.offsets[row + 1] : row + 1;
      const T scale = is_sequence && spec.pooling == FieldSpec::Pooling::kMean && end > begin
                          ? T(1) / static_cast<T>(end - begin)
                          : T(1);
      for (std::size_t i = begin; i < end; ++i) {
        const std::size_t index = column.index[i];
        if (index < range.begin || index >= range.end) continue;
        T* to = out + index * dim_;
        for (std::size_t j = 0; j < dim_; ++j) to[j] += scale * from[j * kLanes];
      }
    }
  }

  static const FieldColumn& ColumnOf(const StepContext<T>& step, const Field& field) {
    return step.input->batch->fields[field.spec.field];
  }
  const FieldColumn& Column(const StepContext<T>& step, std::size_t f) const {
    return ColumnOf(step, fields_[f]);
  }

  void DealTables(const StepContext<T>& step) {
    std::map<std::size_t, std::size_t> occurrences;
    for (const Field& field : fields_)
      if (field.spec.table >= 0)
        occurrences[field.spec.table] += ColumnOf(step, field).index.size();
    std::vector<TableLoad> loads;
    for (const auto& [table, count] : occurrences)
      loads.push_back({table, step.input->batch->unique_keys[table].size(), count});
    DealRows(loads, &ranges_of_thread_);
  }

  const std::vector<Field> fields_;
  const std::size_t dim_;
  std::vector<std::size_t> offsets_;  // of numeric fields' vectors
  std::vector<std::vector<RowRange>> ranges_of_thread_;
};

Status CheckField(const FieldSpec& spec, const FieldSpec& first) {
  if (spec.dim != first.dim || spec.dim == 0)
    return absl::InvalidArgumentError(StrCat("op 'embeddings': field '", spec.name,
                                             "' has dimension ", spec.dim, ", but field '",
                                             first.name, "' has ", first.dim));
  if (spec.IsHistory())
    return absl::InvalidArgumentError(
        StrCat("op 'embeddings': field '", spec.name, "' is a history, which is not pooled"));
  if (spec.field < 0)
    return absl::InvalidArgumentError(
        StrCat("op 'embeddings': field '", spec.name, "' has no place in the batch"));
  if (spec.kind != FieldSpec::Kind::kNumeric && spec.table < 0)
    return absl::InvalidArgumentError(
        StrCat("op 'embeddings': field '", spec.name, "' has no table"));
  return OkStatus();
}

}  // namespace

Result<Tensor> FieldEmbeddings(GraphBuilder& graph, std::span<const FieldSpec> specs) {
  if (specs.empty()) return absl::InvalidArgumentError("op 'embeddings': the job has no fields");
  const std::uint32_t dim = specs[0].dim;
  std::vector<Field> fields;
  OpDef def;
  def.name = "embeddings";
  for (const FieldSpec& spec : specs) {
    RETURN_IF_ERROR(CheckField(spec, specs[0]), "field ", spec.name);
    fields.push_back({spec, -1});
    if (spec.kind != FieldSpec::Kind::kNumeric) {
      RETURN_IF_ERROR(AddTableUse(graph, spec.name, spec.table, dim, &def), "field ", spec.name);
      continue;
    }
    const Init init = spec.numeric_stddev > 0 ? Init::Normal(spec.numeric_stddev)
                      : dim == 1              ? Init::Constant(0)
                                              : Init::XavierNormal(1, dim);
    ASSIGN_OR_RETURN(
        const Parameter vector,
        graph.AddParameter(
            {.name = StrCat("numeric.", spec.name), .dims = {dim}, .is_weight = true}, init),
        "field ", spec.name);
    fields.back().parameter = vector.id;
    def.parameters.push_back(vector);
  }
  def.dims = {static_cast<std::uint32_t>(specs.size()), dim};
  def.finishes_gradient = true;
  SetOp<EmbeddingOp>(def, std::move(fields));
  return graph.AddOp(std::move(def));
}

}  // namespace cairn::worker::nn
