#include "common/config/overrides.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/config/textproto_reader.h"
#include "proto/config.pb.h"

namespace cairn {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

constexpr char kJob[] = R"(
data { train: ["a", "b"] label: "click" }
feature { name: "C{1..3}" }
feature { name: "age" type: NUMERIC }
feature { name: "odd.name" }
table { name: "age" dim: 4 }
model { lr {} }
)";

struct Outcome {
  proto::JobConfig job;
  OriginTree origins;
  std::string problems;
};

Outcome Apply(const std::vector<std::string>& overrides) {
  Outcome outcome;
  ProblemList problems("job", overrides);
  ReadTextproto(kJob, -1, &outcome.job, &outcome.origins, &problems);
  ApplyOverrides(overrides, &outcome.job, &outcome.origins, &problems);
  outcome.problems = std::string(problems.ToStatus().message());
  return outcome;
}

proto::JobConfig MustApply(const std::vector<std::string>& overrides) {
  Outcome outcome = Apply(overrides);
  EXPECT_EQ(outcome.problems, "");
  return outcome.job;
}

TEST(Overrides, SetScalarsOfEachType) {
  const proto::JobConfig job =
      MustApply({"seed=0x10", "train.epochs=3", "train.clip_norm=1e-3", "data.shuffle=false",
                 "data.bad_row=SKIP", "name=run one"});
  EXPECT_EQ(job.seed(), 16u);
  EXPECT_EQ(job.train().epochs(), 3u);
  EXPECT_EQ(job.train().clip_norm(), 1e-3);
  EXPECT_FALSE(job.data().shuffle());
  EXPECT_EQ(job.data().bad_row(), proto::DataConfig::SKIP);
  EXPECT_EQ(job.name(), "run one");
}

TEST(Overrides, TextNeedsNoQuotes) {
  EXPECT_EQ(MustApply({"name=\"quoted\""}).name(), "quoted");
  EXPECT_EQ(MustApply({"name='single'"}).name(), "single");
  EXPECT_EQ(MustApply({"name="}).name(), "");
  EXPECT_EQ(MustApply({"name=a=b.c[0]{x} # y"}).name(), "a=b.c[0]{x} # y");
  EXPECT_EQ(MustApply({"name=it's"}).name(), "it's");
  EXPECT_EQ(MustApply({"name=a\"b\\c"}).name(), "a\"b\\c");
  EXPECT_EQ(MustApply({"name=\""}).name(), "\"");
  EXPECT_EQ(MustApply({"data.train=${CAIRN_DATA}/x"}).data().train(0), "${CAIRN_DATA}/x");
}

TEST(Overrides, LaterOnesWin) {
  EXPECT_EQ(MustApply({"train.epochs=3", "train.epochs=4"}).train().epochs(), 4u);
  const proto::JobConfig job = MustApply({"train.epochs=3", "train={batch_size: 7}"});
  EXPECT_FALSE(job.train().has_epochs()) << "a block is replaced";
  EXPECT_EQ(job.train().batch_size(), 7u);
}

TEST(Overrides, Lists) {
  EXPECT_THAT(MustApply({"data.train=x"}).data().train(), ElementsAre("x"));
  EXPECT_THAT(MustApply({"data.train=[\"x\", 'y']"}).data().train(), ElementsAre("x", "y"));
  EXPECT_THAT(MustApply({"data.train=[]"}).data().train(), ElementsAre());
  EXPECT_THAT(MustApply({"data.train[1]=x"}).data().train(), ElementsAre("a", "x"));
  EXPECT_THAT(MustApply({"data.train[2]=x", "data.train[3]=y"}).data().train(),
              ElementsAre("a", "b", "x", "y"));
  EXPECT_THAT(MustApply({"data.valid[0]=x"}).data().valid(), ElementsAre("x"));
}

TEST(Overrides, ElementsByIndexAndByName) {
  EXPECT_EQ(MustApply({"feature[1].column=x"}).feature(1).column(), "x");
  EXPECT_EQ(MustApply({"feature.age.column=x"}).feature(1).column(), "x");
  EXPECT_EQ(MustApply({"feature[\"age\"].column=x"}).feature(1).column(), "x");
  EXPECT_EQ(MustApply({"feature['odd.name'].column=x"}).feature(2).column(), "x");
  EXPECT_EQ(MustApply({"feature.age.numeric.mean=2"}).feature(1).numeric().mean(), 2);
  EXPECT_EQ(MustApply({"feature[0].missing=NA"}).feature(0).missing(0), "NA");
}

TEST(Overrides, ElementsAreReplacedAndAdded) {
  const proto::JobConfig job = MustApply({"feature.age={type: SEQUENCE}"});
  EXPECT_EQ(job.feature(1).name(), "age") << "chosen by name, it keeps it";
  EXPECT_EQ(job.feature(1).type(), proto::FeatureConfig::SEQUENCE);
  EXPECT_EQ(MustApply({"feature.age={name: \"b\"}"}).feature(1).name(), "b");
  const proto::JobConfig more = MustApply({"feature[3]={name: \"new\"}"});
  ASSERT_EQ(more.feature_size(), 4);
  EXPECT_EQ(more.feature(3).name(), "new");
  const proto::JobConfig one = MustApply({"feature={name: \"only\"}"});
  ASSERT_EQ(one.feature_size(), 1);
  const proto::JobConfig two = MustApply({"feature=[{name: \"a\"}, {name: \"b\"}]"});
  ASSERT_EQ(two.feature_size(), 2);
}

