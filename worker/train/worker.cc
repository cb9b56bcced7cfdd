#include "worker/train/worker.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "common/base/bounded_queue.h"
#include "common/base/mutex.h"
#include "common/math/hash.h"
#include "proto/config.pb.h"
#include "proto/control.pb.h"
#include "worker/data/dataset.h"
#include "worker/features/vocabulary.h"
#include "worker/train/model_runner.h"

namespace cairn::worker {
namespace {

constexpr int kSplits = 3;
constexpr std::uint64_t kNoBound = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kTellWaitMs = 10'000;

// One batch on its way through the stages, and the place of its results.
struct Step {
  proto::Task task;
  WindowInfo window;
  std::uint64_t begin = 0;   // first row of the batch in the visiting order
  bool last = false;         // of its task
  std::uint64_t number = 0;  // of this worker's training steps, from 1; 0: of none
  std::uint64_t bad_rows = 0;
  Batch batch;
  StepBuffers buffers;
  StepLoss loss;
  bool push = false;
  std::vector<float> logits;
};
using StepPtr = std::unique_ptr<Step>;

// Sums of a task over its steps.
struct TaskSums {
  std::uint64_t rows = 0, steps = 0, bad_rows = 0, skipped_steps = 0;
  double loss = 0;
  std::string logits, labels, groups;
};

// Scales all gradients so that their common L2 norm is at most `limit`. Returns the norm before.
double ClipGradients(const Batch& batch, std::span<const std::uint32_t> dims,
                     const DenseLayout& layout, double limit, StepBuffers* buffers) {
  double squares = 0;
  const auto add = [&squares](const float* x, std::size_t n) {
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
    squares += sum;
  };
  for (std::size_t t = 0; t < dims.size(); ++t)
    add(buffers->gradients[t].data(), batch.unique_keys[t].size() * dims[t]);
  std::size_t offset = 0;
  for (const DenseTensor& tensor : layout) {
    if (!tensor.is_statistic) add(buffers->dense_gradients.data() + offset, tensor.Floats());
    offset += tensor.Floats();
  }
  const double norm = std::sqrt(squares);
  if (limit <= 0 || !(norm > limit)) return norm;
  const float scale = static_cast<float>(limit / norm);
  const auto multiply = [scale](float* x, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) x[i] *= scale;
  };
  for (std::size_t t = 0; t < dims.size(); ++t)
    multiply(buffers->gradients[t].data(), batch.unique_keys[t].size() * dims[t]);
  offset = 0;
  for (const DenseTensor& tensor : layout) {
    if (!tensor.is_statistic) multiply(buffers->dense_gradients.data() + offset, tensor.Floats());
    offset += tensor.Floats();
  }
  return norm;
}

class WorkerImpl : public Worker {
 public:
  WorkerImpl(const proto::JobConfig& job, const WorkerOptions& options, PsClient* servers,
             JobControl* control, std::unique_ptr<ModelRunner> model)
      : job_(job),
        options_(options),
        servers_(servers),
        control_(control),
        model_(std::move(model)),
        depth_(std::max(0, options.prefetch_batches)),
        free_(static_cast<std::size_t>(depth_) + 4),
        parsed_(2),
        pulled_(static_cast<std::size_t>(std::max(1, depth_))),
        computed_(1) {
    row_bound_ = Bound(job.sparse().consistency(), job.sparse().staleness());
    dense_bound_ = Bound(job.dense().consistency(), job.dense().staleness());
    // Read together where the rows' bound is as strict.
    dense_apart_ = dense_bound_ < row_bound_;
    for (const DenseTensor& tensor : model_->Layout()) dense_floats_ += tensor.Floats();
    for (int i = 0; i < depth_ + 4; ++i) free_.Push(std::make_unique<Step>());
  }

  Status Run() override {
    RETURN_IF_ERROR(servers_->RegisterDense(model_->Layout(), model_->InitialDense()));
    std::vector<std::thread> threads;
    threads.emplace_back([this] { ReadLoop(); });
    if (depth_ > 0) {
      threads.emplace_back([this] { PullLoop(); });
      threads.emplace_back([this] { PushLoop(); });
    }
    ComputeLoop();
    for (std::thread& thread : threads) thread.join();
    MutexLock lock(mu_);
    return first_error_;
  }

