// What is counted before a job starts, and where it goes: run directory, checkpoints, scoring.
#include "launch/local/prepare_job.h"

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "common/config/config.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "launch/coordinator/checkpoints.h"
#include "launch/coordinator/coordinator_core.h"
#include "launch/local/local_job.h"
#include "launch/local/scorer.h"
#include "proto/config.pb.h"
#include "proto/control.pb.h"
#include "tests/launch/coordinator/fake_cluster.h"
#include "worker/data/dataset.h"

namespace cairn::launch {
namespace {

using testing::FakeCluster;
using testing::FakeData;
using testing::FlipByte;
using ::testing::HasSubstr;
using testing::ReadText;
using testing::RunningJob;
using testing::ScratchFolder;
using ::testing::SizeIs;
using testing::WriteText;

class Listener : public JobObserver {
 public:
  void OnCounted(std::string_view text) override { counted.emplace_back(text); }
  void OnStart(std::string_view) override {}
  void OnProgress(const JobProgress&) override {}
  void OnEpoch(const EpochSummary&) override {}
  void OnCheckpoint(const std::string&) override {}
  std::vector<std::string> counted;
};

class PrepareJobTest : public ::testing::Test {
 protected:
  PrepareJobTest() {
    // v0 to v9 by turns, and once in 50 rows a value of its own; clicks follow the value.
    for (const char* name : {"train.csv", "valid.csv"}) {
      std::string text = "label,user,a\n";
      for (int i = 0; i < 500; ++i) {
        StrAppend(text, i % 10 < 5 ? "1" : "0", ",u", i / 10, ",");
        StrAppend(text, i % 50 == 7 ? StrCat("once", i, name) : StrCat("v", i % 10), "\n");
      }
      WriteText(Path(name), text);
    }
  }
  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }
  std::string RunDir() const { return Path("run"); }

  proto::JobConfig Job(const std::string& feature, const std::string& model) const {
    const auto job = LoadJobText(
        StrCat("data { train: '", Path("train.csv"), "' valid: '", Path("valid.csv"),
               "' group: 'user' } table_defaults { dim: 1 } train { epochs: 2 batch_size: 50 ",
               "threads: 1 monitor: GAUC } feature { name: 'a' ", feature, " } model { ", model,
               " }"),
        "job", {});
    EXPECT_TRUE(job.ok()) << job.status();
    return job.ok() ? *job : proto::JobConfig();
  }

