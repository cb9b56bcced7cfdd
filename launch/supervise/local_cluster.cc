#include "launch/supervise/local_cluster.h"

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include "common/config/config.h"
#include "common/io/file.h"
#include "launch/supervise/cluster_lock.h"
#include "launch/supervise/cluster_state.h"
#include "launch/supervise/daemon.h"
#include "launch/supervise/process.h"
#include "launch/supervise/supervisor.h"
#include "launch/text/human.h"
#include "proto/config.pb.h"

namespace cairn::launch {
namespace {

constexpr std::chrono::milliseconds kStragglerLimit{10'000};

std::string LogPath(const std::string& run_dir, const std::string& name) {
  return JoinPath(JoinPath(run_dir, "logs"), StrCat(name, ".log"));
}

// A process takes a connection per peer, and RocksDB a file per table: more than the usual soft
// limit of 1024 allows. Children inherit it.
void RaiseFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::max<rlim_t>(limit.rlim_cur, std::min<rlim_t>(limit.rlim_max, 65536));
  setrlimit(RLIMIT_NOFILE, &limit);
}

// Processes of a supervisor that was killed end at once, but not in no time: a new server must find
// the database unlocked.
Status AwaitStragglers(const std::string& run_dir) {
  const Result<ClusterState> last = ReadClusterState(run_dir);
  if (!last.ok()) return OkStatus();  // none ran here, or a damaged file that the next run replaces
  for (const ProcessState& process : last->process) {
    if (!process.ended.empty() || !IsAlive(process.pid, process.start_ticks)) continue;
    if (!WaitUntilGone(process.pid, process.start_ticks, kStragglerLimit)) {
      return absl::FailedPreconditionError(
          StrCat(ProcessName(process.role, process.index), " of an earlier run still lives as ",
                 "process ", process.pid, "; end it with `kill -9 ", process.pid, "`"));
    }
  }
  return OkStatus();
}

// A folder for the sockets of servers: one that is started again must be found where it was, and
// unix sockets cost less than TCP. Their paths are short, so that they may not fit below the run
// directory.
Result<std::string> MakeSocketFolder(const std::string& run_dir) {
  constexpr std::size_t kLongest = 90;  // of the 107 bytes of a socket's path
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(run_dir, error);
  std::string folder = JoinPath(absolute.lexically_normal().string(), "sockets");
  // gRPC takes the address for a URI.
  const bool is_plain = folder.find_first_of("#?%") == std::string::npos;
  if (!error && is_plain && folder.size() <= kLongest) {
    RETURN_IF_ERROR(RemoveTree(folder));
    RETURN_IF_ERROR(MakeFolders(folder));
    return folder;
  }
  folder = "/tmp/cairn-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) return ErrnoStatus("make folder", folder, errno);
  return folder;
}

// Whether the cluster that has just ended here may do better when all of it begins again.
bool IsWorthAnotherRun(const std::string& run_dir, int code) {
  constexpr int kTryAgain = 138;
  const Result<ClusterState> state = ReadClusterState(run_dir);
  return code == kTryAgain && state.ok() && state->state == "failed";
}

// Runs of the whole cluster: each goes on from the last checkpoint, where what has died cannot come
// back alone.
int Supervise(SupervisorOptions plan, const std::string& sockets) {
  // Also between runs, where no supervisor waits for them.
  sigset_t stops, before;
  sigemptyset(&stops);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&stops, signal);
  pthread_sigmask(SIG_BLOCK, &stops, &before);
  bool told = false;
  plan.started = [&told, started = plan.started] {
    if (!std::exchange(told, true) && started) started();
  };
  const auto latest = [&plan] {
    return ReadFile(JoinPath(plan.run_dir, "checkpoints/LATEST")).value_or("");
  };
  int code = 0;
  for (int in_a_row = 0;;) {
    const std::string checkpoint = latest();
    code = SuperviseCluster(plan);
    // Only a run that came further than the one before it shows that another may help.
    if (latest() != checkpoint) in_a_row = 0;
    if (in_a_row >= plan.max_restarts || !IsWorthAnotherRun(plan.run_dir, code)) break;
    const auto pause = plan.first_pause * (1 << std::min(in_a_row, 5));
    ++in_a_row;
    *plan.messages << "cluster: all of it begins again, from the last checkpoint, in "
                   << HumanSeconds(std::chrono::duration<double>(pause).count()) << " (restart "
                   << in_a_row << " of " << plan.max_restarts << " in a row)" << std::endl;
    timespec limit{};
    limit.tv_sec = pause.count() / 1000;
    limit.tv_nsec = pause.count() % 1000 * 1'000'000;
    if (const int signal = sigtimedwait(&stops, nullptr, &limit); signal > 0) {
      *plan.messages << "cluster: stopped; the same command goes on from the last checkpoint"
                     << std::endl;
      code = 128 + signal;
      break;
    }
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  const Status removed = RemoveTree(sockets);
  if (!removed.ok()) *plan.messages << "warning: " << removed.message() << std::endl;
  return code;
}

ProcessSpec Spec(const LocalClusterOptions& options, const std::string& run_dir,
                 const std::string& role, int index, std::vector<std::string> flags) {
  ProcessSpec spec;
  spec.role = role;
  spec.index = index;
  spec.argv = {options.program, role};
  spec.argv.insert(spec.argv.end(), flags.begin(), flags.end());
  spec.log = LogPath(run_dir, StrCat(role, "-", index));
  return spec;
}

SupervisorOptions Plan(const LocalClusterOptions& options, const std::string& run_dir,
                       const std::string& sockets, const proto::JobConfig& job,
                       const std::string& job_file) {
  SupervisorOptions plan;
  plan.run_dir = run_dir;
  plan.job = job.name();
  plan.job_file = options.config;
  plan.address_file = JoinPath(run_dir, "coordinator.address");
  plan.grace = options.grace;
  plan.messages = options.messages;
  plan.results = options.results;
  plan.coordinator = Spec(
      options, run_dir, "coordinator", 0,
      {StrCat("--config=", job_file), StrCat("--run_dir=", run_dir), StrCat("--ps=", options.ps),
       StrCat("--workers=", options.workers), "--address=127.0.0.1:0"});
  plan.max_restarts = options.max_restarts;
  const bool servers_recover = job.server().durability() != proto::ServerConfig::NONE;
  plan.others = [&options, run_dir, sockets, servers_recover](const std::string& address) {
    std::vector<ProcessSpec> specs;
    const std::string coordinator = StrCat("--coordinator=", address);
    for (int i = 0; i < options.ps; ++i) {
      specs.push_back(Spec(options, run_dir, "ps", i,
                           {coordinator, StrCat("--ps=", i), StrCat("--run_dir=", run_dir),
                            StrCat("--address=unix:", sockets, "/ps-", i)}));
      specs.back().may_return = servers_recover;
    }
    for (int i = 0; i < options.workers; ++i) {
      specs.push_back(Spec(options, run_dir, "worker", i, {coordinator, StrCat("--worker=", i)}));
      specs.back().may_return = true;
    }
    return specs;
  };
  return plan;
}

std::string Plural(int count, const std::string& what) {
  return StrCat(count, " ", what, count == 1 || what == "ps" ? "" : "s");
}

int Detach(ClusterLock& lock, SupervisorOptions plan, const std::string& sockets,
           std::ostream& messages) {
  const std::string log = LogPath(plan.run_dir, "supervisor");
  const Result<int> code = RunDaemon(
      log,
      [&](const std::function<void()>& is_up) {
        plan.messages = &std::cerr;
        plan.results = &std::cout;
        plan.started = is_up;
        const Status signed_lock = lock.Sign();
        if (!signed_lock.ok()) std::cerr << signed_lock.message() << std::endl;
        return Supervise(plan, sockets);
      },
      messages);
  if (!code.ok()) {
    messages << "error: " << code.status().message() << std::endl;
    return ExitCodeOf(code.status());
  }
  if (*code == 0) {
    const std::string run_dir = ShellQuote(std::vector<std::string>{plan.run_dir});
    messages << "cluster: runs in the background\n"
             << "  follow  tail -f " << ShellQuote(std::vector<std::string>{log}) << "\n"
             << "  look    launch/cluster status --run_dir=" << run_dir << "\n"
             << "  stop    launch/cluster stop --run_dir=" << run_dir << std::endl;
  }
  return *code;
}

}  // namespace

Result<int> UpLocalCluster(const LocalClusterOptions& options) {
  ASSIGN_OR_RETURN(const proto::JobConfig job, LoadJob(options.config, options.overrides));
  if (job.train().deterministic() && options.workers > 1) {
    return absl::InvalidArgumentError(StrCat("--workers=", options.workers, ": a job with ",
                                             "train.deterministic has one worker"));
  }
  const std::string run_dir =
      options.run_dir.empty() ? JoinPath("runs", job.name()) : options.run_dir;
  const std::string size =
      StrCat(Plural(options.ps, "ps"), " and ", Plural(options.workers, "worker"));
  *options.messages << "cluster: run directory " << run_dir << ", " << size << ", logs in "
                    << JoinPath(run_dir, "logs") << std::endl;
  ASSIGN_OR_RETURN(const auto lock, ClusterLock::Take(run_dir, StrCat("cluster of ", size)));
  RETURN_IF_ERROR(AwaitStragglers(run_dir));
  RETURN_IF_ERROR(MakeFolders(JoinPath(run_dir, "logs")));
  const std::string job_file = JoinPath(run_dir, "cluster.job.textproto");
  RETURN_IF_ERROR(WriteFileAtomically(job_file, PrintJob(job)));
  RaiseFileLimit();
  ASSIGN_OR_RETURN(const std::string sockets, MakeSocketFolder(run_dir));
  const SupervisorOptions plan = Plan(options, run_dir, sockets, job, job_file);
  if (options.detach) return Detach(*lock, plan, sockets, *options.messages);
  return Supervise(plan, sockets);
}

Result<std::string> PickRunDir(const std::string& runs) {
  const Result<std::vector<std::string>> names = ListFolder(runs, ListMode::kEntries);
  std::vector<std::string> running;
  std::string latest;
  std::int64_t latest_start = -1;
  for (const std::string& name : names.ok() ? *names : std::vector<std::string>()) {
    const std::string run_dir = JoinPath(runs, name);
    const Result<ClusterState> state = ReadClusterState(run_dir);
    if (!state.ok()) continue;
    const auto holder = ClusterLock::Holder(run_dir);
    if (holder.ok() && holder->has_value()) running.push_back(run_dir);
    if (state->started_unix_s > latest_start) {
      latest_start = state->started_unix_s;
      latest = run_dir;
    }
  }
  if (running.size() == 1) return running.front();
  if (running.size() > 1) {
    std::string message = "several clusters run; say which with";
    for (const std::string& run_dir : running) StrAppend(message, "\n  --run_dir=", run_dir);
    return absl::InvalidArgumentError(message);
  }
  if (!latest.empty()) return latest;
  return absl::NotFoundError(
      StrCat("no cluster ran under ", runs, "; name its directory with --run_dir=DIR"));
}

Status StopLocalCluster(const std::string& run_dir, std::chrono::seconds limit,
                        std::ostream& messages) {
  if (!PathExists(run_dir)) return absl::NotFoundError(StrCat("no run directory ", run_dir));
  ASSIGN_OR_RETURN(const auto holder, ClusterLock::Holder(run_dir));
  if (!holder.has_value()) {
    messages << "cluster: nothing runs in " << run_dir << std::endl;
    return OkStatus();
  }
  char host[256] = {};
  gethostname(host, sizeof host - 1);
  if (holder->host != host) {
    return absl::FailedPreconditionError(
        StrCat("the cluster of ", run_dir, " runs on host ", holder->host, "; stop it there"));
  }
  const std::uint64_t start_ticks = ProcessStartTicks(holder->pid);
  const Result<ClusterState> before = ReadClusterState(run_dir);
  // A second signal would kill; somebody else has asked for the stop already.
  const bool is_stopping = before.ok() && before->state == "stopping";
  if (start_ticks != 0) {
    messages << "cluster: stopping " << holder->what << " (process " << holder->pid
             << "); the coordinator writes a checkpoint" << std::endl;
    if (!is_stopping && kill(holder->pid, SIGTERM) != 0 && errno != ESRCH) {
      return ErrnoStatus("stop", StrCat("process ", holder->pid), errno);
    }
    if (!WaitUntilGone(holder->pid, start_ticks, limit)) {
      return absl::DeadlineExceededError(StrCat("process ", holder->pid, " has not ended within ",
                                                HumanSeconds(static_cast<double>(limit.count())),
                                                "; see ", JoinPath(run_dir, "logs"),
                                                ", or end it with `kill -9 ", holder->pid, "`"));
    }
  }
  const Result<ClusterState> state = ReadClusterState(run_dir);
  messages << "cluster: " << (state.ok() ? state->state : "ended") << std::endl;
  return OkStatus();
}

}  // namespace cairn::launch