  void Stop() override {
    stopping_.store(true);
    CloseQueues();
    servers_->Cancel();
  }

 private:
  // The first error of any stage ends all of them.
  bool Check(const Status& status) {
    if (status.ok()) return true;
    // What comes after the first error, or after Stop, is a consequence.
    if (!stopping_.exchange(true)) {
      MutexLock lock(mu_);
      first_error_ = status;
    }
    CloseQueues();
    servers_->Cancel();
    return false;
  }

  void CloseQueues() {
    free_.Close();
    parsed_.Close();
    pulled_.Close();
    computed_.Close();
  }

  // ---------------------------------------------------------------- reader thread

  void ReadLoop() {
    proto::AcquireTaskRequest request;
    request.set_worker(options_.worker);
    request.set_incarnation(options_.incarnation);
    while (!stopping_.load()) {
      proto::Task task;
      if (!Check(control_->AcquireTask(request, &task))) break;
      if (task.kind() == proto::Task::LEAVE) break;
      if (task.kind() == proto::Task::WAIT) continue;
      if (!Check(ReadTask(task))) break;
    }
    parsed_.Close();
  }

  Status ReadTask(const proto::Task& task) {
    std::unique_ptr<Dataset>& data = data_[static_cast<std::size_t>(task.split())];
    if (data == nullptr) {
      DatasetOptions options;
      options.vocabulary = options_.vocabulary;
      ASSIGN_OR_RETURN(data, Dataset::Make(job_, task.split(), options));
    }
    ASSIGN_OR_RETURN(const WindowInfo window, data->OpenWindow(task.epoch(), task.window()));
    const std::uint64_t end = std::min(task.end(), window.rows);
    std::uint64_t begin = std::min(task.begin(), end);
    do {
      std::optional<StepPtr> step = free_.Pop();
      if (!step.has_value()) return OkStatus();  // stopping
      Step& s = **step;
      s.task = task;
      s.window = window;
      s.begin = begin;
      const std::uint64_t batch_end =
          std::min<std::uint64_t>(begin + job_.train().batch_size(), end);
      s.batch.rows = 0;
      s.bad_rows = 0;
      if (batch_end > begin)
        RETURN_IF_ERROR(data->ReadBatch(begin, batch_end, &s.batch, &s.bad_rows));
      begin = batch_end;
      s.last = begin >= end;
      s.number = task.kind() == proto::Task::TRAIN_ROWS && s.batch.rows > 0 ? ++steps_read_ : 0;
      if (!parsed_.Push(std::move(*step))) return OkStatus();
    } while (begin < end);
    return OkStatus();
  }

  // ---------------------------------------------------------------- pull

  Status Pull(Step* step) {
    if (step->batch.rows == 0) return OkStatus();
    const PullMode mode =
        step->task.kind() == proto::Task::SCORE_ROWS ? PullMode::kScore : PullMode::kTrain;
    const bool is_training = step->number != 0;
    if (is_training) RETURN_IF_ERROR(AwaitTurn(*step, row_bound_));
    return PullStep(step->batch, model_->TableDims(), dense_floats_,
                    /*with_dense=*/!is_training || !dense_apart_, mode, step->number, servers_,
                    &step->buffers);
  }

  // Dense parameters that may not be read as early as rows.
  Status PullDenseOf(Step* step) {
    if (step->number == 0 || !dense_apart_) return OkStatus();
    RETURN_IF_ERROR(AwaitTurn(*step, dense_bound_));
    return PullDense(PullMode::kTrain, step->number, servers_, &step->buffers);
  }

