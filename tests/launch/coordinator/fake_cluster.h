// Parameter servers, data and workers that are small enough to see through, for tests of the
// coordinator: a "weight" is the number of times that a training row was applied.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "launch/coordinator/coordinator_core.h"
#include "launch/coordinator/ps_admin.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"
#include "proto/control.pb.h"
#include "proto/ps_service.pb.h"

namespace cairn::launch::testing {

// A new empty folder, removed with all that is in it at the end.
class ScratchFolder {
 public:
  ScratchFolder();
  ~ScratchFolder();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string ReadText(const std::string& path);
void WriteText(const std::string& path, const std::string& text);
// Changes one bit of the byte at `at`.
void FlipByte(const std::string& path, std::size_t at);

// How often each (epoch, row) was applied.
using Applied = std::map<std::pair<std::uint64_t, std::uint64_t>, int>;

// Holds the rows that its slots own: row r belongs to slot r % slots.
class FakePs : public PsAdmin {
 public:
  FakePs(std::uint32_t index, std::uint32_t count);
  const std::string& address() const override { return address_; }
  Status Snapshot(const std::string& folder, proto::SnapshotReply* reply) override;
  Status Restore(const std::string& checkpoint, std::uint64_t job_epoch,
                 proto::RestoreReply* reply) override;
  Status Stats(proto::PsStatsReply* reply) override;

  bool Owns(std::uint64_t row) const;
  void Apply(std::uint64_t epoch, std::uint64_t row);
  Applied applied() const;
  int restores() const;
  // What Stats tells, or fails with; nothing at first.
  void SetStats(const proto::PsStatsReply& stats, const Status& status = OkStatus());
  // The next Snapshot fails with this.
  void FailNextSnapshot(const Status& status);

 private:
  const std::uint32_t first_slot_;
  const std::uint32_t last_slot_;
  const std::string address_;
  mutable Mutex mu_;
  Applied applied_ GUARDED_BY(mu_);
  int restores_ GUARDED_BY(mu_) = 0;
  Status snapshot_failure_ GUARDED_BY(mu_);
  proto::PsStatsReply stats_ GUARDED_BY(mu_);
  Status stats_status_ GUARDED_BY(mu_);
};

// What the workers would find in the files.
struct FakeData {
  std::uint64_t train_rows = 100;
  std::uint64_t eval_rows = 40;  // of the valid and of the test set; even
  // Hundredths of AUC that the weights of n complete epochs reach: [n - 1]; the last one goes on.
  std::vector<int> auc_after_epochs = {60, 70, 80};
  // Rows r and r + eval_rows / 2 are of one group: a positive and a negative one.
  bool has_groups = false;
  std::uint64_t bad_row_every = 0;  // row r is bad if r % bad_row_every == 0
  // Whether a worker sees that a full window is the last one, or only that the next one is empty.
  bool sees_end_of_full_window = true;
};

class FakeCluster;

// One worker process: joins, works task by task.
class FakeWorker {
 public:
  FakeWorker(FakeCluster* cluster, CoordinatorCore* core, std::uint32_t index);
  // False once the worker was told to leave, or got an error (see status).
  bool Step();
  void RunToEnd() {
    while (Step()) {
    }
  }
  // Takes a task without working on it. False unless it got one.
  bool Take(proto::Task* task, std::uint32_t wait_ms = 2000);
  // Works on a task that was taken.
  Status Finish(const proto::Task& task);
  const Status& status() const { return status_; }
  std::uint64_t incarnation() const { return incarnation_; }

 private:
  FakeCluster* cluster_;
  CoordinatorCore* core_;
  std::uint32_t index_;
  std::uint64_t incarnation_ = 0;
  Status status_;
};

class FakeCluster {
 public:
  FakeCluster(FakeData data, std::uint32_t ps_count);

  // Does the task's work; the request lacks who worked.
  void Work(const proto::Task& task, proto::CompleteTaskRequest* request);
  // Every training task worked on, in order: "epoch/window:begin-end@scale".
  std::vector<std::string> TrainedTasks() const;
  Applied applied() const;
  std::vector<PsAdmin*> admins();
  FakePs& ps(std::size_t i) { return *servers_[i]; }
  std::atomic<double>& clock() { return clock_; }
  // Options for this cluster's servers, clock and a run directory.
  CoordinatorOptions Options(const std::string& run_dir);

 private:
  void Train(const proto::Task& task, std::uint64_t end, proto::CompleteTaskRequest* request);
  void Score(const proto::Task& task, std::uint64_t end, proto::CompleteTaskRequest* request);
  bool IsBad(std::uint64_t row) const;
  std::uint64_t CompleteEpochs() const;

  const FakeData data_;
  std::vector<std::unique_ptr<FakePs>> servers_;
  std::atomic<double> clock_{1000};
  std::uint64_t window_rows_ = 0;
  mutable Mutex mu_;
  std::vector<std::string> trained_ GUARDED_BY(mu_);

 public:
  // Window size of the job; set by RunJob.
  void set_window_rows(std::uint64_t rows) { window_rows_ = rows; }
};

// A job over the fake data: windows of 32 rows, batches of 4, leases of 8.
proto::JobConfig FakeJob();

// A core whose Run is on a thread of its own.
class RunningJob {
 public:
  RunningJob(FakeCluster* cluster, const proto::JobConfig& job, const CoordinatorOptions& options);
  ~RunningJob();
  // The status of Make, and then of Run once it has ended.
  const Status& Wait();
  const JobResult& result() const { return result_; }
  CoordinatorCore& core() { return *core_; }
  CoordinatorCore* operator->() { return core_.get(); }
  // Workers on threads of their own, to the job's end.
  const Status& WorkToEnd(std::uint32_t workers);
  bool made() const { return core_ != nullptr; }

 private:
  FakeCluster* cluster_;
  std::unique_ptr<CoordinatorCore> core_;
  Status status_;
  JobResult result_;
  std::thread thread_;
};

}  // namespace cairn::launch::testing
