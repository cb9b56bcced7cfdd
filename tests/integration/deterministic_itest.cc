// train.deterministic: real processes end with the same bits, however many servers there are and
// whatever is killed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <ostream>
#include <string>
#include <vector>

#include "launch/supervise/process.h"
#include "tests/integration/program.h"

namespace cairn {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

using Settings = std::vector<std::string>;

struct Model {
  const char* name;
  Settings settings;
};
void PrintTo(const Model& model, std::ostream* out) { *out << model.name; }

class DeterministicTest : public testing::Test {
 protected:
  DeterministicTest() {
    place_.WriteJob({.train_rows = 12'000, .checkpoint_every_steps = 70});
    Set("train.deterministic=true");
  }
  void Set(const std::string& setting) {
    settings_.push_back("--set");
    settings_.push_back(setting);
  }

  std::unique_ptr<Program> StartTrain(const std::string& run_dir, const Settings& more = {}) {
    Settings arguments = {"train", "--config=job.textproto", "--run_dir=" + run_dir};
    arguments.insert(arguments.end(), settings_.begin(), settings_.end());
    arguments.insert(arguments.end(), more.begin(), more.end());
    return place_.StartCairn(arguments);
  }
  std::unique_ptr<Program> StartCluster(int ps, const Settings& more = {}) {
    Settings flags = settings_;
    flags.insert(flags.end(), more.begin(), more.end());
    return place_.StartCluster(ps, 1, flags);
  }
  static void ExpectDone(Program& program) {
    EXPECT_EQ(program.Wait(), 0) << program.Err();
    EXPECT_THAT(program.Out(), StartsWith("RESULT "));
  }
  // A line for each part of the latest checkpoint; a difference shows which part differs.
  std::string Digest(const std::string& run_dir) {
    const auto digest = place_.StartCairn({"inspect", run_dir, "digest", "--format=csv"});
    EXPECT_EQ(digest->Wait(), 0) << digest->Err();
    EXPECT_THAT(digest->Out(), StartsWith("part,name,holds,sha256\nall,,"));
    return digest->Out();
  }
  std::string DigestOfOneProcess() {
    ExpectDone(*StartTrain("single"));
    return Digest("single");
  }
  bool WaitForCheckpoint(Program& cluster) {
    return Eventually([&] { return place_.HasCheckpoint() || cluster.IsOver(); }) &&
           !cluster.IsOver();
  }
  bool AllGone() const {
    for (const pid_t pid : place_.ClusterPids()) {
      if (launch::ProcessStartTicks(pid) != 0) return false;
    }
    return true;
  }

  Workplace place_;
  Settings settings_;
};

class DeterministicModel : public DeterministicTest, public testing::WithParamInterface<Model> {
 protected:
  DeterministicModel() {
    for (const std::string& setting : GetParam().settings) Set(setting);
  }
};

TEST_P(DeterministicModel, OneProcessAndAnyNumberOfServersAgree) {
  const std::string digest = DigestOfOneProcess();
  ExpectDone(*StartTrain("again"));
  EXPECT_EQ(Digest("again"), digest);
  for (const int ps : {1, 2, 3}) {
    const std::string run_dir = StrCat("cluster", ps);
    ExpectDone(*StartCluster(ps, {"--run_dir=" + run_dir}));
    EXPECT_EQ(Digest(run_dir), digest) << ps << " servers";
  }
  ExpectDone(*StartTrain("other", {"--set", "seed=7"}));
  EXPECT_NE(Digest("other"), digest);
}

TEST_P(DeterministicModel, AServerThatIsKilledChangesNoBit) {
  const auto cluster = StartCluster(3);
  for (const int victim : {1, 2}) {
    ASSERT_TRUE(WaitForCheckpoint(*cluster)) << cluster->Err();
    ASSERT_EQ(kill(place_.PidOf("ps", victim), SIGKILL), 0);
    const std::string back = StrCat("cluster: ps ", victim, " runs again");
    ASSERT_TRUE(Eventually(
        [&] { return cluster->Err().find(back) != std::string::npos || cluster->IsOver(); }));
    ASSERT_THAT(cluster->Err(), HasSubstr(back));
  }
  ExpectDone(*cluster);
  EXPECT_THAT(cluster->Err(), Not(HasSubstr("begins again")));
  EXPECT_EQ(Digest("run"), DigestOfOneProcess());
}

TEST_P(DeterministicModel, AKillOfAllAndAnotherNumberOfServersChangeNoBit) {
  const auto cluster = StartCluster(2);
  ASSERT_TRUE(WaitForCheckpoint(*cluster)) << cluster->Err();
  for (const pid_t pid : place_.ClusterPids()) kill(pid, SIGKILL);
  EXPECT_EQ(cluster->Wait(), -SIGKILL);
  ASSERT_TRUE(Eventually([&] { return AllGone(); }));
  const auto again = StartCluster(3);
  ExpectDone(*again);
  EXPECT_THAT(again->Err(), HasSubstr("going on from"));
  EXPECT_EQ(Digest("run"), DigestOfOneProcess());
}

TEST_P(DeterministicModel, AWorkerThatIsKilledTakesAllBackAndChangesNoBit) {
  const auto cluster = StartCluster(2);
  ASSERT_TRUE(WaitForCheckpoint(*cluster)) << cluster->Err();
  ASSERT_EQ(kill(place_.PidOf("worker", 0), SIGKILL), 0);
  ExpectDone(*cluster);
  EXPECT_EQ(Digest("run"), DigestOfOneProcess());
}

// The last one has values and rows by lot: both depend on the numbers of pushes.
INSTANTIATE_TEST_SUITE_P(
    All, DeterministicModel,
    testing::Values(
        Model{"lr_adam", {}},
        Model{"dlf_adagrad",
              {"model={dlf{layers: 2 hidden: 32 head_hidden: 32 implicit_tokens: 4 block_tokens: 4 "
               "rank: 4 dropout: 0.1}}",
               "table_defaults={dim: 8 optimizer{adagrad{}}}",
               "dense={optimizer{momentum{}} consistency: SYNC}", "train.threads=2",
               "data.holdout=0.1"}},
        Model{"fm_ftrl_by_lot",
              {"model={fm{}}",
               "table_defaults={dim: 4 storage: FLOAT16 optimizer{ftrl{}} "
               "admission{probability: 0.3}}",
               "train.prefetch_batches=0"}}),
    [](const testing::TestParamInfo<Model>& model) { return model.param.name; });

TEST_F(DeterministicTest, TheWayOfAStopInOrderChangesNoBit) {
  const auto cluster = StartCluster(2);
  ASSERT_TRUE(WaitForCheckpoint(*cluster)) << cluster->Err();
  cluster->Signal(SIGTERM);
  EXPECT_EQ(cluster->Wait(), 143) << cluster->Err();
  const auto train = StartTrain("run");
  ExpectDone(*train);
  EXPECT_THAT(train->Err(), HasSubstr("going on from"));
  EXPECT_EQ(Digest("run"), DigestOfOneProcess());
}

TEST_F(DeterministicTest, WhatCannotBeDeterministicIsRefused) {
  Settings flags = settings_;
  const auto workers = place_.StartCluster(1, 2, flags);
  EXPECT_EQ(workers->Wait(), 2);
  EXPECT_THAT(workers->Err(), HasSubstr("--workers=2: a job with train.deterministic has one"));
  const auto ahead = StartCluster(1, {"--set", "train.prefetch_batches=1"});
  EXPECT_EQ(ahead->Wait(), 2);
  EXPECT_THAT(ahead->Err(), HasSubstr("train.prefetch_batches must be 0"));
}

}  // namespace
}  // namespace cairn
