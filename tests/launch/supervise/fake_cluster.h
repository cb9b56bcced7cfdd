// A cluster of shell scripts under a real supervisor, which runs in a process of its own.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "launch/supervise/cluster_state.h"
#include "launch/supervise/supervisor.h"

namespace cairn::launch {

// True as soon as `condition` is; false if it is not within 20 s.
bool Eventually(const std::function<bool()>& condition);

// Lines for scripts.
inline constexpr const char* kListen = "echo 127.0.0.1:1 > \"$RUN/coordinator.address\"; ";
inline constexpr const char* kStay = "exec sleep 1000";
inline constexpr const char* kServe = "trap 'exit 0' TERM; while :; do sleep 0.02; done";
// Ends once the file $RUN/<name> is there.
std::string AwaitFile(const std::string& name);

class FakeCluster {
 public:
  FakeCluster();   // makes a fresh run directory
  ~FakeCluster();  // kills the supervisor if it runs, and removes the directory

  // Bodies of `sh -c`, with RUN set to the run directory.
  void SetCoordinator(const std::string& script) { coordinator_ = script; }
  void AddPs(const std::string& script) { ps_.push_back(script); }
  void AddWorker(const std::string& script) { workers_.push_back(script); }
  // Servers and workers that die are started again.
  void MayReturn() { may_return_ = true; }
  // Limits that tests shorten.
  SupervisorOptions& options() { return options_; }

  void Start();
  void Signal(int signal);
  // The supervisor's exit code; -signal if it was killed.
  int Wait();
  int Run() {
    Start();
    return Wait();
  }

  std::string Path(const std::string& name) const { return run_dir_ + "/" + name; }
  std::string File(const std::string& name) const;  // "" if it is not there
  bool Has(const std::string& name) const;
  void Touch(const std::string& name) const;
  std::string Results() const { return File("stdout"); }
  std::string Messages() const { return File("stderr"); }
  ClusterState State() const;
  // Until all processes run.
  bool WaitUntilRunning() const;
  // No process of cluster.json is left.
  bool AllGone() const;

 private:
  ProcessSpec Spec(const std::string& role, int index, const std::string& script) const;

  std::string run_dir_;
  SupervisorOptions options_;
  std::string coordinator_;
  std::vector<std::string> ps_;
  std::vector<std::string> workers_;
  bool may_return_ = false;
  pid_t supervisor_ = 0;
};

}  // namespace cairn::launch
