#include "tests/integration/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "common/io/file.h"
#include "common/math/hash.h"
#include "launch/supervise/cluster_state.h"

namespace cairn {
namespace {

std::string MakeFolder() {
  char folder[] = "/tmp/cairn_itest_XXXXXX";
  EXPECT_NE(mkdtemp(folder), nullptr);
  return folder;
}

// Uniform in [0, 1), a pure function of its arguments.
double Draw(std::uint64_t row, std::uint64_t stream) {
  return static_cast<double>(Mix64(Mix64(row + 1) + stream * 0x9e3779b97f4a7c15ull) >> 11) *
         0x1p-53;
}

void WriteRows(const std::string& path, std::uint64_t first, int rows) {
  constexpr int kColumns = 4;
  constexpr int kValues = 20;
  std::ofstream file(path);
  file << "label,a,b,c,d\n";
  for (std::uint64_t row = first; row < first + static_cast<std::uint64_t>(rows); ++row) {
    double logit = -1;
    std::string fields;
    for (int c = 0; c < kColumns; ++c) {
      const int value = static_cast<int>(Draw(row, static_cast<std::uint64_t>(c)) * kValues);
      logit += 2.5 * std::sin(1.7 * value + c);
      fields += ",v" + std::to_string(value);
    }
    const bool click = Draw(row, 99) < 1 / (1 + std::exp(-logit));
    file << (click ? '1' : '0') << fields << '\n';
  }
}

}  // namespace

bool Eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

Program::Program(const std::vector<std::string>& argv, const std::string& folder,
                 const std::string& name)
    : out_path_(folder + "/" + name + ".out"), err_path_(folder + "/" + name + ".err") {
  std::vector<char*> words;
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  pid_ = fork();
  if (pid_ != 0) return;
  const int out = open(out_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  const int err = open(err_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  const int null = open("/dev/null", O_RDONLY);
  if (chdir(folder.c_str()) != 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0) {
    _exit(126);
  }
  setenv("CAIRN_BIN", CAIRN_BINARY, 1);
  execv(words[0], words.data());
  _exit(127);
}

Program::~Program() {
  if (!IsOver()) {
    Signal(SIGKILL);
    Wait();
  }
}

void Program::Signal(int signal) const { kill(pid_, signal); }

int Program::Wait() {
  if (!is_over_) {
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    is_over_ = true;
    code_ = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  }
  return code_;
}

bool Program::IsOver() {
  siginfo_t info{};
  return is_over_ ||
         (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
          info.si_pid == pid_);
}

std::string Program::Out() const { return ReadFile(out_path_).value_or(""); }
std::string Program::Err() const { return ReadFile(err_path_).value_or(""); }

Workplace::Workplace() : folder_(MakeFolder()) {}
Workplace::~Workplace() { EXPECT_TRUE(RemoveTree(folder_).ok()); }

void Workplace::WriteJob(const JobOptions& options) {
  WriteRows(Path("train.csv"), 0, options.train_rows);
  WriteRows(Path("test.csv"), 1'000'000'000, 4'000);
  std::string ledger;
  for (int i = 1; options.with_ledger && i <= 4; ++i) {
    StrAppend(ledger, "feature { name: \"x", i, "\" column: \"a\" min_count: 1000000 }\n");
  }
  std::ofstream(Path("job.textproto"))
      << "name: \"clicks\"\n"
         "data { train: \"train.csv\" test: \"test.csv\" }\n"
         "feature { name: \"a\" } feature { name: \"b\" }\n"
         "feature { name: \"c\" } feature { name: \"d\" }\n"
      << ledger
      << "table_defaults { dim: 1 optimizer { adam { learning_rate: 0.02 } } }\n"
         "model { lr {} }\n"
         "train { epochs: "
      << options.epochs << " batch_size: " << options.batch_size
      << " early_stop_patience: 0 plateau_factor: 1 lease_batches: 2 threads: 1\n"
         "        progress_every_s: 0.2 }\n"
         "checkpoint { every_steps: "
      << options.checkpoint_every_steps << " }\n";
}

std::unique_ptr<Program> Workplace::Start(const std::vector<std::string>& argv) {
  return std::make_unique<Program>(argv, folder_, "program" + std::to_string(++started_));
}

std::unique_ptr<Program> Workplace::StartCairn(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), CAIRN_BINARY);
  return Start(arguments);
}

std::unique_ptr<Program> Workplace::StartCluster(int ps, int workers,
                                                 std::vector<std::string> flags) {
  std::vector<std::string> argv = {CAIRN_SOURCE "/launch/cluster",
                                   "up",
                                   "--backend=local",
                                   StrCat("--ps=", ps),
                                   StrCat("--workers=", workers),
                                   "--config=job.textproto",
                                   "--run_dir=run"};
  argv.insert(argv.end(), flags.begin(), flags.end());
  return Start(argv);
}

std::string Workplace::File(const std::string& name) const {
  return ReadFile(Path(name)).value_or("");
}

pid_t Workplace::PidOf(const std::string& role, int index) const {
  const auto state = launch::ReadClusterState(Path("run"));
  if (!state.ok()) return 0;
  for (const launch::ProcessState& process : state->process) {
    if (process.role == role && process.index == index && process.ended.empty()) return process.pid;
  }
  return 0;
}

std::vector<pid_t> Workplace::ClusterPids() const {
  std::vector<pid_t> pids;
  const auto state = launch::ReadClusterState(Path("run"));
  if (!state.ok()) return pids;
  pids.push_back(state->supervisor_pid);
  for (const launch::ProcessState& process : state->process) pids.push_back(process.pid);
  return pids;
}

double ResultValue(const std::string& line, const std::string& name) {
  const std::size_t at = line.find(" " + name + "=");
  EXPECT_NE(at, std::string::npos) << name << " in '" << line << "'";
  return at == std::string::npos ? NAN : std::atof(line.c_str() + at + name.size() + 2);
}

}  // namespace cairn
