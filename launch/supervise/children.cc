#include "launch/supervise/children.h"

#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <utility>

#include "common/io/file.h"

namespace cairn::launch {

Status Children::Start(const ProcessSpec& spec) {
  Child child;
  child.spec = spec;
  child.started = std::chrono::steady_clock::now();
  child.log_offset = FileSize(spec.log).value_or(0);
  ASSIGN_OR_RETURN(child.pid, StartProcess(spec));
  child.is_alive = true;
  children_.push_back(std::move(child));
  return OkStatus();
}

std::vector<Children::Ended> Children::Reap() {
  std::vector<Ended> ended;
  for (std::size_t i = 0; i < children_.size(); ++i) {
    Child& child = children_[i];
    siginfo_t info{};
    if (!child.is_alive ||
        waitid(P_PID, static_cast<id_t>(child.pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
        info.si_pid == 0) {
      continue;
    }
    // While the zombie still keeps its pid, and so its group's, from being given away.
    kill(-child.pid, SIGKILL);
    int wait_status = 0;
    waitpid(child.pid, &wait_status, 0);
    child.is_alive = false;
    ended.push_back({i, ExitFromWaitStatus(wait_status)});
  }
  return ended;
}

void Children::SignalAll(int signal) const {
  for (const Child& child : children_) {
    if (child.is_alive) kill(-child.pid, signal);
  }
}

bool Children::AnyAlive() const {
  return std::any_of(children_.begin(), children_.end(),
                     [](const Child& child) { return child.is_alive; });
}

}  // namespace cairn::launch
