#include "tests/launch/supervise/fake_cluster.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <thread>

#include "common/io/file.h"
#include "launch/supervise/process.h"

namespace cairn::launch {

bool Eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

std::string AwaitFile(const std::string& name) {
  return "while [ ! -e \"$RUN/" + name + "\" ]; do sleep 0.02; done; ";
}

FakeCluster::FakeCluster() {
  char folder[] = "/tmp/cairn_cluster_XXXXXX";
  EXPECT_NE(mkdtemp(folder), nullptr);
  run_dir_ = folder;
  EXPECT_TRUE(MakeFolders(Path("logs")).ok());
  coordinator_ = std::string(kListen) + kStay;
  options_.run_dir = run_dir_;
  options_.job = "fake";
  options_.address_file = Path("coordinator.address");
  options_.settle = std::chrono::milliseconds(100);
}

FakeCluster::~FakeCluster() {
  if (supervisor_ != 0) {
    kill(supervisor_, SIGKILL);
    waitpid(supervisor_, nullptr, 0);
  }
  EXPECT_TRUE(Eventually([&] { return AllGone(); })) << File("cluster.json");
  EXPECT_TRUE(RemoveTree(run_dir_).ok());
}

ProcessSpec FakeCluster::Spec(const std::string& role, int index, const std::string& script) const {
  ProcessSpec spec;
  spec.role = role;
  spec.index = index;
  spec.argv = {"/bin/sh", "-c", "RUN='" + run_dir_ + "'; " + script};
  spec.log = Path("logs/" + role + "-" + std::to_string(index) + ".log");
  spec.may_return = may_return_ && role != "coordinator";
  return spec;
}

void FakeCluster::Start() {
  options_.coordinator = Spec("coordinator", 0, coordinator_);
  options_.others = [this](const std::string&) {
    std::vector<ProcessSpec> specs;
    for (std::size_t i = 0; i < ps_.size(); ++i) specs.push_back(Spec("ps", int(i), ps_[i]));
    for (std::size_t i = 0; i < workers_.size(); ++i) {
      specs.push_back(Spec("worker", int(i), workers_[i]));
    }
    return specs;
  };
  options_.started = [this] { Touch("started"); };
  supervisor_ = fork();
  ASSERT_GE(supervisor_, 0);
  if (supervisor_ == 0) {
    std::ofstream results(Path("stdout"));
    std::ofstream messages(Path("stderr"));
    options_.results = &results;
    options_.messages = &messages;
    _exit(SuperviseCluster(options_));
  }
}

void FakeCluster::Signal(int signal) { ASSERT_EQ(kill(supervisor_, signal), 0); }

int FakeCluster::Wait() {
  int status = 0;
  EXPECT_EQ(waitpid(supervisor_, &status, 0), supervisor_);
  supervisor_ = 0;
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

std::string FakeCluster::File(const std::string& name) const {
  return ReadFile(Path(name)).value_or("");
}
bool FakeCluster::Has(const std::string& name) const { return PathExists(Path(name)); }
void FakeCluster::Touch(const std::string& name) const { std::ofstream(Path(name)) << "x"; }

ClusterState FakeCluster::State() const {
  const Result<ClusterState> state = ReadClusterState(run_dir_);
  return state.ok() ? *state : ClusterState();
}

bool FakeCluster::WaitUntilRunning() const {
  return Eventually([&] { return Has("started"); });
}

bool FakeCluster::AllGone() const {
  const ClusterState state = State();
  return std::none_of(state.process.begin(), state.process.end(), [](const ProcessState& process) {
    return IsAlive(process.pid, process.start_ticks);
  });
}

}  // namespace cairn::launch
