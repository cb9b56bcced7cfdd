#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "glog/logging.h"
#include "launch/coordinator/checkpoint_writer.h"
#include "launch/coordinator/checkpoints.h"
#include "launch/coordinator/coordinator_impl.h"
#include "launch/coordinator/schedule.h"
#include "worker/metrics/binary_metrics.h"

namespace cairn::launch {
namespace {

// Wakes the script up for what depends on time alone.
constexpr std::chrono::milliseconds kTick(100);
constexpr std::uint64_t kScoreLeaseBatches = 16;
// Bounds the message that brings the scores of a lease.
constexpr std::uint64_t kMostScoreLeaseRows = 262144;

proto::Metrics ToProto(const worker::BinaryMetrics& metrics) {
  proto::Metrics out;
  out.set_rows(metrics.rows);
  out.set_positives(metrics.positives);
  if (metrics.auc) out.set_auc(*metrics.auc);
  out.set_logloss(metrics.logloss);
  if (metrics.gauc) out.set_gauc(*metrics.gauc);
  if (metrics.pairwise) out.set_pairwise(*metrics.pairwise);
  return out;
}

double Mean(double sum, std::uint64_t rows) {
  return rows > 0 ? sum / static_cast<double>(rows) : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

// ------------------------------------------------------------------------------ waiting, progress

// Waits until `ready` (called with the lock held) or the job's failure, or its stop if
// `ends_on_stop`.
template <typename Ready>
CoordinatorImpl::Wake CoordinatorImpl::Await(Ready ready, bool ends_on_stop) {
  for (;;) {
    std::optional<JobProgress> progress;
    {
      MutexLock lock(mu_);
      if (!failure_.ok()) return Wake::kFailed;
      if (ready()) return Wake::kReady;
      if (ends_on_stop && stop_requested_) return Wake::kStop;
      const std::uint64_t seen = events_;
      changed_.WaitFor(mu_, kTick, [&]() REQUIRES(mu_) { return events_ != seen; });
      WatchMembers();
      progress = ProgressIfDue();
    }
    if (progress && options_.observer != nullptr) options_.observer->OnProgress(*progress);
  }
}

std::optional<JobProgress> CoordinatorImpl::ProgressIfDue() {
  const double now = Now();
  if (!pass_ || now - last_report_.at_s < options_.progress_every_s) return std::nullopt;
  const bool is_training = pass_->kind == proto::Task::TRAIN_ROWS;
  JobProgress progress;
  progress.phase = is_training ? "training" : "evaluating";
  progress.epoch = state_.epoch();
  progress.epochs = job_.train().epochs();
  progress.rows = is_training ? state_.epoch_rows() : pass_->rows;
  progress.total_rows = pass_->book.total_rows();
  const std::uint64_t fresh = progress.rows - last_report_.rows;
  progress.rows_per_s = static_cast<double>(fresh) / (now - last_report_.at_s);
  progress.loss = Mean(state_.epoch_loss_sum() - last_report_.loss_sum, is_training ? fresh : 0);
  progress.epoch_loss = Mean(state_.epoch_loss_sum(), is_training ? state_.epoch_rows() : 0);
  last_report_ = {now, progress.rows, state_.epoch_loss_sum()};
  return progress;
}

void CoordinatorImpl::SetPhase(Phase phase) {
  MutexLock lock(mu_);
  phase_ = phase;
  Changed();
}

void CoordinatorImpl::StartPass(proto::Task::Kind kind, proto::DataSplit split, std::uint64_t start,
                                std::uint64_t total_rows) {
  const bool is_training = kind == proto::Task::TRAIN_ROWS;
  const proto::TrainConfig& train = job_.train();
  LeaseBook::Options options;
  options.window_rows = job_.data().window_rows();
  options.lease_rows = std::uint64_t{train.batch_size()} *
                       (is_training ? train.lease_batches() : kScoreLeaseBatches);
  if (!is_training) options.lease_rows = std::min(options.lease_rows, kMostScoreLeaseRows);
  options.start = start;
  options.total_rows = total_rows;

  MutexLock lock(mu_);
  options.first_id = next_task_id_;
  pass_.emplace(kind, split, options);
  clock_.Clear();
  // Leases of a pass that was given up are void.
  for (auto& [index, worker] : workers_) worker.task_of_call.clear();
  phase_ = is_training ? Phase::kTraining : Phase::kEvaluating;
  last_report_ = {Now(), is_training ? state_.epoch_rows() : 0, state_.epoch_loss_sum()};
  Changed();
}

void CoordinatorImpl::StopTrainClock() {
  if (!train_clock_start_s_) return;
  state_.set_train_seconds(state_.train_seconds() + Now() - *train_clock_start_s_);
  train_clock_start_s_.reset();
}

void CoordinatorImpl::SavePosition() {
  StopTrainClock();
  const std::uint64_t position = pass_->book.position();
  state_.set_window(position / job_.data().window_rows());
  state_.set_row_in_window(position % job_.data().window_rows());
}

bool CoordinatorImpl::CheckpointIsDue() const {
  const proto::CheckpointConfig& config = job_.checkpoint();
  if (!is_dirty_) return false;
  return (config.every_steps() > 0 && state_.steps() - checkpoint_steps_ >= config.every_steps()) ||
         (config.every_s() > 0 && Now() - checkpoint_at_s_ >= config.every_s());
}

// ------------------------------------------------------------------------------------- the script

Result<CoordinatorImpl::Next> CoordinatorImpl::AwaitServers() {
  const Wake wake = Await([this]() REQUIRES(mu_) { return MissingServers().empty(); }, true);
  MutexLock lock(mu_);
  if (wake == Wake::kFailed) return failure_;
  return wake == Wake::kStop ? Next::kStop : Next::kGoOn;
}

Status CoordinatorImpl::Run(JobResult* result) {
  Result<Next> end = was_finished_ ? Result<Next>(Next::kGoOn) : RunScript();
  std::optional<ServerReport> report;
  {
    MutexLock lock(mu_);
    report = server_report_;
  }
  if (end.ok() && report && options_.observer != nullptr) options_.observer->OnServers(*report);
  MutexLock lock(mu_);
  StopTrainClock();
  pass_.reset();
  if (!end.ok() && failure_.ok()) failure_ = end.status();
  was_stopped_ = end.ok() && *end == Next::kStop;
  is_over_ = true;
  phase_ = Phase::kOver;
  Changed();
  FillResult(result);
  return failure_;
}

Result<CoordinatorImpl::Next> CoordinatorImpl::RunScript() {
  std::string shown;
  {
    MutexLock lock(mu_);
    without_worker_since_s_ = Now();
    if (!resume_from_.empty()) shown = ShownPath(latest_checkpoint_);
  }
  if (options_.observer != nullptr) options_.observer->OnStart(shown);
  ASSIGN_OR_RETURN(Next next, AwaitServers());
  if (next == Next::kStop) return next;
  RETURN_IF_ERROR(RestoreServers(resume_from_));
  {
    MutexLock lock(mu_);
    serves_workers_ = true;
    checkpoint_at_s_ = Now();
    without_worker_since_s_ = Now();
    Changed();
  }
  const auto is_over = [this] {
    MutexLock lock(mu_);
    return TrainingIsOver(job_.train(), state_);
  };
  while (!is_over()) {
    ASSIGN_OR_RETURN(next, TrainEpoch());
    AskServers();  // now: evaluations pull other rows, and a restore begins tables anew
    if (next == Next::kStop) return next;
    ASSIGN_OR_RETURN(next, EvaluateEpoch());
    if (next == Next::kStop) return next;
  }
  return FinishJob();
}

Result<CoordinatorImpl::Next> CoordinatorImpl::TrainEpoch() {
  std::uint64_t start = 0;
  std::uint64_t total = 0;
  {
    MutexLock lock(mu_);
    start = state_.window() * job_.data().window_rows() + state_.row_in_window();
    total = state_.train_rows_per_epoch();
  }
  StartPass(proto::Task::TRAIN_ROWS, proto::TRAIN, start, total);
  for (;;) {
    const Wake wake =
        Await([this]() REQUIRES(mu_) { return pass_->book.done() || CheckpointIsDue(); }, true);
    {
      MutexLock lock(mu_);
      if (wake == Wake::kFailed) return failure_;
      if (wake == Wake::kReady && pass_->book.done()) return EndTrainPass();
    }
    ASSIGN_OR_RETURN(const Next next, PauseAndCheckpoint(wake == Wake::kStop));
    if (next == Next::kStop) return next;
  }
}

Result<CoordinatorImpl::Next> CoordinatorImpl::EndTrainPass() {
  SavePosition();
  state_.set_train_rows_per_epoch(pass_->book.total_rows());
  next_task_id_ = pass_->book.next_id();
  pass_.reset();
  if (state_.epoch_rows() > 0) return Next::kGoOn;
  return absl::InvalidArgumentError("data.train: the files hold no row to train on");
}

// Lets the leases that are out end, and writes a checkpoint; training goes on unless stopping.
Result<CoordinatorImpl::Next> CoordinatorImpl::PauseAndCheckpoint(bool is_stopping) {
  double paused_at_s = 0;
  {
    MutexLock lock(mu_);
    pass_->book.Pause();
    paused_at_s = Now();
  }
  const Wake wake = Await(
      [&]() REQUIRES(mu_) {
        return pass_->book.quiescent() ||
               (stop_requested_ && Now() - paused_at_s > options_.stop_wait_s);
      },
      false);
  std::string name;
  {
    MutexLock lock(mu_);
    if (wake == Wake::kFailed) return failure_;
    if (!pass_->book.quiescent()) {
      LOG(WARNING) << "stopping without a checkpoint: workers did not end their leases within "
                   << options_.stop_wait_s << " s";
      return Next::kStop;
    }
    SavePosition();
    if (pass_->book.total_rows() > 0 && pass_->book.done()) {
      state_.set_train_rows_per_epoch(pass_->book.total_rows());
    }
    if (!is_dirty_) return is_stopping ? Next::kStop : Next::kGoOn;
    name = NewCheckpointName(checkpoints_folder_, state_.steps(), "");
  }
  RETURN_IF_ERROR(WriteCheckpoint(name, false));
  if (is_stopping) return Next::kStop;
  MutexLock lock(mu_);
  phase_ = Phase::kTraining;
  if (!stop_requested_) pass_->book.Resume();
  Changed();
  return Next::kGoOn;
}

// The epoch's rows are trained, its evaluation was interrupted: the checkpoint says so by its
// position.
Result<CoordinatorImpl::Next> CoordinatorImpl::StopWithCheckpoint() {
  std::string name;
  {
    MutexLock lock(mu_);
    if (!is_dirty_) return Next::kStop;
    name = NewCheckpointName(checkpoints_folder_, state_.steps(), "");
  }
  RETURN_IF_ERROR(WriteCheckpoint(name, false));
  return Next::kStop;
}

Result<CoordinatorImpl::Next> CoordinatorImpl::Evaluate(proto::DataSplit split,
                                                        proto::Metrics* metrics) {
  std::uint64_t total = 0;
  {
    MutexLock lock(mu_);
    total = rows_of_split_[split];
  }
  StartPass(proto::Task::SCORE_ROWS, split, 0, total);
  const Wake wake = Await([this]() REQUIRES(mu_) { return pass_->book.done(); }, true);
  ScoreBook::Scores scores;
  {
    MutexLock lock(mu_);
    if (wake == Wake::kFailed) return failure_;
    next_task_id_ = pass_->book.next_id();
    if (wake == Wake::kReady) {
      rows_of_split_[split] = pass_->book.total_rows();
      scores = pass_->scores.Take();
    }
    pass_.reset();
    if (wake == Wake::kStop) return Next::kStop;
  }
  const std::string_view name = split == proto::VALID ? "data.valid" : "data.test";
  if (scores.labels.empty()) {
    return absl::InvalidArgumentError(StrCat(name, ": the files hold no row to evaluate on"));
  }
  ASSIGN_OR_RETURN(const worker::BinaryMetrics found,
                   worker::ComputeMetrics(scores.logits, scores.labels, scores.groups), name);
  if (!found.auc) {
    LOG(WARNING) << name << ": all " << found.rows << " rows have the same label; the AUC is not "
                 << "defined";
  }
  if (!scores.groups.empty() && !found.gauc) {
    LOG(WARNING) << name << ": no group of data.group has rows of both labels; gauc is not defined";
  }
  *metrics = ToProto(found);
  return Next::kGoOn;
}

EpochSummary CoordinatorImpl::CloseEpoch(const proto::Metrics* metrics) {
  EpochSummary summary;
  summary.epoch = state_.epoch();
  summary.rows = state_.epoch_rows();
  summary.train_loss = Mean(state_.epoch_loss_sum(), state_.epoch_rows());

  double earlier_seconds = 0;
  for (const proto::EpochRecord& record : state_.history()) earlier_seconds += record.seconds();
  proto::EpochRecord& record = *state_.add_history();
  record.set_epoch(state_.epoch());
  record.set_train_loss(summary.train_loss);
  record.set_rows(state_.epoch_rows());
  record.set_learning_rate_scale(state_.learning_rate_scale());
  record.set_seconds(std::max(0.0, state_.train_seconds() - earlier_seconds));
  if (server_report_) ToProto(*server_report_, record.mutable_servers());
  if (metrics != nullptr) {
    *record.mutable_valid() = *metrics;
    summary.quality = QualityOf(*metrics);
  }
  if (record.seconds() > 0) {
    summary.rows_per_s = static_cast<double>(summary.rows) / record.seconds();
  }
  summary.is_best = ApplySchedule(job_.train(), metrics, &state_);
  summary.learning_rate_scale = state_.learning_rate_scale();

  state_.set_epoch(state_.epoch() + 1);
  state_.set_window(0);
  state_.set_row_in_window(0);
  state_.set_epoch_loss_sum(0);
  state_.set_epoch_rows(0);
  state_.set_epoch_bad_rows(0);
  return summary;
}

Result<CoordinatorImpl::Next> CoordinatorImpl::EvaluateEpoch() {
  proto::Metrics metrics;
  const bool has_data = job_.data().valid_size() > 0;
  if (has_data) {
    ASSIGN_OR_RETURN(const Next next, Evaluate(proto::VALID, &metrics));
    if (next == Next::kStop) return StopWithCheckpoint();
  }
  EpochSummary summary;
  std::string name;
  {
    MutexLock lock(mu_);
    summary = CloseEpoch(has_data ? &metrics : nullptr);
    name = NewCheckpointName(checkpoints_folder_, state_.steps(), "");
    if (summary.is_best) state_.set_best_checkpoint(name);
  }
  RETURN_IF_ERROR(WriteCheckpoint(name, summary.is_best));
  RETURN_IF_ERROR(WriteMetricsFile());
  if (options_.observer != nullptr) options_.observer->OnEpoch(summary);
  return Next::kGoOn;
}

// The best weights become the job's result: measured on the test set and written as its last
// checkpoint, which LATEST and BEST name from then on.
Result<CoordinatorImpl::Next> CoordinatorImpl::FinishJob() {
  std::string best;
  bool is_loaded = false;
  {
    MutexLock lock(mu_);
    best = CheckpointPath(state_.best_checkpoint());
    is_loaded = state_.best_checkpoint() == latest_checkpoint_ && !is_dirty_;
  }
  if (!is_loaded) {
    RETURN_IF_ERROR(RequireSound(best), "restoring the best weights");
    RETURN_IF_ERROR(RestoreServers(best));
  }
  proto::Metrics test;
  if (job_.data().test_size() > 0) {
    ASSIGN_OR_RETURN(const Next next, Evaluate(proto::TEST, &test));
    if (next == Next::kStop) return next;
  }
  std::string name;
  {
    MutexLock lock(mu_);
    if (job_.data().test_size() > 0) *state_.mutable_test() = test;
    name = NewCheckpointName(checkpoints_folder_, state_.steps(), kFinalSuffix);
    state_.set_best_checkpoint(name);
    state_.set_finished(true);
  }
  RETURN_IF_ERROR(WriteCheckpoint(name, true));
  RETURN_IF_ERROR(WriteMetricsFile());
  return Next::kGoOn;
}

}  // namespace cairn::launch
