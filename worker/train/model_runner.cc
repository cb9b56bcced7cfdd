#include "worker/train/model_runner.h"

#include <unistd.h>

#include <utility>

#include "common/base/thread_pool.h"
#include "proto/config.pb.h"
#include "worker/features/field_specs.h"
#include "worker/models/model.h"
#include "worker/nn/graph.h"

namespace cairn::worker {
namespace {

std::size_t MemoryOfMachine() {
  const long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGE_SIZE);
  return pages > 0 && page_bytes > 0
             ? static_cast<std::size_t>(pages) * static_cast<std::size_t>(page_bytes)
             : 0;
}

class GraphRunner : public ModelRunner {
 public:
  GraphRunner(const proto::JobConfig& job, int threads, nn::GraphBuilder builder)
      : pool_(threads), builder_(std::move(builder)) {
    for (const proto::TableConfig& table : job.table()) table_dims_.push_back(table.dim());
    rows_.resize(table_dims_.size());
  }

  Status MakeGraph(const nn::Tensor& logit, std::size_t max_rows) {
    nn::GraphOptions options;
    options.max_rows = max_rows;
    options.pool = &pool_;
    options.max_bytes = MemoryOfMachine();
    ASSIGN_OR_RETURN(graph_, nn::Graph::Make(builder_, logit, options));
    return OkStatus();
  }

  const DenseLayout& Layout() const override { return builder_.layout(); }
  std::vector<float> InitialDense() const override { return builder_.InitialValues(); }
  std::span<const std::uint32_t> TableDims() const override { return table_dims_; }

  StepLoss TrainStep(const Batch& batch, std::uint64_t step_seed, StepBuffers* buffers) override {
    const nn::StepOutput output{buffers->dense_gradients, {}};
    const nn::StepResult result = graph_->TrainStep(Input(batch, step_seed, buffers), output);
    return {result.loss_sum, result.first_non_finite_row};
  }

  void Score(const Batch& batch, StepBuffers* buffers, std::span<float> logits) override {
    graph_->Score(Input(batch, 0, buffers), logits);
  }

 private:
  nn::StepInput Input(const Batch& batch, std::uint64_t step_seed, StepBuffers* buffers) {
    for (std::size_t t = 0; t < rows_.size(); ++t)
      rows_[t] = {buffers->values[t].data(), buffers->gradients[t].data()};
    return {&batch, rows_, buffers->dense, step_seed};
  }

  ThreadPool pool_;
  nn::GraphBuilder builder_;
  std::unique_ptr<nn::Graph> graph_;
  std::vector<std::uint32_t> table_dims_;
  std::vector<nn::TableRows> rows_;
};

// The model's parameters and ops in `builder`, and its logit.
Result<nn::Tensor> Build(const proto::JobConfig& job, std::vector<FieldSpec> fields,
                         nn::GraphBuilder* builder) {
  ASSIGN_OR_RETURN(const ModelEntry* entry, FindModel(job.model()));
  ModelContext context;
  context.fields = std::move(fields);
  context.seed = job.seed();
  ASSIGN_OR_RETURN(const nn::Tensor logit, entry->build(job.model(), context, *builder), "model ",
                   entry->name);
  return logit;
}

}  // namespace

Result<std::unique_ptr<ModelRunner>> ModelRunner::Make(const proto::JobConfig& job, int threads) {
  nn::GraphBuilder builder(job.seed());
  ASSIGN_OR_RETURN(const nn::Tensor logit, Build(job, FieldSpecs(job), &builder));
  auto runner = std::make_unique<GraphRunner>(job, threads, std::move(builder));
  RETURN_IF_ERROR(runner->MakeGraph(logit, job.train().batch_size()), "model");
  return runner;
}

Status CheckModel(const proto::JobConfig& job) {
  std::vector<FieldSpec> fields = FieldSpecs(job);
  for (FieldSpec& field : fields)
    if (!field.density) field.density = 0;
  nn::GraphBuilder builder(job.seed());
  return Build(job, std::move(fields), &builder).status();
}

}  // namespace cairn::worker
