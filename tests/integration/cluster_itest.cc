// A local cluster of real processes: results, stops, kills, and who is named when one fails.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "common/io/file.h"
#include "launch/supervise/process.h"
#include "tests/integration/program.h"

namespace cairn {
namespace {

using launch::ProcessStartTicks;
using testing::AnyOf;
using testing::HasSubstr;
using testing::StartsWith;

class ClusterTest : public testing::Test {
 protected:
  void ExpectSound() {
    const auto verify = place_.StartCairn({"inspect", "run", "verify"});
    EXPECT_EQ(verify->Wait(), 0) << verify->Out() << verify->Err();
  }
  // Until the job has a checkpoint, that is: is in the middle of an epoch.
  bool WaitForCheckpoint(Program& cluster) {
    return Eventually([&] { return place_.HasCheckpoint() || cluster.IsOver(); }) &&
           !cluster.IsOver();
  }
  bool AllGone() const {
    for (const pid_t pid : place_.ClusterPids()) {
      if (ProcessStartTicks(pid) != 0) return false;
    }
    return true;
  }
  // The same command again, to the end of the job.
  void ExpectFinishes(int ps, int workers) {
    const auto again = place_.StartCluster(ps, workers);
    ASSERT_EQ(again->Wait(), 0) << again->Err();
    EXPECT_THAT(again->Err(), HasSubstr("going on from"));
    EXPECT_THAT(again->Out(), StartsWith("RESULT "));
    EXPECT_GT(ResultValue(again->Out(), "auc"), 0.85);
    ExpectSound();
    EXPECT_TRUE(AllGone());
  }
  std::string StateWords() {
    const auto status = place_.Start({CAIRN_SOURCE "/launch/cluster", "status", "--run_dir=run"});
    EXPECT_EQ(status->Wait(), 0) << status->Err();
    return status->Out();
  }

