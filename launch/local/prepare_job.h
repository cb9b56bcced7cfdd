// What a job must know of its training files before it can start: one counting pass, once in the
// life of a run directory.
#pragma once

#include <string>

#include "common/base/status.h"

namespace cairn::proto {
class JobConfig;
}  // namespace cairn::proto

namespace cairn::launch {

class JobObserver;

// Opens every split of the job's data and checks its columns, so that mistakes show before anything
// starts.
Status CheckData(const proto::JobConfig& job);

// Checks that the model can be built, and CheckData; then gives each feature of the effective job
// whose density the model needs that density, and `vocabulary` the content of the run's vocabulary
// file (worker/features/vocabulary.h) if a feature has a min_count, else nothing. Where `run_dir`
// has a checkpoint both are taken from it, and nothing is counted: the model was trained by them.
// Otherwise the training files are read once, and `observer` (may be null) is told. Errors as of
// worker::CheckModel, CountStatistics and ReadCheckpointJob.
Status PrepareJob(const std::string& run_dir, JobObserver* observer, proto::JobConfig* job,
                  std::string* vocabulary);

}  // namespace cairn::launch
