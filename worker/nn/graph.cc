// Executes a plan: deals blocks to threads, hands each op its pointers, computes the loss.
#include "worker/nn/graph.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <glog/logging.h>

#include "common/base/thread_pool.h"
#include "worker/nn/denormals.h"
#include "worker/nn/huge_buffer.h"
#include "worker/nn/op.h"
#include "worker/nn/plan.h"

namespace cairn::worker::nn {
namespace {

// 240 rows: five strips of three panels for the matrix kernels, and activations of a layer of some
// thousand values per row lie within a few megabytes.
constexpr std::size_t kBlockPanels = 15;

std::size_t BlockPanels(const GraphOptions& options) {
  return options.block_rows == 0 ? kBlockPanels : PanelsOf(options.block_rows);
}

struct BlockRange {
  std::size_t first_panel = 0;
  std::size_t panels = 0;
};

// The part of a block that a step works on.
struct Part {
  std::size_t block = 0;
  std::size_t first_panel = 0;  // within the block
  std::size_t panels = 0;
};

// What a thread owns.
template <typename T>
struct ThreadState {
  std::size_t first_block = 0, end_block = 0;
  HugeBuffer<T> scratch;
  HugeBuffer<T> local;
  HugeBuffer<T> workspace;
  HugeBuffer<T> gradients;  // not of thread 0: it writes to the caller's
  T* gradient_out = nullptr;
  // Pointers of the step at hand; sized once.
  std::vector<const T*> in;
  std::vector<T*> in_gradient;
};

struct BlockLoss {
  double sum = 0;
  std::int64_t first_non_finite = -1;
};

template <typename T>
std::unique_ptr<Op<T>> MakeOp(const OpDef& def, const OpEnvironment<T>& environment) {
  if constexpr (std::is_same_v<T, float>) {
    return def.make_float(environment);
  } else {
    return def.make_double(environment);
  }
}

template <typename T>
class GraphImpl final : public BasicGraph<T> {
 public:
  GraphImpl(const GraphBuilder& builder, const GraphOptions& options, const Kernels<T>* kernels,
            Plan plan)
      : pool_(options.pool),
        kernels_(kernels),
        plan_(std::move(plan)),
        block_panels_(BlockPanels(options)) {
    parameter_floats_ = builder.ParameterFloats();
    OpEnvironment<T> environment;
    environment.kernels = kernels;
    environment.threads = Threads();
    environment.seed = builder.seed();
    std::size_t offset = 0;
    for (const DenseTensor& tensor : builder.layout()) {
      environment.offsets.push_back(offset);
      offset += tensor.Floats();
    }
    std::size_t workspace = 0, most_inputs = 1;
    for (const OpDef& def : builder.ops()) {
      ops_.push_back(MakeOp(def, environment));
      workspace = std::max(workspace, ops_.back()->WorkspaceFloats());
      most_inputs = std::max(most_inputs, def.inputs.size());
    }
    threads_.resize(Threads());
    for (ThreadState<T>& thread : threads_) {
      thread.scratch.Grow(plan_.scratch_size * block_panels_ * kLanes);
      thread.local.Grow(plan_.local_size * kGroupPanels * kLanes);
      thread.workspace.Grow(workspace);
      thread.in.resize(most_inputs);
      thread.in_gradient.resize(most_inputs);
      if (&thread != &threads_[0]) thread.gradients.Grow(parameter_floats_);
    }
    for (const auto& [op, place] : plan_.finish)
      for (const TableUse& use : builder.ops()[op].tables) table_dims_[use.table] = use.dim;
    MakeRoom(options.max_rows);
  }

  StepResult TrainStep(const BasicStepInput<T>& input, const BasicStepOutput<T>& output) override {
    CHECK_EQ(output.dense_gradients.size(), parameter_floats_);
    Begin(input, /*training=*/true, output.logits);
    threads_[0].gradient_out = output.dense_gradients.data();
    for (std::size_t t = 1; t < threads_.size(); ++t)
      threads_[t].gradient_out = threads_[t].gradients.data();
    for (const PlanStage& stage : plan_.train) RunStage(stage);
    Finish();
    return Loss();
  }

  void Score(const BasicStepInput<T>& input, std::span<T> logits) override {
    CHECK_EQ(logits.size(), input.batch->rows);
    Begin(input, /*training=*/false, logits);
    for (const PlanStage& stage : plan_.score) RunStage(stage);
  }