  Workplace place_;
};

TEST_F(ClusterTest, LearnsAsASingleProcessDoes) {
  place_.WriteJob({});
  const auto cluster = place_.StartCluster(2, 2);
  ASSERT_EQ(cluster->Wait(), 0) << cluster->Err();
  EXPECT_THAT(cluster->Out(), StartsWith("RESULT "));
  ExpectSound();
  EXPECT_TRUE(AllGone());
  EXPECT_THAT(StateWords(), HasSubstr("done with exit code 0"));
  const auto train = place_.StartCairn({"train", "--config=job.textproto", "--run_dir=single"});
  ASSERT_EQ(train->Wait(), 0) << train->Err();
  EXPECT_NEAR(ResultValue(cluster->Out(), "auc"), ResultValue(train->Out(), "auc"), 0.005);
}

// Workers get the values that have rows of their own from the coordinator; scores carry groups.
TEST_F(ClusterTest, SharesTheVocabularyAndScoresGroups) {
  place_.WriteJob({});
  const std::vector<std::string> settings = {
      "--set", "feature.a.min_count=3", "--set", "feature.d.min_count=1000000",
      "--set", "data.group=b",          "--set", "train.monitor=GAUC"};
  const auto cluster = place_.StartCluster(2, 2, settings);
  ASSERT_EQ(cluster->Wait(), 0) << cluster->Err();
  EXPECT_THAT(cluster->Err(), HasSubstr("counted the values of 20000 training rows in "));
  EXPECT_GT(ResultValue(cluster->Out(), "gauc"), 0.7);
  EXPECT_GT(ResultValue(cluster->Out(), "pairwise"), 0.7);
  ExpectSound();
  const auto tables = place_.StartCairn({"inspect", "run", "tables", "--format=csv"});
  ASSERT_EQ(tables->Wait(), 0) << tables->Err();
  EXPECT_THAT(tables->Out(), HasSubstr(",d,1,adam,2,float32,28,1,")) << "all values of d are rare";
  std::vector<std::string> train = {"train", "--config=job.textproto", "--run_dir=single"};
  train.insert(train.end(), settings.begin(), settings.end());
  const auto single = place_.StartCairn(train);
  ASSERT_EQ(single->Wait(), 0) << single->Err();
  EXPECT_NEAR(ResultValue(cluster->Out(), "gauc"), ResultValue(single->Out(), "gauc"), 0.01);
  const auto eval = place_.StartCairn({"eval", "--checkpoint=single"});
  ASSERT_EQ(eval->Wait(), 0) << eval->Err();
  EXPECT_EQ(ResultValue(eval->Out(), "gauc"), ResultValue(single->Out(), "gauc"));
  EXPECT_EQ(ResultValue(eval->Out(), "pairwise"), ResultValue(single->Out(), "pairwise"));
}

TEST_F(ClusterTest, StopsInOrderAndTheSameCommandFinishes) {
  place_.WriteJob({});
  const auto cluster = place_.StartCluster(2, 2);
  ASSERT_TRUE(WaitForCheckpoint(*cluster)) << cluster->Err();
  cluster->Signal(SIGTERM);
  EXPECT_EQ(cluster->Wait(), 143) << cluster->Err();
  EXPECT_TRUE(AllGone());
  ExpectSound();
  ExpectFinishes(2, 2);
}

TEST_F(ClusterTest, SurvivesKillNineOfEveryProcess) {
  place_.WriteJob({});
  const auto cluster = place_.StartCluster(2, 2);
  ASSERT_TRUE(WaitForCheckpoint(*cluster)) << cluster->Err();
  for (const pid_t pid : place_.ClusterPids()) kill(pid, SIGKILL);
  EXPECT_EQ(cluster->Wait(), -SIGKILL);
  ASSERT_TRUE(Eventually([&] { return AllGone(); }));
  ExpectSound();
  ExpectFinishes(2, 2);
}

TEST_F(ClusterTest, SupervisorsDeathEndsAllAndOtherSizesGoOn) {
  place_.WriteJob({});
  const auto cluster = place_.StartCluster(2, 1);
  ASSERT_TRUE(WaitForCheckpoint(*cluster)) << cluster->Err();
  cluster->Signal(SIGKILL);
  cluster->Wait();
  ASSERT_TRUE(Eventually([&] { return AllGone(); }));
  ExpectFinishes(1, 2);
}

TEST_F(ClusterTest, SingleProcessFinishesWhatAClusterBegan) {
  place_.WriteJob({});
  const auto cluster = place_.StartCluster(2, 2);
  ASSERT_TRUE(WaitForCheckpoint(*cluster)) << cluster->Err();
  cluster->Signal(SIGINT);
  EXPECT_EQ(cluster->Wait(), 130) << cluster->Err();
  const auto train = place_.StartCairn({"train", "--config=job.textproto", "--run_dir=run"});
  ASSERT_EQ(train->Wait(), 0) << train->Err();
  EXPECT_THAT(train->Err(), HasSubstr("going on from"));
  EXPECT_GT(ResultValue(train->Out(), "auc"), 0.85);
}

class KilledProcess : public ClusterTest, public testing::WithParamInterface<int> {};

TEST_P(KilledProcess, IsNamedAndTheSameCommandFinishes) {
  const std::vector<std::string> names = {"coordinator", "ps 0", "ps 1", "worker 0", "worker 1"};
  const auto victim = static_cast<std::size_t>(GetParam());
  place_.WriteJob({});
  const auto cluster = place_.StartCluster(2, 2, {"--max_restarts=0"});
  ASSERT_TRUE(WaitForCheckpoint(*cluster)) << cluster->Err();
  const std::vector<pid_t> pids = place_.ClusterPids();
  ASSERT_EQ(pids.size(), 6u);
  ASSERT_EQ(kill(pids[1 + victim], SIGKILL), 0);
  EXPECT_EQ(cluster->Wait(), 138) << cluster->Err();
  EXPECT_THAT(cluster->Err(), HasSubstr(names[victim] + " (pid " +
                                        std::to_string(pids[1 + victim]) + ") killed by SIGKILL"));
  EXPECT_THAT(StateWords(), HasSubstr("failure     " + names[victim] + " "));
  EXPECT_TRUE(AllGone());
  ExpectFinishes(2, 2);
}
INSTANTIATE_TEST_SUITE_P(All, KilledProcess, testing::Range(0, 5));

class ReturningTest : public ClusterTest {
 protected:
  static int Count(const std::string& text, const std::string& part) {
    int count = 0;
    for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
    return count;
  }
  // Kills it, waits until it runs again and training has gone on for two checkpoints.
  void KillAndGoOn(Program& cluster, const std::string& role, int index) {
    const int returns = Count(cluster.Err(), " runs again");
    const pid_t pid = place_.PidOf(role, index);
    ASSERT_GT(pid, 0);
    ASSERT_EQ(kill(pid, SIGKILL), 0);
    ASSERT_TRUE(Eventually([&] { return Count(cluster.Err(), " runs again") > returns; }))
        << cluster.Err();
    const int checkpoints = Count(cluster.Err(), "checkpoint run/");
    ASSERT_TRUE(Eventually([&] {
      return Count(cluster.Err(), "checkpoint run/") >= checkpoints + 2 || cluster.IsOver();
    })) << cluster.Err();
  }
  // Pushes that the servers applied to the rows of the ledger, by table; steps of the job.
  std::vector<int> Ledger() {
    std::vector<int> counts;
    for (const char* const table : {"x1", "x2", "x3", "x4"}) {
      const auto rows = place_.StartCairn(
          {"inspect", "run", "rows", std::string("--table=") + table, "--format=csv"});
      EXPECT_EQ(rows->Wait(), 0) << rows->Err();
      std::istringstream lines(rows->Out());
      std::string line;
      std::getline(lines, line);
      EXPECT_THAT(line, StartsWith("key,slot,ps,version,count,"));
      std::getline(lines, line);
      std::istringstream fields(line);
      std::string field;
      for (int i = 0; i < 5; ++i) std::getline(fields, field, ',');
      counts.push_back(std::atoi(field.c_str()));
    }
    return counts;
  }
  // A number of the checkpoint's summary.
  int Summary(const std::string& key) {
    const auto summary = place_.StartCairn({"inspect", "run", "summary", "--format=json"});
    EXPECT_EQ(summary->Wait(), 0) << summary->Err();
    const std::string text = summary->Out();
    const auto at = text.find("\"" + key + "\": ");
    EXPECT_NE(at, std::string::npos) << key << " in " << text;
    return std::atoi(text.c_str() + at + key.size() + 4);
  }
};

// Every push that was acknowledged is there, once, and nobody rolled back.
TEST_F(ReturningTest, ServersThatAreKilledLoseNothing) {
  place_.WriteJob({.epochs = 40, .checkpoint_every_steps = 250, .with_ledger = true});
  const auto cluster = place_.StartCluster(2, 2);
  ASSERT_TRUE(WaitForCheckpoint(*cluster)) << cluster->Err();
  for (const int victim : {0, 1, 0}) {
    ASSERT_FALSE(cluster->IsOver()) << "the job is too short";
    KillAndGoOn(*cluster, "ps", victim);
    if (HasFatalFailure()) return;
  }
  ASSERT_EQ(cluster->Wait(), 0) << cluster->Err();
  EXPECT_EQ(Count(cluster->Err(), "; it is started again"), 2) << "the third one is in a row";
  EXPECT_EQ(Count(place_.File("run/logs/ps-0.log"), "has recovered what it acknowledged"), 2);
  const int steps = Summary("steps");
  EXPECT_EQ(steps, 200 * 40);
  EXPECT_THAT(Ledger(), testing::Each(steps));
  EXPECT_EQ(Summary("reissued_rows"), 0);
  ExpectSound();
  EXPECT_TRUE(AllGone());
}

// What a dead worker had in hand is trained again, and counted.
TEST_F(ReturningTest, WorkersThatAreKilledAreReplaced) {
  place_.WriteJob({.epochs = 40, .checkpoint_every_steps = 250, .with_ledger = true});
  const auto cluster = place_.StartCluster(2, 2);
  ASSERT_TRUE(WaitForCheckpoint(*cluster)) << cluster->Err();
  for (const int victim : {0, 1}) {
    ASSERT_FALSE(cluster->IsOver()) << "the job is too short";
    KillAndGoOn(*cluster, "worker", victim);
    if (HasFatalFailure()) return;
  }
  ASSERT_EQ(cluster->Wait(), 0) << cluster->Err();
  const int steps = Summary("steps");
  EXPECT_EQ(steps, 200 * 40);
  const int reissued = Summary("reissued_rows");
  EXPECT_GT(reissued, 0);
  for (const int count : Ledger()) {
    EXPECT_GE(count, steps);
    EXPECT_LE(count, steps + (reissued + 99) / 100);
  }
  ExpectSound();
}

struct Drift {
  const char* name;
  std::vector<std::string> settings;
  double rows, dense;  // most pushes that values may lack, with three workers
};
// Shows what it is called where a test is listed.
void PrintTo(const Drift& drift, std::ostream* out) { *out << drift.name; }

class DriftTest : public ReturningTest, public testing::WithParamInterface<Drift> {};

// What servers measured, against what the mode promises, also when a worker dies on the way: M - 1
// others may push 2 s + 1 times between a pull and its push, the worker itself s times.
TEST_P(DriftTest, ValuesAreAsFreshAsPromised) {
  place_.WriteJob({.epochs = 12, .checkpoint_every_steps = 250, .with_ledger = true});
  std::vector<std::string> flags;
  for (const std::string& setting : GetParam().settings) {
    flags.push_back("--set");
    flags.push_back(setting);
  }
  const auto cluster = place_.StartCluster(2, 3, flags);
  ASSERT_TRUE(WaitForCheckpoint(*cluster)) << cluster->Err();
  KillAndGoOn(*cluster, "worker", 1);
  ASSERT_EQ(cluster->Wait(), 0) << cluster->Err();
  const std::string metrics = place_.File("run/metrics.jsonl");
  const auto most = [&](const std::string& key) {
    double largest = -1;
    for (auto at = metrics.find(key); at != std::string::npos; at = metrics.find(key, at + 1)) {
      largest = std::max(largest, std::atof(metrics.c_str() + at + key.size()));
    }
    return largest;
  };
  const double rows = most("\"row_staleness_most\":"), dense = most("\"dense_staleness_most\":");
  EXPECT_GE(rows, 0) << metrics;
  EXPECT_LE(rows, GetParam().rows);
  EXPECT_GE(dense, 0) << metrics;
  EXPECT_LE(dense, GetParam().dense);
  EXPECT_EQ(Summary("steps"), 200 * 12);
}
INSTANTIATE_TEST_SUITE_P(
    All, DriftTest,
    testing::Values(Drift{"Sync", {"sparse.consistency=SYNC", "dense.consistency=SYNC"}, 2, 2},
                    Drift{"Bounded",
                          {"sparse.consistency=SSP", "sparse.staleness=1", "dense.consistency=SSP",
                           "dense.staleness=1", "train.prefetch_batches=3"},
                          7,
                          7},
                    Drift{"Hybrid", {"dense.consistency=SYNC"}, 1e9, 2}),
    [](const auto& drift) { return std::string(drift.param.name); });

// Without a log a server has nothing to come back with; nor has the coordinator.
class RollbackTest : public ReturningTest, public testing::WithParamInterface<const char*> {};

TEST_P(RollbackTest, AllGoBackToTheCheckpoint) {
  place_.WriteJob({.epochs = 20, .checkpoint_every_steps = 250, .with_ledger = true});
  const auto cluster = place_.StartCluster(2, 2, {"--set", "server.durability=NONE"});
  ASSERT_TRUE(WaitForCheckpoint(*cluster)) << cluster->Err();
  ASSERT_EQ(kill(place_.PidOf(GetParam(), 0), SIGKILL), 0);
  EXPECT_EQ(cluster->Wait(), 0) << cluster->Err();
  EXPECT_THAT(cluster->Err(), HasSubstr("all of it begins again, from the last checkpoint"));
  EXPECT_EQ(Count(cluster->Err(), "going on from"), 1);
  EXPECT_THAT(cluster->Out(), StartsWith("RESULT "));
  const int steps = Summary("steps");
  EXPECT_EQ(steps, 200 * 20);
  EXPECT_THAT(Ledger(), testing::Each(steps));
  EXPECT_THAT(StateWords(), HasSubstr("done with exit code 0"));
  EXPECT_TRUE(AllGone());
}
INSTANTIATE_TEST_SUITE_P(All, RollbackTest, testing::Values("ps", "coordinator"));

TEST_F(ClusterTest, BadRowIsNamedWithItsPlace) {
  place_.WriteJob({.train_rows = 2'000});
  std::ofstream(place_.Path("train.csv"), std::ios::app) << "2,v1,v2,v3,v4\n";
  const auto cluster = place_.StartCluster(1, 2);
  EXPECT_EQ(cluster->Wait(), 2) << cluster->Err();
  EXPECT_THAT(cluster->Err(), HasSubstr("train.csv:2002"));
  EXPECT_TRUE(AllGone());
}

TEST_F(ClusterTest, MissingFileIsToldBeforeAnythingWaits) {
  place_.WriteJob({});
  const auto cluster = place_.StartCluster(1, 1, {"--set", "data.train=\"no_such.csv\""});
  EXPECT_EQ(cluster->Wait(), 2) << cluster->Err();
  EXPECT_THAT(cluster->Err(), HasSubstr("no_such.csv"));
}

TEST_F(ClusterTest, DirectoryInUseIsRefusedAndTheRunGoesOn) {
  place_.WriteJob({.epochs = 40});
  const auto cluster = place_.StartCluster(1, 1);
  ASSERT_TRUE(WaitForCheckpoint(*cluster)) << cluster->Err();
  const auto second = place_.StartCluster(1, 1);
  EXPECT_EQ(second->Wait(), 2);
  EXPECT_THAT(second->Err(), HasSubstr("in use by process " + std::to_string(cluster->pid())));
  const auto train = place_.StartCairn({"train", "--config=job.textproto", "--run_dir=run"});
  EXPECT_EQ(train->Wait(), 2) << train->Err();
  EXPECT_THAT(train->Err(), HasSubstr("in use"));
  EXPECT_FALSE(cluster->IsOver());
}

TEST_F(ClusterTest, DetachedRunIsLookedAtAndStopped) {
  place_.WriteJob({.epochs = 100});
  const auto cluster = place_.StartCluster(1, 1, {"--detach"});
  ASSERT_EQ(cluster->Wait(), 0) << cluster->Err();
  EXPECT_THAT(cluster->Err(), HasSubstr("launch/cluster stop --run_dir=run"));
  ASSERT_TRUE(Eventually([&] { return place_.HasCheckpoint(); }));
  EXPECT_THAT(StateWords(), HasSubstr("running: "));
  const auto stop = place_.Start({CAIRN_SOURCE "/launch/cluster", "stop", "--run_dir=run"});
  EXPECT_EQ(stop->Wait(), 0) << stop->Err();
  EXPECT_THAT(stop->Err(), HasSubstr("cluster: stopped"));
  EXPECT_TRUE(AllGone());
  const auto again = place_.Start({CAIRN_SOURCE "/launch/cluster", "stop", "--run_dir=run"});
  EXPECT_EQ(again->Wait(), 0);
  EXPECT_THAT(again->Err(), HasSubstr("nothing runs"));
  ExpectSound();
}

TEST_F(ClusterTest, FlippedByteInAnyFileOfACheckpointIsFound) {
  place_.WriteJob({.train_rows = 4'000, .epochs = 1});
  const auto cluster = place_.StartCluster(2, 1);
  ASSERT_EQ(cluster->Wait(), 0) << cluster->Err();
  const std::string checkpoints = place_.Path("run/checkpoints");
  const auto files = ListFolder(checkpoints, ListMode::kAllFiles);
  ASSERT_TRUE(files.ok() && !files->empty());
  for (const std::string& file : *files) {
    const std::string path = checkpoints + "/" + file;
    const std::string content = *ReadFile(path);
    ASSERT_FALSE(content.empty()) << path;
    std::string damaged = content;
    damaged[content.size() / 2] = static_cast<char>(damaged[content.size() / 2] ^ 1);
    // In place: files of two checkpoints may be one, linked.
    std::fstream(path, std::ios::in | std::ios::out | std::ios::binary) << damaged;
    const auto verify = place_.StartCairn({"inspect", "run", "verify"});
    EXPECT_EQ(verify->Wait(), 3) << file;
    EXPECT_THAT(verify->Out(), HasSubstr("run/checkpoints/" + file + ": "));
    std::fstream(path, std::ios::in | std::ios::out | std::ios::binary) << content;
  }
  ExpectSound();
}

TEST_F(ClusterTest, DamagedCheckpointIsNotResumed) {
  place_.WriteJob({.epochs = 40});
  const auto cluster = place_.StartCluster(1, 1);
  ASSERT_TRUE(WaitForCheckpoint(*cluster)) << cluster->Err();
  cluster->Signal(SIGTERM);
  ASSERT_EQ(cluster->Wait(), 143) << cluster->Err();
  const std::string latest = place_.File("run/checkpoints/LATEST");
  const std::string manifest =
      "run/checkpoints/" + latest.substr(0, latest.find(' ')) + "/MANIFEST.textproto";
  std::ofstream(place_.Path(manifest), std::ios::app) << "x";
  const auto again = place_.StartCluster(1, 1);
  EXPECT_EQ(again->Wait(), 3) << again->Err();
  EXPECT_THAT(again->Err(), HasSubstr(manifest));
}

}  // namespace
}  // namespace cairn
