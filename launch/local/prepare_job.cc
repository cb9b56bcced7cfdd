#include "launch/local/prepare_job.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

#include "common/io/file.h"
#include "launch/coordinator/checkpoints.h"
#include "launch/coordinator/coordinator_core.h"
#include "proto/config.pb.h"
#include "proto/control.pb.h"
#include "worker/data/dataset.h"
#include "worker/data/statistics.h"
#include "worker/features/vocabulary.h"
#include "worker/train/model_runner.h"

namespace cairn::launch {
namespace {

// Densities and vocabulary of the checkpoint's job. Features that it does not have stay as they
// are: that the jobs differ is for CoordinatorCore::Make to tell.
Status TakeFromCheckpoint(const std::string& checkpoint, proto::JobConfig* job,
                          std::string* vocabulary) {
  proto::JobConfig saved;
  RETURN_IF_ERROR(ReadCheckpointJob(checkpoint, &saved));
  for (int f = 0; f < std::min(job->feature_size(), saved.feature_size()); ++f) {
    const proto::FeatureConfig& counted = saved.feature(f);
    proto::FeatureConfig& feature = *job->mutable_feature(f);
    if (feature.has_density() || !counted.has_density()) continue;
    if (feature.name() == counted.name()) feature.set_density(counted.density());
  }
  const std::string path = JoinPath(checkpoint, kVocabularyFile);
  if (!worker::NeedsVocabulary(*job) || !PathExists(path)) return OkStatus();
  ASSIGN_OR_RETURN(*vocabulary, ReadFile(path));
  return OkStatus();
}

Status Count(JobObserver* observer, proto::JobConfig* job, std::string* vocabulary) {
  const auto start = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(const worker::Statistics statistics, worker::CountStatistics(*job),
                   "counting values");
  for (int f = 0; f < job->feature_size(); ++f) {
    const double density = statistics.density[static_cast<std::size_t>(f)];
    if (std::isfinite(density)) job->mutable_feature(f)->set_density(density);
  }
  if (worker::NeedsVocabulary(*job)) *vocabulary = statistics.vocabulary.Serialize();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  char seconds[32];
  std::snprintf(seconds, sizeof seconds, "%.1f", elapsed.count());
  if (observer != nullptr)
    observer->OnCounted(
        StrCat("counted the values of ", statistics.rows, " training rows in ", seconds, " s"));
  return OkStatus();
}

}  // namespace

Status CheckData(const proto::JobConfig& job) {
  for (const proto::DataSplit split : {proto::TRAIN, proto::VALID, proto::TEST}) {
    const int patterns = split == proto::TRAIN   ? job.data().train_size()
                         : split == proto::VALID ? job.data().valid_size()
                                                 : job.data().test_size();
    if (patterns == 0) continue;
    RETURN_IF_ERROR(worker::Dataset::Make(job, split).status());
  }
  return OkStatus();
}

Status PrepareJob(const std::string& run_dir, JobObserver* observer, proto::JobConfig* job,
                  std::string* vocabulary) {
  vocabulary->clear();
  RETURN_IF_ERROR(worker::CheckModel(*job));
  RETURN_IF_ERROR(CheckData(*job));
  if (!worker::NeedsDensity(*job) && !worker::NeedsVocabulary(*job)) return OkStatus();
  const Result<std::string> latest = ResolveCheckpoint(run_dir);
  if (latest.ok()) return TakeFromCheckpoint(*latest, job, vocabulary);
  if (!absl::IsNotFound(latest.status())) return latest.status();
  return Count(observer, job, vocabulary);
}

}  // namespace cairn::launch