  std::size_t MemoryBytes() const override {
    std::size_t bytes = saved_.bytes();
    for (const ThreadState<T>& thread : threads_)
      bytes += thread.scratch.bytes() + thread.local.bytes() + thread.workspace.bytes() +
               thread.gradients.bytes();
    for (const auto& op : ops_) bytes += op->MemoryBytes();
    return bytes;
  }

 private:
  int Threads() const { return pool_ == nullptr ? 1 : pool_->threads(); }

  template <typename Work>
  void OnThreads(Work work) {
    const auto guarded = [&](int thread) {
      const FlushDenormals flush;
      work(thread);
    };
    if (pool_ == nullptr) {
      guarded(0);
    } else {
      pool_->Run(guarded);
    }
  }

  void MakeRoom(std::size_t rows) {
    if (PanelsOf(rows) <= panels_) return;
    panels_ = PanelsOf(rows);
    saved_.Grow(plan_.saved_size * panels_ * kLanes);
  }

  void Begin(const BasicStepInput<T>& input, bool training, std::span<T> logits) {
    CHECK_EQ(input.dense.size(), parameter_floats_);
    CHECK_GT(input.batch->rows, 0u);
    const std::size_t rows = input.batch->rows;
    if (training) CHECK_EQ(input.batch->labels.size(), rows);
    if (!logits.empty()) CHECK_EQ(logits.size(), rows);
    MakeRoom(rows);
    logits_ = logits;
    CutBlocks(rows);
    step_ = {&input, rows, blocks_.size(), training, input.dense.data()};
    losses_.assign(blocks_.size(), {});
    for (const auto& op : ops_) op->BeginStep(step_);
    OnThreads([&](int thread) {
      for (const auto& op : ops_) op->Prepare(step_, thread, Threads());
    });
  }

  // Each thread has a range of panels, cut in blocks.
  void CutBlocks(std::size_t rows) {
    const std::size_t panels = PanelsOf(rows);
    blocks_.clear();
    for (std::size_t t = 0; t < threads_.size(); ++t) {
      const std::size_t end = PartBegin(panels, threads_.size(), t + 1);
      threads_[t].first_block = blocks_.size();
      for (std::size_t first = PartBegin(panels, threads_.size(), t); first < end;
           first += block_panels_)
        blocks_.push_back({first, std::min(block_panels_, end - first)});
      threads_[t].end_block = blocks_.size();
    }
  }

  void RunStage(const PlanStage& stage) {
    OnThreads([&](int t) {
      ThreadState<T>& thread = threads_[t];
      for (std::size_t b = thread.first_block; b < thread.end_block; ++b)
        for (const PlanGroup& group : stage.groups) RunGroup(stage, group, b, thread);
    });
    for (int op : stage.combine) ops_[op]->Combine(step_);
    for (int op : stage.combine_gradient)
      ops_[op]->CombineGradient(step_, threads_[0].gradient_out);
  }

  void RunGroup(const PlanStage& stage, const PlanGroup& group, std::size_t b,
                ThreadState<T>& thread) {
    const std::size_t panels = blocks_[b].panels;
    const std::size_t unit = group.wide ? panels : kGroupPanels;
    for (std::size_t first = 0; first < panels; first += unit)
      for (std::size_t k = group.begin; k < group.end; ++k)
        RunStep(stage.steps[k], {b, first, std::min(unit, panels - first)}, thread);
  }

  T* At(const Place& place, const Part& part, ThreadState<T>& thread) {
    switch (place.kind) {
      case Place::Kind::kSaved: {
        const std::size_t panel = blocks_[part.block].first_panel + part.first_panel;
        return saved_.data() + (place.offset * panels_ + place.size * panel) * kLanes;
      }
      case Place::Kind::kScratch:
        return thread.scratch.data() +
               (place.offset * block_panels_ + place.size * part.first_panel) * kLanes;
      case Place::Kind::kLocal:
        return thread.local.data() + place.offset * kGroupPanels * kLanes;
      case Place::Kind::kNone:
        break;
    }
    return nullptr;
  }

