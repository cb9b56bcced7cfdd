// The processes that a supervisor started, in the order in which it did.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "launch/supervise/process.h"

namespace cairn::launch {

struct Child {
  ProcessSpec spec;
  pid_t pid = 0;
  std::chrono::steady_clock::time_point started;
  std::uint64_t log_offset = 0;  // where its lines begin in its log
  bool is_alive = false;

  std::string Name() const { return ProcessName(spec.role, spec.index); }
};

// Not thread-safe; from the main thread (see StartProcess).
class Children {
 public:
  struct Ended {
    std::size_t index = 0;
    ProcessExit exit;
  };

  // Errors of StartProcess; then there is no new child.
  Status Start(const ProcessSpec& spec);
  // Those that ended since the last call. What they had started in their process group is killed.
  std::vector<Ended> Reap();
  // To the process groups of all that live.
  void SignalAll(int signal) const;
  bool AnyAlive() const;

  const Child& operator[](std::size_t index) const { return children_[index]; }
  const Child& back() const { return children_.back(); }
  std::vector<Child>::const_iterator begin() const { return children_.begin(); }
  std::vector<Child>::const_iterator end() const { return children_.end(); }

 private:
  std::vector<Child> children_;
};

}  // namespace cairn::launch
