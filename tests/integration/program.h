// The built `cairn` and `launch/cluster` as processes, in a folder of their own with a small job.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace cairn {

// True as soon as `condition` is; false if it is not within 60 s.
bool Eventually(const std::function<bool()>& condition);

// A started program; killed by the destructor if it still runs.
class Program {
 public:
  Program(const std::vector<std::string>& argv, const std::string& folder, const std::string& name);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t pid() const { return pid_; }
  void Signal(int signal) const;
  // Exit code; -signal if it was killed.
  int Wait();
  bool IsOver();
  std::string Out() const;  // so far
  std::string Err() const;

 private:
  const std::string out_path_;
  const std::string err_path_;
  pid_t pid_ = 0;
  bool is_over_ = false;
  int code_ = 0;
};

// A folder with train.csv, test.csv and job.textproto: clicks that follow a logistic truth of a few
// categorical columns, learned by logistic regression. Programs run in it.
class Workplace {
 public:
  Workplace();
  ~Workplace();

  struct JobOptions {
    int train_rows = 20'000;
    int epochs = 3;
    int batch_size = 100;
    int checkpoint_every_steps = 50;
    // Four features more, x1 to x4, each with one row that every step pushes to: its count is the
    // number of pushes that its server applied.
    bool with_ledger = false;
  };
  void WriteJob(const JobOptions& options);

  std::unique_ptr<Program> Start(const std::vector<std::string>& argv);
  std::unique_ptr<Program> StartCairn(std::vector<std::string> arguments);
  // `launch/cluster up` with `flags`, on job.textproto in the folder "run".
  std::unique_ptr<Program> StartCluster(int ps, int workers, std::vector<std::string> flags = {});

  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  std::string File(const std::string& name) const;  // "" if it is not there
  // Whether the run has a checkpoint that LATEST names.
  bool HasCheckpoint() const { return !File("run/checkpoints/LATEST").empty(); }
  // Pid of the process that is `role` `index` now; 0 if none runs.
  pid_t PidOf(const std::string& role, int index) const;
  // The pids that run/cluster.json names, supervisor first.
  std::vector<pid_t> ClusterPids() const;

 private:
  const std::string folder_;
  int started_ = 0;
};

// Value of `name=` in a RESULT line; fails the test when it is not there.
double ResultValue(const std::string& line, const std::string& name);

}  // namespace cairn