  void RunStep(const PlanStep& step, const Part& part, ThreadState<T>& thread) {
    BlockContext<T> block;
    block.index = part.block;
    block.first_row = (blocks_[part.block].first_panel + part.first_panel) * kLanes;
    block.panels = part.panels;
    block.rows = std::min(block.panels * kLanes, step_.rows - block.first_row);
    block.accumulate_parameters = part.block != thread.first_block || part.first_panel > 0;
    block.parameter_gradients = thread.gradient_out;
    block.workspace = thread.workspace.data();
    block.again = step.again;
    for (std::size_t i = 0; i < step.in.size(); ++i) thread.in[i] = At(step.in[i], part, thread);
    for (std::size_t i = 0; i < step.in_gradient.size(); ++i)
      thread.in_gradient[i] = At(step.in_gradient[i], part, thread);
    block.in = thread.in.data();
    block.out = At(step.out, part, thread);
    block.out_gradient = At(step.out_gradient, part, thread);
    block.in_gradient = thread.in_gradient.data();
    block.accumulate = reinterpret_cast<const bool*>(step.accumulate.data());
    switch (step.action) {
      case PlanStep::Action::kForward:
        return ops_[step.op]->Forward(step_, block);
      case PlanStep::Action::kReduce:
        return ops_[step.op]->Reduce(step_, block);
      case PlanStep::Action::kReduceGradient:
        return ops_[step.op]->ReduceGradient(step_, block);
      case PlanStep::Action::kBackward:
        return ops_[step.op]->Backward(step_, block);
      case PlanStep::Action::kLoss:
        return ComputeLoss(block, losses_[part.block]);
    }
  }

  // Mean binary cross-entropy of the logits and its gradient (sigmoid(z) - y) / rows.
  void ComputeLoss(const BlockContext<T>& block, BlockLoss& loss) {
    for (std::size_t r = 0; r < block.rows && !logits_.empty(); ++r)
      logits_[block.first_row + r] = block.in[0][r];
    if (!step_.training) return;
    T* gradient = block.in_gradient[0];
    std::fill(gradient, gradient + block.panels * kLanes, T(0));
    const double scale = 1.0 / static_cast<double>(step_.rows);
    for (std::size_t r = 0; r < block.rows; ++r) {
      const double z = block.in[0][r];
      const double y = step_.input->batch->labels[block.first_row + r];
      const double tail = std::exp(-std::abs(z));
      const double row_loss = std::max(z, 0.0) - z * y + std::log1p(tail);
      if (!std::isfinite(row_loss) && loss.first_non_finite < 0)
        loss.first_non_finite = static_cast<std::int64_t>(block.first_row + r);
      loss.sum += row_loss;
      const double probability = z >= 0 ? 1 / (1 + tail) : tail / (1 + tail);
      gradient[r] = static_cast<T>((probability - y) * scale);
    }
  }

  // Lets the embeddings gather their gradients; sums the threads' gradients in thread order.
  void Finish() {
    OnThreads([&](int thread) {
      for (const auto& [table, dim] : table_dims_) ZeroTableGradients(table, dim, thread);
    });
    for (const auto& [op, place] : plan_.finish)
      OnThreads([&, op = op, gradient = At(place, {}, threads_[0])](int thread) {
        ops_[op]->FinishGradient(step_, gradient, thread, Threads());
      });
    OnThreads([&](int thread) { SumThreadGradients(thread); });
  }

  void ZeroTableGradients(std::size_t table, std::size_t dim, int thread) {
    T* gradients = step_.input->tables[table].gradients;
    const std::size_t rows = step_.input->batch->unique_keys[table].size();
    std::fill(gradients + PartBegin(rows, threads_.size(), thread) * dim,
              gradients + PartBegin(rows, threads_.size(), thread + 1) * dim, T(0));
  }

  void SumThreadGradients(int thread) {
    const std::size_t begin =
        PartBegin(parameter_floats_ / kLanes, threads_.size(), thread) * kLanes;
    std::size_t end = PartBegin(parameter_floats_ / kLanes, threads_.size(), thread + 1) * kLanes;
    T* sum = threads_[0].gradient_out;
    const bool is_last = thread + 1 == Threads();
    for (std::size_t t = 1; t < threads_.size(); ++t) {
      if (threads_[t].first_block == threads_[t].end_block) continue;
      const T* part = threads_[t].gradients.data();
      kernels_->add(sum + begin, part + begin, end - begin, sum + begin);
      for (std::size_t i = end; is_last && i < parameter_floats_; ++i) sum[i] += part[i];
    }
  }

  StepResult Loss() const {
    StepResult result;
    for (const BlockLoss& loss : losses_) {
      result.loss_sum += loss.sum;
      if (result.first_non_finite_row < 0) result.first_non_finite_row = loss.first_non_finite;
    }
    if (result.first_non_finite_row < 0) return result;
    std::int64_t first = -1;
    for (const auto& op : ops_) {
      const std::int64_t row = op->FirstNonFiniteRow(step_);
      if (row >= 0 && (first < 0 || row < first)) first = row;
    }
    if (first >= 0) result.first_non_finite_row = first;
    return result;
  }

