// One process: train, inspect, stop, resume.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <string>

#include "tests/integration/program.h"

namespace cairn {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class TrainTest : public testing::Test {
 protected:
  std::unique_ptr<Program> Train() {
    return place_.StartCairn({"train", "--config=job.textproto", "--run_dir=run"});
  }
  int Inspect(const std::string& verb) {
    const auto inspect = place_.StartCairn({"inspect", "run", verb});
    const int code = inspect->Wait();
    EXPECT_EQ(code, 0) << inspect->Out() << inspect->Err();
    out_ = inspect->Out();
    return code;
  }
  Workplace place_;
  std::string out_;
};

TEST_F(TrainTest, LearnsAndLeavesASoundCheckpoint) {
  place_.WriteJob({});
  const auto train = Train();
  ASSERT_EQ(train->Wait(), 0) << train->Err();
  EXPECT_THAT(train->Out(), StartsWith("RESULT "));
  EXPECT_GT(ResultValue(train->Out(), "auc"), 0.85);
  EXPECT_LT(ResultValue(train->Out(), "logloss"), 0.5);
  Inspect("verify");
  Inspect("summary");
  EXPECT_THAT(out_, HasSubstr("training is finished"));
  Inspect("tables");
  const auto rows =
      place_.StartCairn({"inspect", "run", "rows", "--table=a", "--value=v7", "--format=csv"});
  EXPECT_EQ(rows->Wait(), 0) << rows->Err();
  EXPECT_THAT(rows->Out(), StartsWith("key,slot,ps,version,count,last_step,norm,v0\n"));

  const auto again = Train();
  EXPECT_EQ(again->Wait(), 0) << again->Err();
  EXPECT_EQ(ResultValue(again->Out(), "auc"), ResultValue(train->Out(), "auc"));
  EXPECT_THAT(again->Err(), HasSubstr("nothing is trained now"));
}

TEST_F(TrainTest, StopsInOrderAndGoesOn) {
  place_.WriteJob({.epochs = 40});
  const auto train = Train();
  ASSERT_TRUE(Eventually([&] { return place_.HasCheckpoint() || train->IsOver(); }));
  train->Signal(SIGTERM);
  EXPECT_EQ(train->Wait(), 143) << train->Err();
  Inspect("verify");
  const auto again = place_.StartCairn({"train", "--config=job.textproto", "--run_dir=run"});
  ASSERT_TRUE(Eventually(
      [&] { return again->Err().find("going on from") != std::string::npos || again->IsOver(); }));
  EXPECT_THAT(again->Err(), HasSubstr("going on from"));
}

TEST_F(TrainTest, SurvivesKillNine) {
  place_.WriteJob({.epochs = 4});
  const auto train = Train();
  ASSERT_TRUE(Eventually([&] { return place_.HasCheckpoint() || train->IsOver(); }));
  train->Signal(SIGKILL);
  EXPECT_EQ(train->Wait(), -SIGKILL) << "the job was over too soon";
  Inspect("verify");
  const auto again = Train();
  ASSERT_EQ(again->Wait(), 0) << again->Err();
  EXPECT_THAT(again->Err(), HasSubstr("going on from"));
  EXPECT_GT(ResultValue(again->Out(), "auc"), 0.85);
  Inspect("verify");
}

}  // namespace
}  // namespace cairn
