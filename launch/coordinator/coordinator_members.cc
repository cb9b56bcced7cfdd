#include <algorithm>
#include <chrono>
#include <cmath>

#include "common/io/file.h"
#include "glog/logging.h"
#include "launch/coordinator/checkpoints.h"
#include "launch/coordinator/coordinator_impl.h"

namespace cairn::launch {
namespace {

// Of AcquireTask, whatever the request says.
constexpr std::uint32_t kLongestWaitMs = 10'000;
constexpr std::size_t kVocabularyPieceBytes = 2 << 20;

}  // namespace

void CoordinatorImpl::Changed() {
  ++events_;
  changed_.NotifyAll();
}

void CoordinatorImpl::Fail(std::string_view who, const Status& status) {
  if (failure_.ok() && !is_over_) {
    failure_ = Annotate(status, who);
    LOG(INFO) << "the job fails: " << failure_.message();
  }
  Changed();
}

void CoordinatorImpl::ReportFailure(std::string_view who, std::uint64_t incarnation,
                                    const Status& status) {
  MutexLock lock(mu_);
  if (incarnation != 0) {
    const auto found = std::ranges::find_if(workers_, [incarnation](const auto& entry) {
      return entry.second.incarnation == incarnation && !entry.second.is_lost;
    });
    if (found == workers_.end()) {
      LOG(WARNING) << who << ", which was replaced or given up, met an error: " << status;
      return;
    }
    found->second.has_left = true;  // nobody waits for it to be told of the end
  }
  Fail(who, status.ok() ? absl::InternalError("failed without saying why") : status);
}

void CoordinatorImpl::RequestStop() {
  MutexLock lock(mu_);
  stop_requested_ = true;
  if (pass_) pass_->book.Pause();
  Changed();
}

std::string CoordinatorImpl::MissingServers() const {
  std::string missing;
  for (std::size_t i = 0; i < servers_.size(); ++i) {
    if (servers_[i].admin == nullptr) StrAppend(missing, missing.empty() ? "" : ", ", "ps ", i);
  }
  return missing;
}

// Workers and the admin look for it where it was.
Status CoordinatorImpl::TakeBack(const proto::JoinPsRequest& request, Server* server) {
  const std::string name = StrCat("ps ", request.ps(), " (", request.address(), ")");
  if (!failure_.ok()) return absl::AbortedError(StrCat("the job failed: ", failure_.message()));
  if (is_over_) return absl::AbortedError("the job is over");
  if (server->holds_state && !ServersRecover()) {
    Fail(name, absl::UnavailableError("was started again and has lost its state "
                                      "(server.durability: NONE); the same command goes on from "
                                      "the latest checkpoint"));
    return failure_;
  }
  if (server->address != request.address()) {
    return absl::FailedPreconditionError(
        StrCat("ps ", request.ps(), " listened at ", server->address,
               ", where workers look for it; start it with --address=", server->address, ", not ",
               request.address()));
  }
  LOG(WARNING) << name << " is back as process " << request.pid() << ", after process "
               << server->pid << (server->holds_state ? "; it recovers" : "");
  server->pid = request.pid();
  ++server->returns;
  return OkStatus();
}

Status CoordinatorImpl::JoinPs(const proto::JoinPsRequest& request, proto::JoinPsReply* reply) {
  MutexLock lock(mu_);
  if (request.ps() >= servers_.size()) {
    return absl::InvalidArgumentError(StrCat("there is no ps ", request.ps(), ": the job has ",
                                             servers_.size(), " parameter servers"));
  }
  Server& server = servers_[request.ps()];
  const bool is_repeat =
      server.admin != nullptr && server.address == request.address() && server.pid == request.pid();
  if (!is_repeat) {
    if (!options_.connect) return absl::FailedPreconditionError("this job's servers are built in");
    if (phase_ != Phase::kWaiting) {
      RETURN_IF_ERROR(TakeBack(request, &server));
    } else {
      ASSIGN_OR_RETURN(server.owned, options_.connect(request.ps(), request.address()), "ps ",
                       request.ps(), " at ", request.address());
      server.admin = server.owned.get();
      server.address = request.address();
      server.pid = request.pid();
    }
    Changed();
  }
  server.last_call_s = Now();
  reply->set_recover(server.holds_state);
  for (const auto& [index, worker] : workers_) {
    proto::WorkerIncarnation* const known = reply->add_worker();
    known->set_worker(index);
    known->set_incarnation(worker.incarnation);
  }
  reply->set_job(job_text_);
  reply->set_ps_count(static_cast<std::uint32_t>(servers_.size()));
  reply->set_job_epoch(job_epoch_);
  return OkStatus();
}

Status CoordinatorImpl::JoinWorker(const proto::JoinWorkerRequest& request, std::uint32_t wait_ms,
                                   proto::JoinWorkerReply* reply) {
  MutexLock lock(mu_);
  changed_.WaitFor(mu_, std::chrono::milliseconds(wait_ms), [this]() REQUIRES(mu_) {
    return serves_workers_ || is_over_ || !failure_.ok();
  });
  if (!failure_.ok()) return absl::AbortedError(StrCat("the job failed: ", failure_.message()));
  if (is_over_) {
    // It may come in the place of one that is waited for.
    if (const auto found = workers_.find(request.worker()); found != workers_.end()) {
      found->second.has_left = true;
    }
    Changed();
    reply->set_is_over(true);
    return OkStatus();
  }
  if (!serves_workers_) {
    const std::string missing = MissingServers();
    return absl::UnavailableError(missing.empty()
                                      ? std::string("the parameter servers are loading their state")
                                      : StrCat("waiting for ", missing, " to join"));
  }
  if (job_.train().deterministic() && !workers_.empty() && workers_.count(request.worker()) == 0) {
    return absl::InvalidArgumentError(StrCat("worker ", request.worker(), " cannot join worker ",
                                             workers_.begin()->first, ": a job with ",
                                             "train.deterministic has one worker"));
  }
  Worker& worker = workers_[request.worker()];
  if (worker.incarnation != 0 && !worker.has_left) {
    LOG(WARNING) << "worker " << request.worker() << " (process " << request.pid()
                 << ") takes over from process " << worker.pid;
    HandBack(request.worker(), worker);
    if (!failure_.ok()) return absl::AbortedError(StrCat("the job failed: ", failure_.message()));
  }
  const std::uint64_t rows = worker.rows;
  const std::uint32_t returns = worker.returns + (worker.incarnation != 0 ? 1 : 0);
  worker = Worker();
  worker.returns = returns;
  worker.incarnation = job_epoch_ + ++joins_;
  worker.pid = request.pid();
  worker.last_call_s = Now();
  worker.rows = rows;
  reply->set_job(job_text_);
  for (const Server& server : servers_) reply->add_ps_address(server.address);
  reply->set_job_epoch(job_epoch_);
  reply->set_incarnation(worker.incarnation);
  Changed();
  return OkStatus();
}

Status CoordinatorImpl::BeginStep(const proto::BeginStepRequest& request,
                                  proto::BeginStepReply* reply) {
  MutexLock lock(mu_);
  RETURN_IF_ERROR(CheckIncarnation(request.worker(), request.incarnation()));
  const auto waits_for = [&]() REQUIRES(mu_) {
    return clock_.WaitsFor(request.worker(), request.step(), request.staleness());
  };
  const auto is_current = [&]() REQUIRES(mu_) {
    const Worker& worker = workers_.at(request.worker());
    return worker.incarnation == request.incarnation() && !worker.is_lost;
  };
  changed_.WaitFor(mu_, std::chrono::milliseconds(std::min(request.wait_ms(), kLongestWaitMs)),
                   [&]() REQUIRES(mu_) { return !failure_.ok() || !is_current() || !waits_for(); });
  if (!failure_.ok()) return absl::AbortedError(StrCat("the job failed: ", failure_.message()));
  RETURN_IF_ERROR(CheckIncarnation(request.worker(), request.incarnation()));
  reply->Clear();
  const auto slowest = waits_for();
  reply->set_may_begin(!slowest.has_value());
  if (slowest.has_value()) {
    reply->set_slowest_worker(slowest->worker);
    reply->set_behind(slowest->behind);
  }
  return OkStatus();
}

Status CoordinatorImpl::EndStep(const proto::EndStepRequest& request) {
  MutexLock lock(mu_);
  RETURN_IF_ERROR(CheckIncarnation(request.worker(), request.incarnation()));
  Worker& worker = workers_.at(request.worker());
  worker.steps = std::max(worker.steps, request.steps());
  clock_.Done(request.worker(), worker.steps);
  Changed();
  return OkStatus();
}

int CoordinatorImpl::HandBack(std::uint32_t index, const Worker& worker) {
  clock_.Leave(index);
  if (!pass_) return 0;
  const LeaseBook::Returned returned = pass_->book.GiveBack(worker.incarnation);
  if (pass_->kind == proto::Task::TRAIN_ROWS && returned.leases > 0) {
    state_.set_reissued_rows(state_.reissued_rows() + returned.rows);
    if (job_.train().deterministic()) {
      Fail(StrCat("worker ", index),
           absl::UnavailableError("went away with rows in hand, which train.deterministic does not "
                                  "train twice; the same command goes on from the latest "
                                  "checkpoint"));
    } else {
      LOG(WARNING) << "at most " << returned.rows << " rows are trained again";
    }
  }
  return returned.leases;
}

Status CoordinatorImpl::Heartbeat(const proto::HeartbeatRequest& request) {
  MutexLock lock(mu_);
  RETURN_IF_ERROR(CheckIncarnation(request.worker(), request.incarnation()));
  if (!failure_.ok()) return absl::AbortedError(StrCat("the job failed: ", failure_.message()));
  return OkStatus();
}

Status CoordinatorImpl::ReadVocabulary(const proto::ReadVocabularyRequest& request,
                                       proto::ReadVocabularyReply* reply) const {
  const std::string& all = options_.vocabulary;
  if (all.empty()) return absl::NotFoundError("the job has no vocabulary");
  const std::size_t begin = std::min<std::size_t>(request.offset(), all.size());
  reply->set_bytes(all.substr(begin, kVocabularyPieceBytes));
  reply->set_total_bytes(all.size());
  reply->set_xxh3(vocabulary_xxh3_);
  return OkStatus();
}

Status CoordinatorImpl::CheckIncarnation(std::uint32_t index, std::uint64_t incarnation) {
  const auto found = workers_.find(index);
  if (found == workers_.end()) {
    return absl::AbortedError(StrCat("worker ", index, " has not joined"));
  }
  Worker& worker = found->second;
  if (worker.incarnation != incarnation) {
    return absl::AbortedError(StrCat("another process is worker ", index, " now"));
  }
  if (worker.is_lost) {
    return absl::AbortedError(StrCat("worker ", index, " was silent for more than ",
                                     options_.lost_s, " s and given up as lost"));
  }
  worker.last_call_s = Now();
  worker.was_told_silent = false;
  return OkStatus();
}

bool CoordinatorImpl::TryAssign(const proto::AcquireTaskRequest& request, proto::Task* task) {
  Worker& worker = workers_.at(request.worker());
  if (is_over_) {
    worker.has_left = true;
    task->set_kind(proto::Task::LEAVE);
    Changed();
    return true;
  }
  if (!pass_) return false;
  if (const auto again = worker.task_of_call.find(request.call());
      again != worker.task_of_call.end()) {
    *task = again->second;
    return true;
  }
  const std::optional<Lease> lease = pass_->book.Next(worker.incarnation);
  if (!lease) return false;
  task->set_kind(pass_->kind);
  task->set_id(lease->id);
  task->set_split(pass_->split);
  task->set_epoch(state_.epoch());
  task->set_window(lease->window);
  task->set_begin(lease->begin);
  task->set_end(lease->end);
  task->set_learning_rate_scale(state_.learning_rate_scale());
  if (pass_->kind == proto::Task::TRAIN_ROWS) {
    clock_.Enter(request.worker(), worker.steps);
    if (!train_clock_start_s_) train_clock_start_s_ = Now();
  }
  if (request.call() != 0) worker.task_of_call[request.call()] = *task;
  return true;
}

Status CoordinatorImpl::AcquireTask(const proto::AcquireTaskRequest& request, proto::Task* task) {
  MutexLock lock(mu_);
  RETURN_IF_ERROR(CheckIncarnation(request.worker(), request.incarnation()));
  task->Clear();
  const auto is_current = [&]() REQUIRES(mu_) {
    const Worker& worker = workers_.at(request.worker());
    return worker.incarnation == request.incarnation() && !worker.is_lost;
  };
  workers_.at(request.worker()).is_waiting = true;
  const bool found = changed_.WaitFor(
      mu_, std::chrono::milliseconds(std::min(request.wait_ms(), kLongestWaitMs)),
      [&]() REQUIRES(mu_) { return !failure_.ok() || !is_current() || TryAssign(request, task); });
  if (is_current()) workers_.at(request.worker()).is_waiting = false;
  if (!failure_.ok()) {
    workers_.at(request.worker()).has_left = true;
    Changed();
    return absl::AbortedError(StrCat("the job failed: ", failure_.message()));
  }
  RETURN_IF_ERROR(CheckIncarnation(request.worker(), request.incarnation()));
  if (!found) task->set_kind(proto::Task::WAIT);
  return OkStatus();
}

Status CoordinatorImpl::CompleteTask(const proto::CompleteTaskRequest& request) {
  MutexLock lock(mu_);
  RETURN_IF_ERROR(CheckIncarnation(request.worker(), request.incarnation()));
  if (!failure_.ok()) return absl::AbortedError(StrCat("the job failed: ", failure_.message()));
  Worker& worker = workers_.at(request.worker());
  const std::optional<Lease> lease =
      pass_ ? pass_->book.Find(request.task(), worker.incarnation) : std::nullopt;
  // Of a pass that was given up, or told twice: nothing to do.
  if (!lease) return OkStatus();
  if (request.rows() + request.bad_rows() > lease->end - lease->begin ||
      !std::isfinite(request.loss_sum())) {
    return absl::InvalidArgumentError(StrCat("task ", request.task(), " of ",
                                             lease->end - lease->begin, " rows cannot have ",
                                             request.rows(), " rows, ", request.bad_rows(),
                                             " bad ones and the loss ", request.loss_sum()));
  }
  if (pass_->kind == proto::Task::SCORE_ROWS) RETURN_IF_ERROR(TakeScores(request, *lease));
  std::optional<std::uint64_t> found;
  if (request.last_window()) found = request.window_rows_found();
  std::erase_if(worker.task_of_call,
                [&](const auto& entry) { return entry.second.id() == request.task(); });
  const Status learned = pass_->book.Complete(request.task(), worker.incarnation, found);
  pass_->rows += request.rows();
  pass_->bad_rows += request.bad_rows();
  worker.rows += request.rows();
  if (pass_->kind == proto::Task::TRAIN_ROWS) {
    CountTrained(request);
    if (!pass_->book.Holds(worker.incarnation)) clock_.Leave(request.worker());
  }
  const Status status = learned.ok() ? CheckBadRows() : learned;
  if (!status.ok()) Fail(StrCat("worker ", request.worker()), status);
  Changed();
  return status;
}

Status CoordinatorImpl::TakeScores(const proto::CompleteTaskRequest& request, const Lease& lease) {
  if (request.labels().size() != request.rows()) {
    return absl::InvalidArgumentError(StrCat("task ", request.task(), " has ", request.rows(),
                                             " rows but ", request.labels().size(), " labels"));
  }
  const bool has_groups = !request.groups().empty();
  if (request.rows() > 0 && has_groups == job_.data().group().empty()) {
    return absl::InvalidArgumentError(StrCat("task ", request.task(), " has ",
                                             has_groups ? "groups" : "no groups",
                                             ", data.group is \"", job_.data().group(), "\""));
  }
  return pass_->scores.Add(lease.window * job_.data().window_rows() + lease.begin, request.logits(),
                           request.labels(), request.groups());
}

void CoordinatorImpl::CountTrained(const proto::CompleteTaskRequest& request) {
  state_.set_steps(state_.steps() + request.steps());
  state_.set_rows(state_.rows() + request.rows());
  state_.set_bad_rows(state_.bad_rows() + request.bad_rows());
  state_.set_skipped_steps(state_.skipped_steps() + request.skipped_steps());
  state_.set_epoch_loss_sum(state_.epoch_loss_sum() + request.loss_sum());
  state_.set_epoch_rows(state_.epoch_rows() + request.rows());
  state_.set_epoch_bad_rows(state_.epoch_bad_rows() + request.bad_rows());
  is_dirty_ = is_dirty_ || request.rows() + request.bad_rows() > 0;
  if (CheckpointIsDue()) pass_->book.Pause();
}

Status CoordinatorImpl::CheckBadRows() {
  const proto::DataConfig& data = job_.data();
  if (data.bad_row() != proto::DataConfig::SKIP) return OkStatus();
  const std::uint64_t bad =
      pass_->kind == proto::Task::TRAIN_ROWS ? state_.epoch_bad_rows() : pass_->bad_rows;
  if (bad <= data.max_bad_rows()) return OkStatus();
  return absl::InvalidArgumentError(StrCat(bad,
                                           " bad rows in one pass over the data; "
                                           "data.max_bad_rows is ",
                                           data.max_bad_rows()));
}

bool CoordinatorImpl::HasLiveWorker() const {
  return std::any_of(workers_.begin(), workers_.end(), [](const auto& entry) {
    return !entry.second.is_lost && !entry.second.has_left;
  });
}

void CoordinatorImpl::WatchWorker(std::uint32_t index, Worker& worker) {
  if (worker.is_lost || worker.has_left || worker.is_waiting) return;
  const double silent_s = Now() - worker.last_call_s;
  if (silent_s > options_.silent_s && !worker.was_told_silent) {
    worker.was_told_silent = true;
    LOG(WARNING) << "worker " << index << " (process " << worker.pid << ") has been silent for "
                 << static_cast<int>(silent_s) << " s";
  }
  if (options_.lost_s <= 0 || silent_s <= options_.lost_s) return;
  worker.is_lost = true;
  const int leases = HandBack(index, worker);
  LOG(ERROR) << "worker " << index << " (process " << worker.pid << ") is given up after "
             << static_cast<int>(silent_s) << " s of silence; " << leases
             << " leases are handed out again";
  Changed();
}

void CoordinatorImpl::WatchMembers() {
  for (auto& [index, worker] : workers_) WatchWorker(index, worker);
  const std::string missing = MissingServers();
  if (missing.empty() && (!serves_workers_ || HasLiveWorker())) {
    without_worker_since_s_ = Now();
    return;
  }
  const double waited_s = Now() - without_worker_since_s_;
  const std::string what = missing.empty() ? std::string("any worker") : missing;
  if (waited_s >= options_.silent_s && Now() - told_waiting_at_s_ >= options_.silent_s) {
    told_waiting_at_s_ = Now();
    LOG(WARNING) << "waiting for " << what << " since " << static_cast<int>(waited_s) << " s";
  }
  if (waited_s > options_.member_wait_s) {
    Fail("coordinator", absl::UnavailableError(StrCat("waited ", static_cast<int>(waited_s),
                                                      " s for ", what, " to join")));
  }
}

std::string CoordinatorImpl::PhaseText() const {
  if (!failure_.ok()) return "failed";
  switch (phase_) {
    case Phase::kWaiting:
      return StrCat("waiting for ", MissingServers());
    case Phase::kRestoring:
      return "restoring";
    case Phase::kTraining:
    case Phase::kEvaluating: {
      std::string missing;
      for (std::uint32_t w = 0; w < options_.worker_count; ++w) {
        if (workers_.count(w) == 0) StrAppend(missing, missing.empty() ? "" : ", ", "worker ", w);
      }
      const std::string_view phase = phase_ == Phase::kTraining ? "training" : "evaluating";
      if (missing.empty()) return std::string(phase);
      return HasLiveWorker() ? StrCat(phase, "; waiting for ", missing)
                             : StrCat("waiting for ", missing);
    }
    case Phase::kCheckpoint:
      return "checkpoint";
    case Phase::kOver:
      return was_stopped_ ? "stopped" : "done";
  }
  return "";
}

void CoordinatorImpl::GetStatus(proto::JobStatusReply* reply) const {
  MutexLock lock(mu_);
  reply->Clear();
  reply->set_job_name(job_.name());
  reply->set_phase(PhaseText());
  *reply->mutable_state() = state_;
  double seconds = state_.train_seconds();
  if (train_clock_start_s_) seconds += Now() - *train_clock_start_s_;
  if (seconds > 0) reply->set_rows_per_s(static_cast<double>(state_.rows()) / seconds);
  for (std::size_t i = 0; i < servers_.size(); ++i) {
    if (servers_[i].admin == nullptr) continue;
    proto::ProcessStatus& process = *reply->add_process();
    process.set_role("ps");
    process.set_index(static_cast<std::uint32_t>(i));
    process.set_address(servers_[i].address);
    process.set_pid(servers_[i].pid);
    process.set_returns(servers_[i].returns);
  }
  for (const auto& [index, worker] : workers_) {
    proto::ProcessStatus& process = *reply->add_process();
    process.set_role("worker");
    process.set_index(index);
    process.set_pid(worker.pid);
    process.set_silent_s(worker.is_waiting ? 0 : Now() - worker.last_call_s);
    process.set_rows(worker.rows);
    process.set_returns(worker.returns);
  }
  if (!latest_checkpoint_.empty()) reply->set_latest_checkpoint(CheckpointPath(latest_checkpoint_));
}

bool CoordinatorImpl::WaitUntilOver(std::uint32_t wait_ms) {
  MutexLock lock(mu_);
  return changed_.WaitFor(mu_, std::chrono::milliseconds(wait_ms),
                          [this]() REQUIRES(mu_) { return is_over_; });
}

bool CoordinatorImpl::WaitUntilWorkersLeft(std::uint32_t wait_ms) {
  MutexLock lock(mu_);
  return changed_.WaitFor(mu_, std::chrono::milliseconds(wait_ms),
                          [this]() REQUIRES(mu_) { return is_over_ && !HasLiveWorker(); });
}

}  // namespace cairn::launch
