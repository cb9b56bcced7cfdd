// The run directory of a job as the coordinator keeps it:
//
//   RUNNING            held locked by the process that runs the job; its first line names it
//   job.textproto      the effective job
//   vocabulary         where a feature has a min_count: worker/features/vocabulary.h
//   metrics.jsonl      one line per finished epoch, and one for the result
//   checkpoints/       see checkpoints.h
#pragma once

#include <string>

#include "common/base/status.h"

namespace cairn::proto {
class JobConfig;
class TrainState;
}  // namespace cairn::proto

namespace cairn::launch {

// Keeps a run directory to one process. Released by the destructor and by the kernel when the
// process dies.
class RunLock {
 public:
  // FailedPrecondition, naming the holder's process and host, when another process has it.
  // Unavailable when the folder cannot be written.
  static Result<RunLock> Take(const std::string& run_dir);
  RunLock(RunLock&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  RunLock& operator=(RunLock&& other) = delete;
  ~RunLock();

 private:
  explicit RunLock(int fd) : fd_(fd) {}
  int fd_;
};

// Text of metrics.jsonl for a state. Every line is a JSON object:
//   {"event":"epoch","epoch":0,"rows":..,"train_loss":..,"rows_per_s":..,"seconds":..,
//    "learning_rate_scale":..,"auc":..,"logloss":..,"eval_rows":..,"best":true}
//   {"event":"result","epochs":..,"best_epoch":..,"rows":..,"rows_per_s":..,"auc":..,"logloss":..,
//    "test_rows":..}
// Where the servers told of themselves, lines of epochs end with
//   "server_rows":..,"server_rows_in_memory":..,"memory_hits":..,"evicted_age":..,
//   "evicted_count":..,"evicted_norm":..,"pull_p99_s":..,"push_p99_s":..
// With data.group "gauc" and "pairwise" follow "logloss". A number that is not defined is left out.
// Epochs count from 0.
std::string MetricsJsonl(const proto::TrainState& state);

// The AUC that the planted truth of synthetic data reaches: data.bayes_auc, or the line
// "bayes_auc: <number>" of truth.txt beside the first file of data.test, or else of data.valid. 0:
// not known.
double BayesAuc(const proto::JobConfig& job);

}  // namespace cairn::launch
