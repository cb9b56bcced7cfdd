#include "worker/nn/ops/embedding.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <glog/logging.h>

#include "common/base/thread_pool.h"
#include "worker/nn/op.h"

namespace cairn::worker::nn {
namespace {

struct Field {
  FieldSpec spec;
  int parameter = -1;  // numeric: the learned vector
};

// A range of one table's unique rows, whose gradients one thread sums.
struct RowRange {
  std::size_t table = 0;
  std::size_t begin = 0, end = 0;
  std::size_t cost = 0;  // occurrences to look at
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
    CHECK_EQ(step.input->batch->fields.size(), fields_.size());
    if (step.training) DealRanges(step);
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
      const float* number = step.input->batch->fields[f].number.data() + block.first_row;
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
      std::fill(out + range.begin * dim_, out + range.end * dim_, T(0));
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
    const FieldColumn& column = step.input->batch->fields[f];
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
    const FieldColumn& column = step.input->batch->fields[f];
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

  // Whole tables go to threads, the costly ones first, each to the thread with the least so far; a
  // table that alone is more than a thread's share is cut into ranges of rows.
  void DealRanges(const StepContext<T>& step) {
    const Batch& batch = *step.input->batch;
    const std::size_t threads = ranges_of_thread_.size();
    std::vector<std::size_t> cost(batch.unique_keys.size(), 0);
    std::size_t total = 0;
    for (std::size_t f = 0; f < fields_.size(); ++f) {
      if (fields_[f].spec.table < 0) continue;
      cost[fields_[f].spec.table] += batch.fields[f].index.size();
      total += batch.fields[f].index.size();
    }
    std::vector<RowRange> ranges;
    for (std::size_t t = 0; t < cost.size(); ++t) {
      if (step.input->tables.size() <= t || step.input->tables[t].gradients == nullptr) continue;
      const std::size_t rows = batch.unique_keys[t].size();
      const std::size_t parts = cost[t] * threads > total ? threads : 1;
      for (std::size_t part = 0; part < parts; ++part)
        ranges.push_back({t, PartBegin(rows, parts, part), PartBegin(rows, parts, part + 1),
                          cost[t] / parts + 1});
    }
    std::stable_sort(ranges.begin(), ranges.end(),
                     [](const RowRange& a, const RowRange& b) { return a.cost > b.cost; });
    for (auto& list : ranges_of_thread_) list.clear();
    std::vector<std::size_t> load(threads, 0);
    for (const RowRange& range : ranges) {
      const std::size_t t = std::min_element(load.begin(), load.end()) - load.begin();
      load[t] += range.cost;
      ranges_of_thread_[t].push_back(range);
    }
  }

  const std::vector<Field> fields_;
  const std::size_t dim_;
  std::vector<std::size_t> offsets_;  // of numeric fields' vectors
  std::vector<std::vector<RowRange>> ranges_of_thread_;
};

}  // namespace

Result<Tensor> FieldEmbeddings(GraphBuilder& graph, std::span<const FieldSpec> specs) {
  if (specs.empty()) return absl::InvalidArgumentError("op 'embeddings': the job has no fields");
  const std::uint32_t dim = specs[0].dim;
  std::vector<Field> fields;
  OpDef def;
  for (const FieldSpec& spec : specs) {
    if (spec.dim != dim || dim == 0)
      return absl::InvalidArgumentError(StrCat("op 'embeddings': field '", spec.name,
                                               "' has dimension ", spec.dim, ", but field '",
                                               specs[0].name, "' has ", dim));
    fields.push_back({spec, -1});
    if (spec.kind == FieldSpec::Kind::kNumeric) {
      ASSIGN_OR_RETURN(
          const Parameter vector,
          graph.AddParameter(
              {.name = StrCat("numeric.", spec.name), .dims = {dim}, .is_weight = true},
              Init::XavierNormal(1, dim)),
          "field ", spec.name);
      fields.back().parameter = vector.id;
      def.parameters.push_back(vector);
    } else if (spec.table < 0) {
      return absl::InvalidArgumentError(
          StrCat("op 'embeddings': field '", spec.name, "' has no table"));
    }
  }
  def.name = "embeddings";
  def.dims = {static_cast<std::uint32_t>(specs.size()), dim};
  def.finishes_gradient = true;
  SetOp<EmbeddingOp>(def, std::move(fields));
  return graph.AddOp(std::move(def));
}

}  // namespace cairn::worker::nn
