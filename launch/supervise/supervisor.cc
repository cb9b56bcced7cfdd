#include "launch/supervise/supervisor.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <optional>
#include <utility>

#include "common/io/file.h"
#include "launch/supervise/children.h"
#include "launch/supervise/cluster_state.h"
#include "launch/supervise/event_wait.h"
#include "launch/supervise/failure_report.h"
#include "launch/supervise/log_follower.h"
#include "launch/text/human.h"

namespace cairn::launch {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int kTryAgain = 138;
constexpr milliseconds kLeftNotice{10'000};

double SecondsBetween(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

bool IsStopCode(int code) { return code == 129 || code == 130 || code == 143; }
bool IsCrash(const ProcessExit& exit) {
  return exit.signal != 0 && exit.signal != SIGKILL && exit.signal != SIGTERM;
}

class Supervisor {
 public:
  explicit Supervisor(const SupervisorOptions& options)
      : options_(options),
        begin_(Clock::now()),
        follower_(options.coordinator.log, FileSize(options.coordinator.log).value_or(0)) {}

  int Run();

 private:
  enum class Phase {
    kStarting,  // the coordinator runs; its address is awaited
    kRunning,   // all run
    kStopping,  // the coordinator was asked for an orderly stop
    kSettling,  // something failed; who else fails on its own?
    kLeaving,   // the coordinator ended; workers leave on their own
    kEnding,    // all were sent SIGTERM
    kKilling,   // all were sent SIGKILL
  };

  void Say(const std::string& text);
  void SaveState();
  bool Start(const ProcessSpec& spec);
  void StartOthers(const std::string& address);
  void LookForAddress();
  void FollowLog();

  void OnSignal(int signal);
  void OnExit(std::size_t index, const ProcessExit& exit);
  void OnCoordinatorExit(const ProcessExit& exit);
  bool TryReturn(const Child& child, const ProcessExit& exit);
  void StartReturning();
  Failure Describe(const Child& child, const ProcessExit& exit) const;
  void Fail(const Child& child, const ProcessExit& exit, std::string what);
  void NoticeLeft();
  void OnDeadline();

  void Enter(Phase phase, milliseconds limit);
  void EndAll();
  void KillAll();
  milliseconds UntilDeadline() const;
  int Finish();

  const SupervisorOptions& options_;
  const Clock::time_point begin_;
  LogFollower follower_;
  EventWait events_;
  Children children_;   // [0] is the coordinator
  ClusterState state_;  // process i is children_[i]

  struct Return {
    ProcessSpec spec;
    Clock::time_point due;
  };
  std::vector<Return> returns_;               // to be started again
  std::map<std::string, int> quick_returns_;  // in a row, by name of the process

  Phase phase_ = Phase::kStarting;
  std::optional<Clock::time_point> deadline_;
  std::vector<Failure> failures_;
  bool has_coordinator_ended_ = false;
  std::optional<int> orderly_code_;  // of a coordinator that ended the job or stopped it in order
  std::vector<std::string> left_;    // names of those that left with exit code 0
  Clock::time_point last_left_;
  bool left_noticed_ = false;
  int stop_signal_ = 0;
  Clock::time_point stop_time_;
  std::string result_;
};

void Supervisor::Say(const std::string& text) {
  *options_.messages << "cluster: " << text << std::endl;
}

void Supervisor::SaveState() {
  const Status written = WriteClusterState(state_);
  // Training goes on without: only `status` and `stop` look at the file.
  if (!written.ok()) Say(StrCat("warning: ", written.message()));
}

bool Supervisor::Start(const ProcessSpec& spec) {
  if (const Status started = children_.Start(spec); !started.ok()) {
    Child absent;
    absent.spec = spec;
    absent.started = Clock::now();
    Fail(absent, {.code = ExitCodeOf(started)}, std::string(started.message()));
    return false;
  }
  ProcessState& process = state_.process.emplace_back();
  process.role = spec.role;
  process.index = spec.index;
  process.pid = children_.back().pid;
  process.start_ticks = ProcessStartTicks(process.pid);
  process.log = spec.log;
  process.started_unix_s = UnixNow();
  return true;
}

void Supervisor::StartOthers(const std::string& address) {
  Say(StrCat("coordinator listens at ", address, " (pid ", children_[0].pid, ")"));
  state_.coordinator = address;
  std::string names;
  for (const ProcessSpec& spec : options_.others(address)) {
    if (!Start(spec)) return;  // the failure ends the job
    StrAppend(names, names.empty() ? "" : ", ", children_.back().Name(), " (pid ",
              children_.back().pid, ")");
  }
  Say(StrCat("started ", names));
  state_.state = "running";
  SaveState();
  Enter(Phase::kRunning, milliseconds::zero());
  if (options_.started) options_.started();
}

void Supervisor::LookForAddress() {
  const Result<std::string> text = ReadFile(options_.address_file);
  if (!text.ok() || text->empty() || text->back() != '\n') return;  // not there, or half written
  StartOthers(text->substr(0, text->size() - 1));
}

void Supervisor::FollowLog() {
  for (const std::string& line : follower_.NewLines()) {
    switch (ClassifyLogLine(line)) {
      case LogLine::kResult:
        result_ = line;
        break;
      case LogLine::kProgress:
        *options_.messages << line << std::endl;
        break;
      case LogLine::kDetail:
        break;
    }
  }
}

void Supervisor::Enter(Phase phase, milliseconds limit) {
  phase_ = phase;
  deadline_.reset();
  if (limit > milliseconds::zero()) deadline_ = Clock::now() + limit;
}

void Supervisor::EndAll() {
  children_.SignalAll(SIGTERM);
  children_.SignalAll(SIGCONT);  // a stopped process cannot leave
  Enter(Phase::kEnding, failures_.empty() ? options_.kill_grace : options_.failed_grace);
}

void Supervisor::KillAll() {
  children_.SignalAll(SIGKILL);
  Enter(Phase::kKilling, milliseconds::zero());
}

void Supervisor::OnSignal(int signal) {
  const auto now = Clock::now();
  if (stop_signal_ != 0) {
    if (now - stop_time_ < options_.same_signal) return;
    Say("second signal: killing all processes now");
    KillAll();
    return;
  }
  stop_signal_ = signal;
  stop_time_ = now;
  switch (phase_) {
    case Phase::kStarting:
    case Phase::kRunning:
      Say(StrCat("stopping on SIG", sigabbrev_np(signal),
                 ": the coordinator writes a checkpoint (limit ",
                 HumanSeconds(static_cast<double>(options_.grace.count()) / 1000),
                 "; the signal again kills at once)"));
      state_.state = "stopping";
      SaveState();
      kill(children_[0].pid, SIGTERM);
      Enter(Phase::kStopping, options_.grace);
      break;
    case Phase::kSettling:
    case Phase::kLeaving:
      EndAll();
      break;
    case Phase::kStopping:
    case Phase::kEnding:
    case Phase::kKilling:
      break;
  }
}

void Supervisor::OnExit(std::size_t index, const ProcessExit& exit) {
  const Child& child = children_[index];
  const bool was_told = orderly_code_.has_value() && IsStopCode(exit.code);
  state_.process[index].ended = was_told ? "left when told to" : DescribeExit(exit);
  state_.process[index].seconds = SecondsBetween(child.started, Clock::now());
  SaveState();
  if (index == 0) {
    OnCoordinatorExit(exit);
    return;
  }
  const bool is_clean = exit.signal == 0 && exit.code == 0;
  if (!is_clean && TryReturn(child, exit)) return;
  switch (phase_) {
    case Phase::kStarting:
    case Phase::kRunning:
    case Phase::kSettling:
      if (is_clean) {
        left_.push_back(child.Name());
        last_left_ = Clock::now();
      } else {
        Fail(child, exit, "");
      }
      break;
    case Phase::kStopping:
      // The coordinator decides how the stop ends; this may be why it fails.
      if (!is_clean && !IsStopCode(exit.code)) Fail(child, exit, "");
      break;
    case Phase::kLeaving:
    case Phase::kEnding:
    case Phase::kKilling:
      if (IsCrash(exit)) {
        Say(StrCat("warning: ", child.Name(), " was ", DescribeExit(exit), " while it left; see ",
                   child.spec.log));
      }
      break;
  }
}

void Supervisor::OnCoordinatorExit(const ProcessExit& exit) {
  has_coordinator_ended_ = true;
  // SIGTERM kills a coordinator that has not come as far as to handle it: nothing was begun.
  const bool is_early = phase_ == Phase::kStopping && exit.signal == SIGTERM;
  const bool is_orderly =
      is_early || (exit.signal == 0 && (exit.code == 0 || IsStopCode(exit.code)));
  if (phase_ == Phase::kEnding || phase_ == Phase::kKilling) {
    // The job may have come to its end all the same; a stop code only says that it was told twice.
    if (exit.signal == 0 && exit.code == 0 && failures_.empty()) orderly_code_ = 0;
    return;
  }
  if (!is_orderly) {
    Fail(children_[0], exit, "");
    return;
  }
  orderly_code_ = is_early ? 128 + SIGTERM : exit.code;
  // Servers serve until they are told to leave; workers were told by the coordinator.
  for (const Child& child : children_) {
    if (child.is_alive && child.spec.role == "ps") kill(child.pid, SIGTERM);
  }
  Enter(Phase::kLeaving, options_.leave_grace);
}

// A process that was killed or crashed, left because somebody else told it to, or cannot go on
// without a new start: a server whose log failed, a worker that was given up.
bool IsWorthReturning(const Child& child, const ProcessExit& exit) {
  if (!child.spec.may_return) return false;
  return exit.signal != 0 || IsStopCode(exit.code) || exit.code == kTryAgain;
}

bool Supervisor::TryReturn(const Child& child, const ProcessExit& exit) {
  const bool is_time = phase_ == Phase::kRunning || phase_ == Phase::kStopping;
  if (!is_time || has_coordinator_ended_ || !IsWorthReturning(child, exit)) return false;
  const Failure failure = Describe(child, exit);
  int& returns = quick_returns_[failure.name];
  if (Clock::now() - child.started >= options_.steady) returns = 0;
  if (returns >= options_.max_restarts) return false;
  ++returns;
  // Who leaves by itself may do so because the job fails: that shows in a moment.
  milliseconds pause = exit.code == kTryAgain ? options_.first_pause : milliseconds{0};
  if (returns > 1) pause = options_.first_pause * (1 << std::min(returns - 2, 5));
  returns_.push_back({child.spec, Clock::now() + pause});
  Say(StrCat(
      FailureLine(failure), "; ", returns == 1 ? "" : StrCat("return ", returns, " of "),
      returns == 1 ? "it is started again" : StrCat(options_.max_restarts, " in a row follows"),
      "; see ", child.spec.log));
  return true;
}

void Supervisor::StartReturning() {
  if (phase_ != Phase::kRunning && phase_ != Phase::kStopping) returns_.clear();
  for (std::size_t i = 0; i < returns_.size();) {
    if (returns_[i].due > Clock::now()) {
      ++i;
      continue;
    }
    const ProcessSpec spec = returns_[i].spec;
    returns_.erase(returns_.begin() + static_cast<std::ptrdiff_t>(i));
    if (!Start(spec)) return;  // the failure ends the job
    Say(StrCat(children_.back().Name(), " runs again (pid ", children_.back().pid, ")"));
    SaveState();
  }
}

Failure Supervisor::Describe(const Child& child, const ProcessExit& exit) const {
  Failure failure;
  failure.name = child.Name();
  failure.pid = child.pid;
  failure.at_s = SecondsBetween(begin_, Clock::now());
  failure.ran_s = SecondsBetween(child.started, Clock::now());
  failure.exit = exit;
  failure.log = child.spec.log;
  failure.log_offset = child.log_offset;
  return failure;
}

void Supervisor::Fail(const Child& child, const ProcessExit& exit, std::string what) {
  Failure failure = Describe(child, exit);
  failure.what = std::move(what);
  Say(FailureLine(failure));
  failures_.push_back(std::move(failure));
  if (phase_ == Phase::kStarting || phase_ == Phase::kRunning ||
      (phase_ == Phase::kStopping && has_coordinator_ended_)) {
    Enter(Phase::kSettling, options_.settle);
  }
}

void Supervisor::NoticeLeft() {
  if (phase_ != Phase::kRunning || left_.empty() || left_noticed_ ||
      Clock::now() - last_left_ < kLeftNotice) {
    return;
  }
  left_noticed_ = true;
  std::string names;
  for (const std::string& name : left_) StrAppend(names, names.empty() ? "" : ", ", name);
  Say(StrCat(names, " left in good order; waiting for the coordinator to end the job (",
             children_[0].spec.log, ")"));
}

void Supervisor::OnDeadline() {
  switch (phase_) {
    case Phase::kStarting:
      Fail(children_[0], {.code = kTryAgain},
           StrCat("did not write its address to ", options_.address_file, " within ",
                  HumanSeconds(static_cast<double>(options_.start_limit.count()) / 1000)));
      EndAll();
      break;
    case Phase::kStopping:
      Say("the orderly stop took too long: stopping all processes; the last complete checkpoint "
          "stays");
      EndAll();
      break;
    case Phase::kSettling:
    case Phase::kLeaving:
      EndAll();
      break;
    case Phase::kEnding:
      KillAll();
      break;
    case Phase::kRunning:
    case Phase::kKilling:
      break;
  }
}

milliseconds Supervisor::UntilDeadline() const {
  constexpr milliseconds kLongest{500};  // where the file system sends no events
  Clock::time_point next = Clock::now() + kLongest;
  if (deadline_.has_value()) next = std::min(next, *deadline_);
  for (const Return& returning : returns_) next = std::min(next, returning.due);
  const auto left = std::chrono::ceil<milliseconds>(next - Clock::now());
  return std::clamp(left, milliseconds::zero(), kLongest);
}

int Supervisor::Finish() {
  FollowLog();
  if (ClassifyLogLine(follower_.Rest()) == LogLine::kResult) result_ = follower_.Rest();
  int code = 0;
  if (orderly_code_ == 0) {
    state_.state = "done";
    if (result_.empty()) Say("warning: the coordinator ended without a RESULT line");
  } else if (orderly_code_.has_value()) {
    state_.state = "stopped";
    code = stop_signal_ != 0 ? 128 + stop_signal_ : *orderly_code_;
    Say("stopped; the same command goes on from the last checkpoint");
  } else if (!failures_.empty()) {
    state_.state = stop_signal_ != 0 ? "killed" : "failed";
    const Failure& first = failures_[FirstFailure(failures_)];
    state_.failure = FailureLine(first);
    code = JobExitCode(first.exit);
    *options_.messages << "\ncluster: FAILED after "
                       << HumanSeconds(SecondsBetween(begin_, Clock::now()))
                       << "; all other processes were stopped\n"
                       << FailureReport(failures_)
                       << "all logs: " << FolderOf(options_.coordinator.log) << "\n"
                       << (code == kTryAgain ? "the" : "once that is mended, the")
                       << " same command goes on from the last checkpoint" << std::endl;
  } else {
    state_.state = "killed";
    code = kTryAgain;
    Say("killed before the checkpoint was complete; the same command goes on from the last one");
  }
  state_.exit_code = code;
  state_.result = result_;
  state_.ended_unix_s = UnixNow();
  SaveState();
  if (!result_.empty() && code == 0) *options_.results << result_ << std::endl;
  return code;
}

int Supervisor::Run() {
  state_.state = "starting";
  state_.job = options_.job;
  state_.job_file = options_.job_file;
  state_.run_dir = options_.run_dir;
  char host[256] = {};
  gethostname(host, sizeof host - 1);
  state_.host = host;
  state_.supervisor_pid = getpid();
  state_.supervisor_start_ticks = ProcessStartTicks(getpid());
  state_.started_unix_s = UnixNow();
  unlink(options_.address_file.c_str());

  Enter(Phase::kStarting, options_.start_limit);
  if (Start(options_.coordinator)) {
    events_.WatchFile(options_.coordinator.log);
    events_.WatchFolder(FolderOf(options_.address_file));
    Say("waiting for the coordinator to listen");
  }
  SaveState();
  while (children_.AnyAlive()) {
    for (const int signal : events_.Wait(UntilDeadline())) OnSignal(signal);
    FollowLog();
    for (const Children::Ended& ended : children_.Reap()) OnExit(ended.index, ended.exit);
    StartReturning();
    if (phase_ == Phase::kStarting && children_[0].is_alive) LookForAddress();
    NoticeLeft();
    if (deadline_.has_value() && Clock::now() >= *deadline_) OnDeadline();
  }
  return Finish();
}

}  // namespace

int SuperviseCluster(const SupervisorOptions& options) { return Supervisor(options).Run(); }

}  // namespace cairn::launch
