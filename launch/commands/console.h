// What a person sees of a running job: lines on stderr, one live line on a terminal; and the result
// line on stdout.
#pragma once

#include <memory>
#include <string>

#include "launch/coordinator/coordinator_core.h"

namespace cairn::launch {

// Prints to stderr. On a terminal progress is one line that is overwritten; otherwise a line each
// time it is told.
std::unique_ptr<JobObserver> MakeConsole();

// "RESULT auc=.. logloss=.. rows_per_s=.. run_dir=.. checkpoint=..", with gauc and pairwise
// behind logloss where data.group is set, and bayes_auc where it is known; scripts rely on it. auc
// and logloss are of the test set, else of the validation set; left out where there was neither.
std::string ResultLine(const JobResult& result);

// What to say before the result of a job that was finished before this run.
std::string FinishedLine(const JobResult& result);

}  // namespace cairn::launch
