#include "launch/coordinator/coordinator_core.h"

#include <chrono>
#include <filesystem>
#include <utility>

#include "common/io/checksum.h"
#include "common/io/file.h"
#include "glog/logging.h"
#include "google/protobuf/text_format.h"
#include "launch/coordinator/checkpoint_names.h"
#include "launch/coordinator/checkpoint_writer.h"
#include "launch/coordinator/checkpoints.h"
#include "launch/coordinator/coordinator_impl.h"
#include "launch/coordinator/job_compat.h"

namespace cairn::launch {
namespace {

double SteadySeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::uint64_t UnixMicroseconds() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(
                                        std::chrono::system_clock::now().time_since_epoch())
                                        .count());
}

std::string Print(const proto::JobConfig& job) {
  std::string text;
  google::protobuf::TextFormat::PrintToString(job, &text);
  return text;
}

CoordinatorOptions WithDefaults(CoordinatorOptions options) {
  if (!options.clock_s) options.clock_s = SteadySeconds;
  // Members in this process live and die with it.
  if (options.lost_s < 0) options.lost_s = options.ps.empty() ? 120 : 0;
  if (!options.ps.empty()) options.ps_count = static_cast<std::uint32_t>(options.ps.size());
  return options;
}

}  // namespace

Quality QualityOf(const proto::Metrics& metrics) {
  Quality quality;
  quality.rows = metrics.rows();
  if (metrics.has_auc()) quality.auc = metrics.auc();
  quality.logloss = metrics.logloss();
  if (metrics.has_gauc()) quality.gauc = metrics.gauc();
  if (metrics.has_pairwise()) quality.pairwise = metrics.pairwise();
  return quality;
}

Result<std::unique_ptr<CoordinatorCore>> CoordinatorCore::Make(const proto::JobConfig& job,
                                                               const CoordinatorOptions& options) {
  CHECK(!options.ps.empty() || options.connect) << "no way to the parameter servers";
  ASSIGN_OR_RETURN(RunLock lock, RunLock::Take(options.run_dir));
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::absolute(options.run_dir, error);
  if (error) return ErrnoStatus("find", options.run_dir, error.value());
  auto core = std::make_unique<CoordinatorImpl>(
      job, WithDefaults(options), folder.lexically_normal().string(), std::move(lock));
  RETURN_IF_ERROR(core->Load());
  return core;
}

CoordinatorImpl::CoordinatorImpl(const proto::JobConfig& job, const CoordinatorOptions& options,
                                 std::string run_folder, RunLock lock)
    : job_(job),
      options_(options),
      run_folder_(std::move(run_folder)),
      checkpoints_folder_(JoinPath(run_folder_, kCheckpointsFolder)),
      lock_(std::move(lock)),
      job_epoch_(UnixMicroseconds()),
      job_text_(Print(job)),
      vocabulary_xxh3_(ChecksumOfBytes(options.vocabulary)),
      servers_(options.ps_count) {
  for (std::size_t i = 0; i < options.ps.size(); ++i) {
    servers_[i].admin = options.ps[i];
    servers_[i].address = options.ps[i]->address();
    servers_[i].last_call_s = Now();
  }
}

std::string CoordinatorImpl::CheckpointPath(std::string_view name) const {
  return JoinPath(checkpoints_folder_, name);
}

std::string CoordinatorImpl::ShownPath(std::string_view name) const {
  return JoinPath(JoinPath(options_.run_dir, kCheckpointsFolder), name);
}

Status CoordinatorImpl::Load() {
  RETURN_IF_ERROR(RemoveLeftovers(checkpoints_folder_));
  RETURN_IF_ERROR(MakeFolders(checkpoints_folder_));
  const Result<std::string> latest = ResolveCheckpoint(run_folder_);
  if (!latest.ok() && !absl::IsNotFound(latest.status())) return latest.status();
  MutexLock lock(mu_);
  if (latest.ok()) {
    RETURN_IF_ERROR(RequireSound(*latest));
    proto::JobConfig saved;
    RETURN_IF_ERROR(ReadCheckpointJob(*latest, &saved));
    RETURN_IF_ERROR(CheckCompatible(saved, job_), options_.run_dir);
    proto::CheckpointManifest manifest;
    RETURN_IF_ERROR(ReadManifest(*latest, &manifest));
    state_ = manifest.state();
    latest_checkpoint_ = NameOfPath(*latest);
    checkpoint_steps_ = state_.steps();
    was_finished_ = state_.finished();
    resume_from_ = *latest;
    // A run may have died before it moved a pointer.
    RETURN_IF_ERROR(MovePointer(checkpoints_folder_, kLatestFile, latest_checkpoint_));
    if (!state_.best_checkpoint().empty()) {
      RETURN_IF_ERROR(MovePointer(checkpoints_folder_, kBestFile, state_.best_checkpoint()));
    }
  }
  if (!options_.vocabulary.empty()) {
    RETURN_IF_ERROR(
        WriteFileAtomically(JoinPath(run_folder_, kVocabularyFile), options_.vocabulary));
  }
  return WriteFileAtomically(JoinPath(run_folder_, kJobFile), job_text_);
}

void CoordinatorImpl::FillResult(JobResult* result) const {
  result->stopped = was_stopped_;
  result->was_finished = was_finished_;
  result->epochs = static_cast<std::uint64_t>(state_.history_size());
  result->best_epoch = state_.best_epoch();
  if (state_.train_seconds() > 0) {
    result->rows_per_s = static_cast<double>(state_.rows()) / state_.train_seconds();
  }
  result->bayes_auc = BayesAuc(job_);
  result->run_dir = options_.run_dir;
  if (!latest_checkpoint_.empty()) result->checkpoint = ShownPath(latest_checkpoint_);
  if (state_.has_test()) result->test = QualityOf(state_.test());
  if (job_.data().valid_size() > 0 && state_.best_epoch() < result->epochs) {
    const proto::EpochRecord& best = state_.history(static_cast<int>(state_.best_epoch()));
    if (best.has_valid()) result->valid = QualityOf(best.valid());
  }
}

}  // namespace cairn::launch