  ScratchFolder folder_;
  Listener listener_;
  std::string vocabulary_;
};

TEST_F(PrepareJobTest, CountsOnlyWhatTheJobNeeds) {
  proto::JobConfig job = Job("", "lr {}");
  ASSERT_TRUE(PrepareJob(RunDir(), &listener_, &job, &vocabulary_).ok());
  EXPECT_THAT(listener_.counted, SizeIs(0));
  EXPECT_TRUE(vocabulary_.empty());
  EXPECT_FALSE(job.feature(0).has_density());
  job = Job("", "mgdin { granularity: 1 }");
  ASSERT_TRUE(PrepareJob(RunDir(), &listener_, &job, &vocabulary_).ok());
  ASSERT_THAT(listener_.counted, SizeIs(1));
  EXPECT_THAT(listener_.counted[0], HasSubstr("counted the values of 500 training rows in "));
  EXPECT_TRUE(vocabulary_.empty());
  // 9 values of 50 rows, v7 of 40 and ten of one row.
  const double entropy =
      -(0.9 * std::log(0.1) + 0.08 * std::log(0.08) + 10 * 0.002 * std::log(0.002));
  EXPECT_NEAR(job.feature(0).density(), std::log(500.0) - entropy, 1e-12);
}

TEST_F(PrepareJobTest, AResumedJobTakesTheDensitiesOfItsCheckpoint) {
  proto::JobConfig job = Job("", "mgdin { granularity: 1 }");
  const proto::JobConfig written = job;
  ASSERT_TRUE(PrepareJob(RunDir(), &listener_, &job, &vocabulary_).ok());
  FakeData data;
  data.has_groups = true;
  FakeCluster cluster(data, 1);
  job.mutable_data()->set_window_rows(32);
  {
    RunningJob running(&cluster, job, cluster.Options(RunDir()));
    ASSERT_TRUE(running.WorkToEnd(1).ok()) << running.Wait();
  }
  EXPECT_THAT(ReadText(RunDir() + "/job.textproto"), HasSubstr("density: "));
  // Other training data is not counted: the model was trained by what is in the checkpoint.
  WriteText(Path("train.csv"), "label,user,a\n1,u,x\n");
  proto::JobConfig again = written;
  again.mutable_data()->set_window_rows(32);
  ASSERT_TRUE(PrepareJob(RunDir(), &listener_, &again, &vocabulary_).ok());
  EXPECT_THAT(listener_.counted, SizeIs(1));
  EXPECT_EQ(again.feature(0).density(), job.feature(0).density());
  RunningJob running(&cluster, again, cluster.Options(RunDir()));
  ASSERT_TRUE(running.Wait().ok()) << running.Wait();
  EXPECT_TRUE(running.result().was_finished);
}

TEST_F(PrepareJobTest, AVocabularyIsKeptWithEveryCheckpoint) {
  const proto::JobConfig job = Job("min_count: 2", "lr {}");
  JobResult result;
  {
    auto local = LocalJob::Make(job, RunDir(), &listener_);
    ASSERT_TRUE(local.ok()) << local.status();
    ASSERT_TRUE((*local)->Run(&result).ok());
  }
  EXPECT_THAT(listener_.counted, SizeIs(1));
  ASSERT_TRUE(result.valid.has_value());
  EXPECT_TRUE(result.valid->gauc.has_value());
  EXPECT_TRUE(result.valid->pairwise.has_value());
  const std::string file = ReadText(RunDir() + "/vocabulary");
  EXPECT_FALSE(file.empty());
  const auto checkpoints = ListCheckpoints(RunDir());
  ASSERT_TRUE(checkpoints.ok());
  ASSERT_GE(checkpoints->size(), 2u);
  for (const std::string& checkpoint : *checkpoints)
    EXPECT_EQ(ReadText(checkpoint + "/vocabulary"), file);
  EXPECT_THAT(*VerifyCheckpoint(RunDir()), SizeIs(0));
  // v0 to v9, and the row of the rare ones.
  proto::CheckpointManifest manifest;
  ASSERT_TRUE(ReadManifest(checkpoints->back(), &manifest).ok());
  EXPECT_EQ(manifest.table(0).rows(), 11u);

  proto::JobConfig again = job;
  ASSERT_TRUE(PrepareJob(RunDir(), &listener_, &again, &vocabulary_).ok());
  EXPECT_EQ(vocabulary_, file);
  EXPECT_THAT(listener_.counted, SizeIs(1)) << "nothing is counted where there is a checkpoint";

  FlipByte(checkpoints->back() + "/vocabulary", file.size() - 3);
  const auto problems = VerifyCheckpoint(checkpoints->back());
  ASSERT_THAT(*problems, SizeIs(1));
  EXPECT_EQ((*problems)[0].file, "vocabulary");
  EXPECT_TRUE(absl::IsDataLoss(Scorer::Open(RunDir(), {}).status()));
  FlipByte(checkpoints->back() + "/vocabulary", 3);  // no longer one at all
  EXPECT_THAT(LocalJob::Make(job, RunDir(), &listener_).status().ToString(),
              HasSubstr("/vocabulary: content is altered"));
  std::filesystem::remove(checkpoints->back() + "/vocabulary");
  EXPECT_THAT((*VerifyCheckpoint(checkpoints->back()))[0].what, HasSubstr("missing"));
}

TEST_F(PrepareJobTest, ScoringNeedsNoTrainingDataAndKnowsRareValues) {
  const proto::JobConfig job = Job("min_count: 2", "lr {}");
  JobResult result;
  {
    auto local = LocalJob::Make(job, RunDir(), &listener_);
    ASSERT_TRUE(local.ok()) << local.status();
    ASSERT_TRUE((*local)->Run(&result).ok());
  }
  std::filesystem::remove(Path("train.csv"));
  WriteText(Path("test.csv"), "label,user,a\n1,u,never_seen\n0,u,once7train.csv\n1,u,v1\n0,u,v6\n");
  const std::vector<std::string> overrides = {StrCat("data.test=[\"", Path("test.csv"), "\"]")};
  auto scorer = Scorer::Open(RunDir(), overrides);
  ASSERT_TRUE(scorer.ok()) << scorer.status();
  std::vector<float> logits;
  const auto counts = (*scorer)->Score(
      proto::TEST, {}, [&](const worker::Batch& batch, std::span<const float> scores) {
        EXPECT_EQ(batch.groups.size(), 4u);
        logits.assign(scores.begin(), scores.end());
        return OkStatus();
      });
  ASSERT_TRUE(counts.ok()) << counts.status();
  ASSERT_THAT(logits, SizeIs(4));
  EXPECT_EQ(logits[0], logits[1]) << "both are rare";
  EXPECT_NE(logits[0], logits[2]);
  EXPECT_GT(logits[2], logits[3]);
  EXPECT_NEAR(logits[2], -logits[3], 0.5);
}

TEST_F(PrepareJobTest, MistakesInTheDataAreToldBeforeAnythingIsCounted) {
  WriteText(Path("valid.csv"), "label,user,b\n1,u,x\n");
  proto::JobConfig job = Job("min_count: 2", "lr {}");
  EXPECT_THAT(std::string(PrepareJob(RunDir(), &listener_, &job, &vocabulary_).message()),
              HasSubstr("has no column \"a\""));
  EXPECT_THAT(listener_.counted, SizeIs(0));
}

}  // namespace
}  // namespace cairn::launch