  // Until no worker is more than `bound` steps behind this one.
  Status AwaitTurn(const Step& step, std::uint64_t bound) {
    if (bound == kNoBound) return OkStatus();
    proto::BeginStepRequest request;
    request.set_worker(options_.worker);
    request.set_incarnation(options_.incarnation);
    request.set_step(step.number - 1);
    request.set_staleness(bound);
    for (std::uint64_t waited_ms = 0; !stopping_.load(); waited_ms += request.wait_ms()) {
      proto::BeginStepReply reply;
      RETURN_IF_ERROR(control_->BeginStep(request, &reply));
      if (reply.may_begin()) return OkStatus();
      if (waited_ms > 0 && waited_ms % kTellWaitMs == 0) {
        LOG(WARNING) << "worker " << options_.worker << " waits since " << waited_ms / 1000
                     << " s for worker " << reply.slowest_worker() << ", which is "
                     << reply.behind() << " steps behind";
      }
    }
    return absl::CancelledError("stopped");
  }

  Status TellDone(const Step& step) {
    if (step.number == 0 || std::min(row_bound_, dense_bound_) == kNoBound) return OkStatus();
    proto::EndStepRequest request;
    request.set_worker(options_.worker);
    request.set_incarnation(options_.incarnation);
    request.set_steps(step.number);
    return control_->EndStep(request);
  }

  static std::uint64_t Bound(proto::Consistency consistency, std::uint32_t staleness) {
    switch (consistency) {
      case proto::SYNC:
        return 0;
      case proto::SSP:
        return staleness;
      case proto::ASYNC:
        break;
    }
    return kNoBound;
  }

  void PullLoop() {
    // What is pulled early is stale when its turn comes: no step more than there is room for.
    while (pulled_.WaitForRoom()) {
      std::optional<StepPtr> step = parsed_.Pop();
      if (!step.has_value() || !Check(Pull(step->get()))) break;
      if (!pulled_.Push(std::move(*step))) break;
    }
    pulled_.Close();
  }

  // ---------------------------------------------------------------- model

  void ComputeLoop() {
    BoundedQueue<StepPtr>& source = depth_ > 0 ? pulled_ : parsed_;
    while (std::optional<StepPtr> step = source.Pop()) {
      if (stopping_.load()) break;
      if (depth_ == 0 && !Check(Pull(step->get()))) break;
      if (!Check(PullDenseOf(step->get()))) break;
      if (!Check(Compute(step->get()))) break;
      if (depth_ > 0) {
        if (!computed_.Push(std::move(*step))) break;
      } else if (!Check(Finish(std::move(*step)))) {
        break;
      }
    }
    computed_.Close();
  }

  Status Compute(Step* step) {
    step->push = false;
    step->loss = {};
    if (step->batch.rows == 0) return OkStatus();
    if (step->task.kind() == proto::Task::SCORE_ROWS) {
      step->logits.resize(step->batch.rows);
      model_->Score(step->batch, &step->buffers, step->logits);
      return OkStatus();
    }
    const std::uint64_t position = (step->task.window() << 32) + step->begin;
    step->loss = model_->TrainStep(step->batch, Mix64(Mix64(step->task.epoch() + 1) + position),
                                   &step->buffers);
    const double norm = ClipGradients(step->batch, model_->TableDims(), model_->Layout(),
                                      job_.train().clip_norm(), &step->buffers);
    step->push = step->loss.non_finite_row < 0 && std::isfinite(norm);
    if (step->push || job_.train().non_finite() == proto::TrainConfig::SKIP) return OkStatus();
    return NonFinite(*step);
  }

  Status NonFinite(const Step& step) const {
    const BatchOrigin& origin = step.batch.origin;
    const std::string where =
        StrCat("the batch of ", step.batch.rows, " rows at epoch ", step.task.epoch(), " window ",
               step.task.window(), " row ", step.begin, " (first row: ", origin.file, ":",
               origin.first_line, ")");
    const std::string hint =
        "; a lower learning rate or train.clip_norm may help, train.non_finite: SKIP leaves such "
        "steps out";
    if (step.loss.non_finite_row >= 0)
      return absl::InvalidArgumentError(StrCat("the loss of row ", step.loss.non_finite_row, " of ",
                                               where, " is not finite", hint));
    return absl::InvalidArgumentError(StrCat("a gradient of ", where, " is not finite", hint));
  }

  // ---------------------------------------------------------------- push and report