TEST(Overrides, TablesNeedNotBeListed) {
  const proto::JobConfig job = MustApply({"table.C2.dim=8", "table.C2.l2=1", "table.C3={dim: 2}"});
  ASSERT_EQ(job.table_size(), 3);
  EXPECT_EQ(job.table(1).name(), "C2");
  EXPECT_EQ(job.table(1).dim(), 8u);
  EXPECT_EQ(job.table(1).l2(), 1);
  EXPECT_EQ(job.table(2).name(), "C3");
  EXPECT_EQ(job.table(2).dim(), 2u);
}

TEST(Overrides, Oneofs) {
  EXPECT_EQ(MustApply({"model.dlf={}"}).model().kind_case(), proto::ModelConfig::kDlf);
  EXPECT_EQ(MustApply({"model={dlf{layers: 2}}"}).model().dlf().layers(), 2u);
  EXPECT_EQ(MustApply({"model.dlf={}", "model.dlf.layers=2"}).model().dlf().layers(), 2u);
  EXPECT_EQ(
      MustApply({"dense.optimizer.sgd.learning_rate=1"}).dense().optimizer().sgd().learning_rate(),
      1);
  EXPECT_EQ(Apply({"model.dlf.layers=2"}).problems,
            "--set model.dlf.layers=2: the job has \"lr\" there, not \"dlf\"; to change it, add "
            "--set model.dlf={} before this one");
}

TEST(Overrides, AreWhereProblemsOfTheirValuesComeFrom) {
  const Outcome outcome = Apply({"seed=1", "train.epochs=0"});
  const OriginTree& train = outcome.origins.At(proto::JobConfig::kTrainFieldNumber);
  EXPECT_EQ(train.At(proto::TrainConfig::kEpochsFieldNumber).origin.override_index, 1);
}

TEST(Overrides, ProblemsNameTheOverride) {
  struct Case {
    const char* text;
    const char* problem;
  };
  for (const Case& c : std::vector<Case>{
           {"train.epochz=3", "no field \"epochz\" in TrainConfig; did you mean \"epochs\"?"},
           {"trane.epochs=3", "no field \"trane\" in JobConfig; did you mean \"train\"?"},
           {"epochs=3", "no field \"epochs\" in JobConfig; there is train.epochs"},
           {"train.epochs=three", "train.epochs must be a whole number, at least 1, got \"three\""},
           {"train.epochs=-1", "train.epochs must be a whole number, at least 1, got -1"},
           {"train.epochs=", "train.epochs must be a whole number, at least 1, got the end"},
           {"train.epochs=1 2", "cannot make sense of 2 after the value"},
           {"train.epochs=[1]", "train.epochs takes one value, not a list"},
           {"train.epochs={}", "train.epochs must be a whole number, at least 1, not a block"},
           {"train.monitor=ACU",
            "train.monitor must be one of AUC, LOGLOSS, AUC_MINUS_LOGLOSS, GAUC, GAUC_PLUS_AUC, "
            "got \"ACU\"; did you "
            "mean \"AUC\"?"},
           {"train=3", "train must be a block { ... }, got 3"},
           {"train={epochs: 1", "no \"}\" closes this block"},
           {"train={epoch: 1}", "no field \"epoch\" in TrainConfig; did you mean \"epochs\"?"},
           {"train.epochs", "expected PATH=VALUE, such as train.epochs=3"},
           {"", "expected PATH=VALUE, such as train.epochs=3"},
           {"=3", "expected PATH=VALUE, such as train.epochs=3"},
           {"train.=3", "expected PATH=VALUE, such as train.epochs=3"},
           {"train..epochs=3", "expected PATH=VALUE, such as train.epochs=3"},
           {".train=3", "expected PATH=VALUE, such as train.epochs=3"},
           {"train.epochs.x=3", "train.epochs is a whole number, at least 1, not a block"},
           {"train[0].epochs=3", "train is not a list"},
           {"data.train[3]=x", "data.train has 2 elements, counted from 0: there is no [3]"},
           {"data.train[-1]=x",
            "\"-1\" is no index of data.train; write data.train[0] or, by name, "
            "data.train[\"name\"]"},
           {"data.train[0=x", "no \"]\" closes the \"[\""},
           {"data.train[0]x=x", "expected PATH=VALUE, such as train.epochs=3"},
           {"feature[9].type=NUMERIC", "feature has 3 elements, counted from 0: there is no [9]"},
           {"feature[3].type=NUMERIC", "feature has 3 elements, counted from 0: there is no [3]"},
           {"feature.agee.type=NUMERIC", "no feature is named \"agee\"; did you mean \"age\"?"},
           {"feature.unknown.type=NUMERIC",
            "no feature is named \"unknown\"; overrides apply before \"C{1..3}\" is expanded"},
           {"feature[\"age.type=NUMERIC", "no \"]\" closes the quoted name"},
           {"data.join.x.file=y", "elements of \"join\" have no names; write join[0]"},
       }) {
    EXPECT_EQ(Apply({c.text}).problems, StrCat("--set ", c.text, ": ", c.problem));
  }
}

TEST(Overrides, AnyBytesAreAProblemNotACrash) {
  for (int a = 0; a < 256; ++a) {
    for (const char* tail : {"", "=1", ".x=1", "[", "[0", "[\"", "[]=1", "=\"", "={", "=["}) {
      const std::string text = std::string(1, static_cast<char>(a)) + tail;
      if (a == '=') continue;
      EXPECT_THAT(Apply({text}).problems, StartsWith("--set ")) << a << tail;
      EXPECT_THAT(Apply({"data.train" + text}).problems.substr(0, 6), testing::AnyOf("--set ", ""));
    }
  }
}

}  // namespace
}  // namespace cairn