  ThreadPool* pool_;
  const Kernels<T>* kernels_;
  Plan plan_;
  std::vector<std::unique_ptr<Op<T>>> ops_;
  std::map<std::size_t, std::size_t> table_dims_;  // of the tables that are read
  std::size_t parameter_floats_ = 0;
  const std::size_t block_panels_;
  std::size_t panels_ = 0;  // room for this many
  HugeBuffer<T> saved_;
  std::vector<ThreadState<T>> threads_;
  // Of the step that runs.
  StepContext<T> step_;
  std::vector<BlockRange> blocks_;
  std::vector<BlockLoss> losses_;
  std::span<T> logits_;
};

Status CheckGraph(const GraphBuilder& builder, const Tensor& logit) {
  if (logit.id < 0 || logit.Size() != 1)
    return ShapeError("logit", "must have one value per row, not", {logit.dims});
  std::vector<char> used(builder.layout().size(), 0), needed(builder.ops().size(), 0);
  std::vector<char> read(builder.ops().size(), 0);
  needed[logit.id] = read[logit.id] = 1;
  for (int i = logit.id; i >= 0; --i) {
    const OpDef& def = builder.ops()[i];
    for (const Tensor& input : def.inputs) read[input.id] |= read[i];
    if (read[i] && !needed[i] && def.finishes_gradient)
      return absl::InvalidArgumentError(
          StrCat("'", def.name, "' has no gradient: the logit depends on it through a mask only"));
    if (!needed[i]) continue;
    for (std::size_t k = 0; k < std::min(def.inputs.size(), def.first_constant_input); ++k)
      needed[def.inputs[k].id] = 1;
    for (const Parameter& parameter : builder.ops()[i].parameters) used[parameter.id] = 1;
  }
  for (std::size_t i = 0; i < used.size(); ++i)
    if (!used[i])
      return absl::InvalidArgumentError(
          StrCat("the logit does not depend on the parameter '", builder.layout()[i].name, "'"));
  return OkStatus();
}

// Whether the buffers of a graph fit. In floating point: the products may exceed 64 bits.
template <typename T>
Status CheckMemory(const Plan& plan, const GraphBuilder& builder, const GraphOptions& options) {
  if (options.max_bytes == 0) return OkStatus();
  const int threads = options.pool == nullptr ? 1 : options.pool->threads();
  const auto values = [](std::size_t per_row, std::size_t panels) {
    return static_cast<double>(per_row) * static_cast<double>(panels * kLanes);
  };
  const double of_thread = values(plan.scratch_size, BlockPanels(options)) +
                           values(plan.local_size, kGroupPanels) +
                           static_cast<double>(builder.ParameterFloats());
  const double bytes = sizeof(T) * (values(plan.saved_size, PanelsOf(options.max_rows)) +
                                    of_thread * static_cast<double>(threads));
  if (bytes <= static_cast<double>(options.max_bytes)) return OkStatus();
  return absl::InvalidArgumentError(StrCat(
      "batches of ", options.max_rows, " rows on ", threads, threads == 1 ? " thread" : " threads",
      " need ", std::ceil(bytes / 1e8) / 10, " GB of memory, and there are ",
      std::floor(static_cast<double>(options.max_bytes) / 1e8) / 10,
      " GB; smaller batches, fewer threads, shorter histories or a smaller model need less"));
}

}  // namespace

template <typename T>
Result<std::unique_ptr<BasicGraph<T>>> BasicGraph<T>::Make(const GraphBuilder& builder,
                                                           const Tensor& logit,
                                                           const GraphOptions& options) {
  RETURN_IF_ERROR(CheckGraph(builder, logit), "while making a graph");
  const Kernels<T>* kernels = FindKernels<T>(options.isa);
  if (kernels == nullptr)
    return absl::FailedPreconditionError("this CPU lacks the instruction set that was asked for");
  Plan plan = MakePlan(builder.ops(), logit);
  RETURN_IF_ERROR(CheckMemory<T>(plan, builder, options));
  return std::unique_ptr<BasicGraph<T>>(
      std::make_unique<GraphImpl<T>>(builder, options, kernels, std::move(plan)));
}

template class BasicGraph<float>;
template class BasicGraph<double>;

}  // namespace cairn::worker::nn