  void PushLoop() {
    while (std::optional<StepPtr> step = computed_.Pop()) {
      if (!Check(Finish(std::move(*step)))) break;
    }
  }

  Status Finish(StepPtr step) {
    const bool score = step->task.kind() == proto::Task::SCORE_ROWS;
    if (step->push)
      RETURN_IF_ERROR(PushStep(step->batch, step->task.learning_rate_scale(), step->number,
                               servers_, step->buffers),
                      "pushing the batch that starts at ", step->batch.origin.file, ":",
                      step->batch.origin.first_line);
    RETURN_IF_ERROR(TellDone(*step));
    sums_.bad_rows += step->bad_rows;
    sums_.rows += step->batch.rows;
    if (step->batch.rows > 0 && score) AppendScores(*step);
    if (step->batch.rows > 0 && !score) {
      if (step->push) {
        ++sums_.steps;
        sums_.loss += step->loss.sum;
      } else {
        ++sums_.skipped_steps;
      }
    }
    if (step->last) RETURN_IF_ERROR(Report(*step));
    free_.Push(std::move(step));
    return OkStatus();
  }

  void AppendScores(const Step& step) {
    const std::size_t n = step.batch.rows;
    sums_.logits.append(reinterpret_cast<const char*>(step.logits.data()), n * sizeof(float));
    for (std::size_t i = 0; i < n; ++i) sums_.labels.push_back(step.batch.labels[i] > 0.5f ? 1 : 0);
    sums_.groups.append(reinterpret_cast<const char*>(step.batch.groups.data()),
                        step.batch.groups.size() * sizeof(std::uint64_t));
  }

  Status Report(const Step& step) {
    proto::CompleteTaskRequest done;
    done.set_worker(options_.worker);
    done.set_incarnation(options_.incarnation);
    done.set_task(step.task.id());
    done.set_rows(sums_.rows);
    done.set_steps(sums_.steps);
    done.set_loss_sum(sums_.loss);
    done.set_bad_rows(sums_.bad_rows);
    done.set_skipped_steps(sums_.skipped_steps);
    if (step.window.last) {
      done.set_last_window(true);
      done.set_window_rows_found(step.window.rows);
    }
    done.set_logits(std::move(sums_.logits));
    done.set_labels(std::move(sums_.labels));
    if (!sums_.groups.empty()) done.set_groups(std::move(sums_.groups));
    sums_ = {};
    return control_->CompleteTask(done);
  }

  const proto::JobConfig job_;
  const WorkerOptions options_;
  PsClient* const servers_;
  JobControl* const control_;
  const std::unique_ptr<ModelRunner> model_;
  const int depth_;
  std::uint64_t dense_floats_ = 0;
  std::uint64_t row_bound_ = kNoBound;    // steps that this worker may be ahead of the slowest
  std::uint64_t dense_bound_ = kNoBound;  // the same for dense parameters
  bool dense_apart_ = false;
  std::uint64_t steps_read_ = 0;                        // reader thread only
  std::array<std::unique_ptr<Dataset>, kSplits> data_;  // reader thread only
  TaskSums sums_;                                       // of the thread that finishes steps

  BoundedQueue<StepPtr> free_;
  BoundedQueue<StepPtr> parsed_;
  BoundedQueue<StepPtr> pulled_;
  BoundedQueue<StepPtr> computed_;

  std::atomic<bool> stopping_{false};
  Mutex mu_;
  Status first_error_ GUARDED_BY(mu_);
};

}  // namespace

Result<std::unique_ptr<Worker>> Worker::Make(const proto::JobConfig& job,
                                             const WorkerOptions& options, PsClient* servers,
                                             JobControl* control) {
  if (NeedsVocabulary(job)) {
    if (options.vocabulary == nullptr)
      return absl::FailedPreconditionError("a feature has a min_count, but there is no vocabulary");
    RETURN_IF_ERROR(CheckVocabulary(*options.vocabulary, job));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<ModelRunner> model, ModelRunner::Make(job, options.threads));
  return std::unique_ptr<Worker>(new WorkerImpl(job, options, servers, control, std::move(model)));
}

}  // namespace cairn::worker
