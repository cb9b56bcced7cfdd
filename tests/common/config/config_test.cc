#include "common/config/config.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "common/io/file.h"
#include "proto/config.pb.h"

namespace cairn {
namespace {

using google::protobuf::util::MessageDifferencer;
using proto::JobConfig;
using testing::HasSubstr;

// A job without faults, and with room for some.
constexpr char kJob[] = R"(
data { train: "train.csv" label: "click" }
feature { name: "C{1..3}" }
model { dlf {} }
)";

Result<JobConfig> Load(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return LoadJobText(text, "job", overrides);
}

std::string ProblemsOf(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const Result<JobConfig> job = Load(text, overrides);
  if (job.ok()) return "";
  EXPECT_EQ(job.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(job.status().message());
}

// kJob with a line more.
std::string With(std::string_view line) { return StrCat(kJob, line); }

JobConfig MustLoad(const std::string& text, const std::vector<std::string>& overrides = {}) {
  Result<JobConfig> job = Load(text, overrides);
  EXPECT_TRUE(job.ok()) << job.status();
  return job.ok() ? *std::move(job) : JobConfig();
}

TEST(EffectiveJob, FillsInWhatFollows) {
  const JobConfig job = MustLoad(R"(
data { train: "t" join { file: "i" key: "item" } }
feature { name: "age" type: NUMERIC }
feature { name: "bucket" type: NUMERIC column: "age" numeric { bucket_width: 5 } }
feature { name: "item" }
feature { name: "history" type: SEQUENCE table: "item" }
model { dlf {} }
)");
  EXPECT_EQ(job.data().join(0).on(), "item");
  EXPECT_TRUE(job.data().has_csv());
  EXPECT_TRUE(job.has_train());
  EXPECT_TRUE(job.has_checkpoint());
  EXPECT_TRUE(job.dense().optimizer().has_adam());
  ASSERT_EQ(job.feature_size(), 4);
  EXPECT_EQ(job.feature(0).column(), "age");
  EXPECT_FALSE(job.feature(0).has_table());
  EXPECT_TRUE(job.feature(0).has_numeric());
  EXPECT_EQ(job.feature(1).table(), "bucket");
  EXPECT_EQ(job.feature(2).table(), "item");
  EXPECT_TRUE(job.feature(3).has_sequence());
  ASSERT_EQ(job.table_size(), 2);
  EXPECT_EQ(job.table(0).name(), "bucket");
  EXPECT_EQ(job.table(1).name(), "item");
  EXPECT_TRUE(job.table(0).optimizer().has_adam());
  EXPECT_TRUE(job.table(0).initializer().has_normal());
  // Scalars are left to their defaults.
  EXPECT_FALSE(job.train().has_epochs());
  EXPECT_EQ(job.train().epochs(), 10u);
}

TEST(EffectiveJob, RangesExpand) {
  const JobConfig job = MustLoad(R"(
data { train: "t" }
feature { name: "C{1..3}" column: "cat_{08..10}" table: "T{4..6}" }
feature { name: "D{1..2}" table: "shared" }
feature { name: "E" column: "{1..2}" }
model { dlf {} }
)");
  ASSERT_EQ(job.feature_size(), 6);
  EXPECT_EQ(job.feature(2).name(), "C3");
  EXPECT_EQ(job.feature(2).column(), "cat_10");
  EXPECT_EQ(job.feature(2).table(), "T6");
  EXPECT_EQ(job.feature(4).name(), "D2");
  EXPECT_EQ(job.feature(4).column(), "D2");
  EXPECT_EQ(job.feature(4).table(), "shared");
  EXPECT_EQ(job.feature(5).column(), "{1..2}") << "only the name makes a range";
  EXPECT_EQ(job.table_size(), 5);
}

TEST(EffectiveJob, TablesMergeFieldByField) {
  const JobConfig job = MustLoad(R"(
data { train: "t" }
feature { name: "C{1..3}" }
model { dlf {} }
table_defaults { dim: 8 l2: 0.5 optimizer { adam { learning_rate: 0.25 beta1: 0.5 } } }
table { name: "C3" optimizer { sgd {} } initializer { zero {} } }
table { name: "C2" l2: 0 optimizer { adam { beta1: 0.75 } } }
)");
  ASSERT_EQ(job.table_size(), 3);
  EXPECT_EQ(job.table(0).name(), "C1");
  EXPECT_EQ(job.table(0).dim(), 8u);
  EXPECT_EQ(job.table(0).optimizer().adam().beta1(), 0.5);
  EXPECT_EQ(job.table(1).name(), "C2") << "order of the features, not of the overrides";
  EXPECT_EQ(job.table(1).l2(), 0);
  EXPECT_EQ(job.table(1).optimizer().adam().learning_rate(), 0.25);
  EXPECT_EQ(job.table(1).optimizer().adam().beta1(), 0.75);
  EXPECT_TRUE(job.table(2).optimizer().has_sgd());
  EXPECT_TRUE(job.table(2).initializer().has_zero());
  EXPECT_EQ(job.table(2).dim(), 8u);
}

TEST(EffectiveJob, PrintedAndLoadedAgainIsEqual) {
  const JobConfig job = MustLoad(R"(
name: "j" seed: 18446744073709551615
data {
  train: "${CAIRN_DATA}/a*.csv" valid: "b \"quoted\" \t\\" label: "caf\303\251"
  csv { delimiter: "\t" quote: "" header: false column: ["caf\303\251", "C1", "C2", "I1", "h"] }
  bayes_auc: 0.1
}
table_defaults { dim: 8 optimizer { adagrad { learning_rate: 0.1 epsilon: 1e-7 } } l2: 1e-5 }
table { name: "C2" optimizer { adagrad { initial_accumulator: 3 } } }
feature { name: "C{1..2}" missing: ["", "NA"] }
feature { name: "I1" type: NUMERIC numeric { mean: -1.5 stddev: 1e300 } }
feature { name: "h" type: SEQUENCE table: "C1" sequence { separator: "|" max_length: 5 } }
model { dlf { layers: 2 dropout: 0.3 } }
dense { optimizer { sgd {} } l2: 3e-324 }
)");
  const std::string printed = PrintJob(job);
  const JobConfig again = MustLoad(printed);
  EXPECT_TRUE(MessageDifferencer::Equals(job, again)) << printed;
  EXPECT_EQ(PrintJob(again), printed);
}

TEST(EffectiveJob, DelimiterMayBeWrittenAsAShellGivesIt) {
  EXPECT_EQ(MustLoad(kJob, {"data.csv.delimiter=\\t"}).data().csv().delimiter(), "\t");
  EXPECT_EQ(MustLoad(kJob, {"data.csv.delimiter=\"\\t\""}).data().csv().delimiter(), "\t");
}

TEST(EffectiveJob, EnvironmentIsReplacedInFileNamesOnly) {
  ASSERT_EQ(::setenv("CAIRN_TEST_DIR", "/d", 1), 0);
  const JobConfig job = MustLoad(R"(
data { train: "${CAIRN_TEST_DIR}/t" test: ["x", "${CAIRN_TEST_DIR}"]
       join { file: "${CAIRN_TEST_DIR}/j" key: "${CAIRN_TEST_DIR}" } }
feature { name: "C1" } model { dlf {} })");
  EXPECT_EQ(job.data().train(0), "/d/t");
  EXPECT_EQ(job.data().test(1), "/d");
  EXPECT_EQ(job.data().join(0).file(), "/d/j");
  EXPECT_EQ(job.data().join(0).key(), "${CAIRN_TEST_DIR}");
}

TEST(LoadJob, MissingFileIsNotFound) {
  const Status status = LoadJob("/nonexistent/job.textproto", {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/nonexistent/job.textproto"));
}

TEST(LoadJob, ReadsAFile) {
  const std::string path = JoinPath(testing::TempDir(), StrCat("cairn_job_", ::getpid()));
  ASSERT_TRUE(WriteFileAtomically(path, With("train { epochs: 0 }")).ok());
  const Status status = LoadJob(path, {}).status();
  EXPECT_EQ(status.message(),
            StrCat(path, ":5:17: train.epochs must be a whole number, at least 1, got 0"));
  EXPECT_TRUE(LoadJob(path, {{"train.epochs=1"}}).ok());
  EXPECT_TRUE(RemoveTree(path).ok());
}

TEST(JobProblems, EmptyJob) {
  EXPECT_THAT(ProblemsOf(""), HasSubstr("job:1:1: the job is empty"));
  EXPECT_THAT(ProblemsOf("# nothing\n"), HasSubstr("job:1:1: the job is empty"));
}

TEST(JobProblems, EverythingThatIsMissing) {
  EXPECT_EQ(ProblemsOf("name: 'x'"),
            "job:1:1: data is required\njob:1:1: model is required\n"
            "job:1:1: a job needs at least one feature");
  EXPECT_EQ(
      ProblemsOf("data {} feature { type: NUMERIC } model {}"),
      "job:1:1: data.train is required: a file name or glob\n"
      "job:1:9: feature[0].name is required\n"
      "job:1:35: model must name one of lr, dlf, mgdin, interformer, fm, deepfm, dcnv2, autoint, "
      "din, finalmlp");
  EXPECT_EQ(ProblemsOf(With("table { dim: 3 }")), "job:5:1: table[0].name is required");
  EXPECT_EQ(ProblemsOf(With("feature { name: '' }")),
            "job:5:17: feature[1].name must not be empty");
}

// What could not be read is not reported as missing too.
TEST(JobProblems, OneMistakeIsToldOnce) {
  EXPECT_EQ(ProblemsOf("dat { train: 'x' } feature { name: 'a' } model { dlf {} }"),
            "job:1:1: no field \"dat\" in JobConfig; did you mean \"data\"?");
  EXPECT_EQ(ProblemsOf("data { train: 3 } feature { name: 'a' } model { dlf {} }"),
            "job:1:15: data.train must be text in quotes, got 3");
  EXPECT_EQ(ProblemsOf("data { train: 'x' } feature { name: 'a' } model { dlff {} }"),
            "job:1:51: no field \"dlff\" in ModelConfig; did you mean \"dlf\"?");
  EXPECT_EQ(
      ProblemsOf("data { train: 'x' } feature { nam: 'a' } model { dlf {} } table { name: 'a' }"),
      "job:1:31: no field \"nam\" in FeatureConfig; did you mean \"name\"?");
}

TEST(JobProblems, Ranges) {
  struct Case {
    const char* line;
    const char* problem;
  };
  for (const Case& c : std::vector<Case>{
           {"train { batch_size: 1048577 }",
            "5:21: train.batch_size must be a whole number, at least 1 and at most 1048576, got "
            "1048577"},
           {"train { plateau_factor: 0 }",
            "5:25: train.plateau_factor must be a number, above 0 and at most 1, got 0"},
           {"train { min_delta: inf }",
            "5:20: train.min_delta must be a number, at least 0, got inf"},
           {"train { min_delta: nan }",
            "5:20: train.min_delta must be a number, at least 0, got nan"},
           {"dense { optimizer { adam { beta1: 1 } } }",
            "5:35: dense.optimizer.adam.beta1 must be a number, at least 0 and below 1, got 1"},
           {"table { name: 'C1' dim: 0 }",
            "5:25: table[0].dim must be a whole number, at least 1 and at most 4096, got 0"},
           {"checkpoint { keep: 0 }",
            "5:20: checkpoint.keep must be a whole number, at least 1, got 0"},
       }) {
    EXPECT_THAT(ProblemsOf(With(c.line)), HasSubstr(StrCat("job:", c.problem)));
  }
  EXPECT_EQ(ProblemsOf(With("train { batch_size: 1048576 plateau_factor: 1 }")), "");
}

TEST(JobProblems, Features) {
  struct Case {
    const char* line;
    const char* problem;
  };
  for (const Case& c : std::vector<Case>{
           {"feature { name: 'C2' }", "5:17: there is another feature \"C2\", named in line 3"},
           {"feature { name: 'x' type: NUMERIC table: 'x' }",
            "5:42: feature \"x\" is NUMERIC and has no table; numeric.bucket_width makes it "
            "categorical"},
           {"feature { name: 'x' numeric { mean: 1 } }",
            "5:21: feature \"x\" has settings for NUMERIC but is CATEGORICAL"},
           {"feature { name: 'x' type: NUMERIC sequence { } }",
            "5:35: feature \"x\" has settings for SEQUENCE but is NUMERIC"},
           {"feature { name: 'x' type: SEQUENCE sequence { separator: '' } }",
            "5:58: the separator of a sequence is one character, got \"\""},
           {"feature { name: 'x' type: SEQUENCE sequence { separator: '||' } }",
            "5:58: the separator of a sequence is one character, got \"||\""},
           {"feature { name: 'x' type: SEQUENCE numeric { mean: 1 } }",
            "5:36: feature \"x\" is a SEQUENCE of numbers, which needs numeric.bucket_width"},
           {"feature { name: 'x' type: CROSS numeric { bucket_width: 1 } of: ['C1', 'C2'] }",
            "5:33: feature \"x\" has settings for NUMERIC but is CROSS"},
           {"feature { name: 'x' type: NUMERIC numeric { until: '' } }",
            "5:52: numeric.until must not be empty"},
           {"feature { name: 'x' type: NUMERIC numeric { until: 'click' } }",
            "5:52: column \"click\" is the label"},
           {"feature { name: 'x' type: SEQUENCE sequence { target: 'C1' } }",
            "5:55: feature \"x\" has a sequence.target, which only pooling: HISTORY has"},
           {"feature { name: 'x' of: ['C1', 'C2'] }",
            "5:26: feature \"x\" names parts (of) but is CATEGORICAL, not CROSS"},
           {"feature { name: 'x' type: CROSS of: 'C1' }",
            "5:37: feature \"x\" is a CROSS, which needs two or more features in `of`"},
           {"feature { name: 'x' type: CROSS }",
            "5:1: feature \"x\" is a CROSS, which needs two or more features in `of`"},
           {"feature { name: 'x' type: CROSS of: ['C1', 'C2'] column: 'y' }",
            "5:58: feature \"x\" is a CROSS and has no column"},
           {"feature { name: 'x' type: CROSS of: ['C1', 'C2'] missing: 'y' }",
            "5:59: feature \"x\" is a CROSS; what counts as missing is said at its parts"},
           {"feature { name: 'x' type: CROSS of: ['C1', 'C9'] }",
            "5:44: of[1] of feature \"x\": there is no feature \"C9\"; did you mean \"C1\"?"},
           {"feature { name: 'x' type: CROSS of: ['C1', 'C1'] }",
            "5:44: of[1] of feature \"x\": \"C1\" is there twice"},
           {"feature { name: 'x' type: CROSS of: ['C1', 'x'] }",
            "5:44: of[1] of feature \"x\": \"x\" is a CROSS itself; name its parts"},
           {"feature { name: 'x' type: CROSS of: ['C1', 'n'] } feature { name: 'n' type: NUMERIC }",
            "5:44: of[1] of feature \"x\": \"n\" is NUMERIC; parts are CATEGORICAL, or NUMERIC "
            "with a bucket_width"},
           {"feature { name: 'x' type: CROSS of: ['C1', 'n'] } feature { name: 'n' type: SEQUENCE "
            "}",
            "5:44: of[1] of feature \"x\": \"n\" is SEQUENCE; parts are CATEGORICAL, or NUMERIC "
            "with a bucket_width"},
           {"feature { name: 'x' type: NUMERIC min_count: 2 }",
            "5:46: feature \"x\" is NUMERIC without numeric.bucket_width: it has no rare values"},
           {"feature { name: 'x' role: LINEAR }",
            "5:27: feature \"x\" is LINEAR, but model dlf has no first-order weights"},
           {"feature { name: 'click' }", "5:17: column \"click\" is the label"},
           {"feature { name: 'x' column: 'click' }", "5:29: column \"click\" is the label"},
           {"feature { name: 'x' column: '' }", "5:29: column must not be empty"},
           {"feature { name: 'x' table: '' }", "5:28: table must not be empty"},
           {"feature { name: 'd{1..3}' column: 'e{1..2}' }",
            "5:35: \"e{1..2}\" stands for 2, but the name for 3 features"},
           {"feature { name: 'd{1..3}' column: 'e' }",
            "5:35: \"e\" stands for 1, but the name for 3 features"},
           {"feature { name: 'd{3..1}' }", "5:17: cannot expand \"d{3..1}\": the range is empty"},
           {"feature { name: 'd{1..3}' }\nfeature { name: 'd{2..9}' }",
            "6:17: there is another feature \"d2\", named in line 5"},
       }) {
    EXPECT_EQ(ProblemsOf(With(c.line)), StrCat("job:", c.problem));
  }
}

// A job whose model reads histories, and a line more.
std::string WithHistory(std::string_view line, std::string_view sequence = "max_length: 30") {
  return StrCat("data { train: 't' group: 'user' }\nfeature { name: 'item' }\n",
                "feature { name: 'h' type: SEQUENCE table: 'item' sequence { pooling: HISTORY ",
                sequence, " } }\nmodel { din {} }\n", line);
}

TEST(JobProblems, Histories) {
  EXPECT_EQ(ProblemsOf(WithHistory("", "max_length: 30 target: 'item'")), "");
  EXPECT_EQ(ProblemsOf(WithHistory("", "")),
            "job:3:50: feature \"h\" is a HISTORY, which needs sequence.max_length of at least 1 "
            "and at most 65536");
  EXPECT_EQ(ProblemsOf(WithHistory("", "max_length: 0")),
            "job:3:90: feature \"h\" is a HISTORY, which needs sequence.max_length of at least 1 "
            "and at most 65536");
  EXPECT_THAT(ProblemsOf(WithHistory("", "max_length: 100000")), HasSubstr(", got 100000"));
  EXPECT_EQ(ProblemsOf(WithHistory("", "max_length: 30 target: 'itme'")),
            "job:3:101: sequence.target of feature \"h\": there is no feature \"itme\"; did you "
            "mean \"item\"?");
  EXPECT_EQ(ProblemsOf(WithHistory("", "max_length: 30 target: 'h'")),
            "job:3:101: sequence.target of feature \"h\": \"h\" is a HISTORY itself");
  EXPECT_EQ(
      ProblemsOf(WithHistory("feature { name: 'n' type: NUMERIC }", "max_length: 30 target: 'n'")),
      "job:3:101: sequence.target of feature \"h\": \"n\" is a number without table");
  EXPECT_THAT(ProblemsOf(WithHistory("feature { name: 'b' } table { name: 'b' dim: 8 }",
                                     "max_length: 30 target: 'b'")),
              HasSubstr("job:3:101: sequence.target of feature \"h\": \"b\" has dim 8, the history "
                        "has 16; they must be equal"));
  EXPECT_EQ(ProblemsOf(With("feature { name: 'h' type: SEQUENCE table: 'C1' sequence { max_length: "
                            "2 pooling: HISTORY } }")),
            "job:5:82: feature \"h\" is a HISTORY, which model dlf does not read; pooling may be "
            "MEAN or SUM");
  EXPECT_EQ(ProblemsOf("data { train: 't' } feature { name: 'a' } model { interformer {} }"),
            "job:1:43: model interformer needs a SEQUENCE feature with sequence.pooling: HISTORY");
}

TEST(JobProblems, Groups) {
  EXPECT_EQ(ProblemsOf(With("train { monitor: GAUC }")),
            "job:5:18: train.monitor GAUC needs data.group, the column of a row's user");
  EXPECT_EQ(ProblemsOf(With("train { monitor: GAUC_PLUS_AUC }"), {"data.group=user"}), "");
  EXPECT_EQ(ProblemsOf(kJob, {"data.group=click"}),
            "--set data.group=click: data.group: column \"click\" is the label");
}

TEST(JobProblems, HeldOutRows) {
  const JobConfig job = MustLoad(kJob, {"data.holdout=0.1"});
  ASSERT_EQ(job.data().valid_size(), 1);
  EXPECT_EQ(job.data().valid(0), "train.csv");
  EXPECT_EQ(ProblemsOf(job.DebugString()), "") << "an effective job is a job";
  EXPECT_EQ(ProblemsOf(kJob, {"data.holdout=0.1", "data.valid=v"}),
            "--set data.holdout=0.1: data.holdout takes the place of data.valid; leave one of them "
            "out");
}

constexpr char kFm[] = R"(data { train: 't' }
table_defaults { dim: 8 l2: 0.5 }
linear_defaults { l2: 0.25 }
table { name: 'b.linear' l2: 0.125 }
feature { name: 'a' min_count: 3 density: 2 }
feature { name: 'b' type: NUMERIC numeric { bucket_width: 2 } }
feature { name: 'n' type: NUMERIC }
feature { name: 'ab' type: CROSS of: ['a', 'b'] }
feature { name: 's' type: SEQUENCE table: 'a' }
)";

TEST(EffectiveJob, ModelsWithFirstOrderWeightsGetAFeatureForEach) {
  for (const char* model : {"fm {}", "deepfm {}", "autoint { linear: true }"}) {
    const JobConfig job = MustLoad(StrCat(kFm, "model { ", model, " }"));
    ASSERT_EQ(job.feature_size(), 10) << model;
    const char* names[] = {"a.linear", "b.linear", "n.linear", "ab.linear", "s.linear"};
    const char* tables[] = {"a.linear", "b.linear", "", "ab.linear", "a.linear"};
    for (int i = 0; i < 5; ++i) {
      const proto::FeatureConfig& linear = job.feature(5 + i);
      EXPECT_EQ(linear.name(), names[i]);
      EXPECT_EQ(linear.table(), tables[i]);
      EXPECT_EQ(linear.type(), job.feature(i).type());
      EXPECT_EQ(linear.column(), job.feature(i).column());
      EXPECT_EQ(linear.role(), proto::FeatureConfig::LINEAR);
    }
    EXPECT_EQ(job.feature(5).min_count(), 3u);
    EXPECT_FALSE(job.feature(5).has_density());
    EXPECT_EQ(job.feature(6).numeric().bucket_width(), 2);
    EXPECT_EQ(job.feature(8).of_size(), 2);
    ASSERT_EQ(job.table_size(), 6);
    EXPECT_EQ(job.table(0).name(), "a");
    EXPECT_EQ(job.table(0).dim(), 8u);
    EXPECT_EQ(job.table(3).name(), "a.linear");
    EXPECT_EQ(job.table(3).dim(), 1u);
    EXPECT_EQ(job.table(3).l2(), 0.25);
    EXPECT_EQ(job.table(4).name(), "b.linear");
    EXPECT_EQ(job.table(4).l2(), 0.125);
    const JobConfig again = MustLoad(PrintJob(job));
    EXPECT_TRUE(MessageDifferencer::Equals(job, again)) << PrintJob(job);
  }
  EXPECT_EQ(MustLoad(StrCat(kFm, "model { autoint {} }"), {"table=[]"}).feature_size(), 5);
}

TEST(EffectiveJob, AFirstOrderWeightMayBeWrittenOut) {
  const JobConfig job = MustLoad(StrCat(
      kFm, "model { fm {} } feature { name: 'a.linear' column: 'a' role: LINEAR min_count: 9 }"));
  ASSERT_EQ(job.feature_size(), 10);
  EXPECT_EQ(job.feature(5).name(), "a.linear");
  EXPECT_EQ(job.feature(5).min_count(), 9u);
  EXPECT_EQ(job.feature(6).name(), "b.linear");
}

TEST(JobProblems, FirstOrderWeights) {
  const auto problems = [](const std::string& line) {
    return ProblemsOf(StrCat(kFm, "model { fm {} }\n", line));
  };
  EXPECT_EQ(problems("feature { name: 'a.linear' }"),
            "job:11:17: \"a.linear\" is the name of the first-order weights of feature \"a\"");
  EXPECT_EQ(
      problems("feature { name: 'z' table: 'a.linear' }"),
      "job:5:17: table \"a.linear\" holds the first-order weights of \"a.linear\", so feature "
      "\"z\" cannot use it");
  EXPECT_EQ(problems("table { name: 'a.linear' dim: 2 }"),
            "job:11:31: table \"a.linear\" holds first-order weights: its dim is 1, got 2");
  EXPECT_EQ(ProblemsOf(StrCat(kFm, "model { fm {} }"), {"linear_defaults.dim=4"}),
            "--set linear_defaults.dim=4: first-order weights have dim 1, got 4");
  EXPECT_EQ(
      problems("feature { name: 'z' role: LINEAR type: SEQUENCE sequence { pooling: HISTORY "
               "max_length: 3 } }")
          .substr(0, 82),
      "job:11:27: feature \"z\" is a HISTORY, which cannot be a first-order weight\njob:11:6");
}

TEST(JobProblems, Tables) {
  EXPECT_EQ(ProblemsOf(With("table { name: 'D1' }")),
            "job:5:15: no feature uses the table \"D1\"; did you mean \"C1\"?");
  EXPECT_EQ(ProblemsOf(With("table { name: 'C1' }\ntable { name: 'C1' }")),
            "job:6:15: there is another table \"C1\", named in line 5");
  EXPECT_EQ(ProblemsOf(With("table_defaults { name: 'C1' }")),
            "job:5:24: table_defaults has no name; `table { name: ... }` changes one table");
}

TEST(JobProblems, TablesThatStepAsAWholeStayInMemory) {
  const auto problem = [](int line, int column, const std::string& table) {
    return StrCat("job:", line, ":", column, ": table \"", table,
                  "\" has l2_rows ALL, which changes every row with every push, and "
                  "server.memory_mib 64, which sends rows to the database: take one of them back");
  };
  const std::string all = "table { name: 'C2' l2_rows: ALL }";
  EXPECT_EQ(ProblemsOf(With(all + "\nserver { memory_mib: 64 }")), problem(5, 29, "C2"));
  EXPECT_EQ(ProblemsOf(With(all), {"server.memory_mib=64"}), problem(5, 29, "C2"));
  EXPECT_EQ(ProblemsOf(With("server { memory_mib: 64 }\ntable_defaults { l2_rows: ALL }")),
            problem(6, 27, "C1"));
  EXPECT_EQ(ProblemsOf(R"(data { train: "t" }
feature { name: "C" }
model { fm {} }
linear_defaults { l2_rows: ALL }
server { memory_mib: 64 })"),
            problem(4, 28, "C.linear"));
  MustLoad(With(all));
  MustLoad(With(all + " server { memory_mib: 0 }"));
  MustLoad(With("server { memory_mib: 64 }"));
}

TEST(EffectiveJob, ADeterministicJobPullsNothingAhead) {
  EXPECT_EQ(MustLoad(With("train { threads: 1 deterministic: true }")).train().prefetch_batches(),
            0u);
  EXPECT_TRUE(
      MustLoad(With("train { threads: 1 deterministic: true }")).train().has_prefetch_batches());
  EXPECT_FALSE(MustLoad(kJob).train().has_prefetch_batches());
  EXPECT_EQ(ProblemsOf(With("train { threads: 1 deterministic: true prefetch_batches: 0 }")), "");
}

TEST(JobProblems, ADeterministicJobDependsOnNoTime) {
  const std::string deterministic = "train { threads: 1 deterministic: true }\n";
  EXPECT_EQ(ProblemsOf(With("train { threads: 1 deterministic: true prefetch_batches: 2 }")),
            "job:5:58: train.prefetch_batches must be 0 with train.deterministic, got 2");
  EXPECT_EQ(
      ProblemsOf(With("train { threads: 1 prefetch_batches: 2 }"), {"train.deterministic=true"}),
      "job:5:38: train.prefetch_batches must be 0 with train.deterministic, got 2");
  EXPECT_EQ(
      ProblemsOf(With(deterministic + "table { name: 'C2' eviction { min_norm: 0.1 } }")),
      "job:6:20: table \"C2\" has eviction, which removes rows at times that differ from run to "
      "run, and train.deterministic is set");
  EXPECT_EQ(
      ProblemsOf(With(deterministic + "table_defaults { admission { min_pushes: 2 } }")),
      "job:6:42: table \"C1\" has admission.min_pushes 2, counted by each server anew when it "
      "recovers, and train.deterministic is set");
  EXPECT_EQ(ProblemsOf(With("train { deterministic: true }")),
            "job:5:1: train.threads must be said with train.deterministic, such as 1: the order of "
            "additions depends on it");
  MustLoad(With(deterministic + "table_defaults { admission { probability: 0.5 } eviction {} }"));
  MustLoad(With("table_defaults { admission { min_pushes: 2 } eviction { min_norm: 1 } }"));
}

TEST(JobProblems, MemoryThatCannotHoldAServer) {
  EXPECT_EQ(
      ProblemsOf(With("server { memory_mib: 63 }")),
      "job:5:22: server.memory_mib is 63; a server needs at least 64 MiB, and with 0 it keeps "
      "all rows in memory");
}

TEST(JobProblems, Models) {
  EXPECT_EQ(ProblemsOf(With("model { lr {} }")),
            "job:5:1: \"model\" is set twice, first in line 4");
  EXPECT_EQ(ProblemsOf("data { train: 'x' } feature { name: 'a' } model { dlf {} lr {} }"),
            "job:1:58: \"lr\" excludes \"dlf\" of line 1: ModelConfig takes exactly one");
  const std::string lr = "data { train: 'x' } feature { name: 'a' } model { lr {} } ";
  EXPECT_EQ(
      ProblemsOf(lr),
      "job:1:43: table \"a\" has dim 16; model lr needs dim 1: set table_defaults { dim: 1 }");
  EXPECT_EQ(ProblemsOf(lr + "table_defaults { dim: 4 }"),
            "job:1:81: table \"a\" has dim 4; model lr needs dim 1: set table_defaults { dim: 1 }");
  EXPECT_EQ(ProblemsOf(lr + "table_defaults { dim: 1 }"), "");
  EXPECT_EQ(ProblemsOf(lr + "table { name: 'a' dim: 1 }"), "");
  EXPECT_EQ(ProblemsOf(lr + "table { name: 'a' dim: 1 } feature { name: 'n' type: NUMERIC }"),
            "job:1:43: numeric feature \"n\" has dim 16; model lr needs dim 1: "
            "set table_defaults { dim: 1 }");
  EXPECT_EQ(ProblemsOf(With("table { name: 'C2' dim: 8 }")),
            "job:5:25: table \"C2\" has dim 8; the model needs the same dim everywhere, and C1 has "
            "dim 16");
}

TEST(JobProblems, Csv) {
  const auto problems = [](const std::string& csv) {
    return ProblemsOf("data { train: 'x' csv { " + csv +
                      " } } feature { name: 'C1' } model { dlf {} }");
  };
  EXPECT_EQ(problems("delimiter: '\\t'"), "");
  EXPECT_THAT(problems("delimiter: ''"), HasSubstr("job:1:36: the delimiter is one character"));
  EXPECT_THAT(problems("delimiter: '::'"), HasSubstr("job:1:36: the delimiter is one character"));
  EXPECT_THAT(problems("delimiter: '\\n'"), HasSubstr("job:1:36: the delimiter is one character"));
  EXPECT_THAT(problems("quote: '::'"), HasSubstr("job:1:32: the quote is one character"));
  EXPECT_EQ(problems("delimiter: ';' quote: ';'"), "job:1:47: delimiter and quote must differ");
  EXPECT_EQ(problems("delimiter: '\"'"), "job:1:36: delimiter and quote must differ");
  EXPECT_EQ(problems("header: false"),
            "job:1:33: without a header, data.csv.column must name the columns");
  EXPECT_THAT(problems("column: 'a'"), HasSubstr("job:1:33: columns are named by the header"));
  EXPECT_EQ(problems("header: false column: ['label', 'C1']"), "");
  EXPECT_EQ(problems("header: false column: ['label', 'C1', 'C1']"),
            "job:1:63: there is another column \"C1\"");
  EXPECT_EQ(problems("header: false column: ['label', 'C2']"),
            "job:1:83: \"C1\" is none of the 2 columns of data.csv.column; did you mean \"C2\"?");
  EXPECT_EQ(
      problems("header: false column: ['lable', 'C1']"),
      "job:1:1: the label \"label\" is none of the 2 columns of data.csv.column; did you mean "
      "\"lable\"?");
}

TEST(JobProblems, FileNames) {
  ASSERT_EQ(::unsetenv("CAIRN_TEST_UNSET"), 0);
  EXPECT_EQ(ProblemsOf("data { train: ['x', '${CAIRN_TEST_UNSET}/y', '']\n"
                       "join { file: '${' key: '' } }\nfeature { name: 'C1' } model { dlf {} }"),
            "job:1:21: the environment variable \"CAIRN_TEST_UNSET\" is not set\n"
            "job:1:46: a file name must not be empty\n"
            "job:2:14: no \"}\" closes the \"${\" in \"${\"\n"
            "job:2:24: data.join[0].key must not be empty");
}

TEST(JobProblems, JobNameMustBeAFolderName) {
  for (const char* name : {"a/b", "..", ".", "", "/"}) {
    EXPECT_THAT(ProblemsOf(With(StrCat("name: '", name, "'"))), HasSubstr("job:5:7: the name"))
        << name;
  }
  EXPECT_EQ(ProblemsOf(With("name: 'a b.c'")), "");
}

TEST(JobProblems, ComeTogetherInOrderOfPosition) {
  EXPECT_EQ(ProblemsOf("model { lr { } }\nfeature { name: 'a' typ: NUMERIC }\n"
                       "data { train: 'x' window_rows: 0 bad_row: SKIPP }\n"
                       "table_defaults { dim: 1 l2: -1 }",
                       {"train.epochs=0", "train.epochz=3"}),
            "job:2:21: no field \"typ\" in FeatureConfig; did you mean \"type\"?\n"
            "job:3:32: data.window_rows must be a whole number, at least 1, got 0\n"
            "job:3:43: data.bad_row must be one of STOP, SKIP, got \"SKIPP\"; did you mean "
            "\"SKIP\"?\n"
            "job:4:29: table_defaults.l2 must be a number, at least 0, got -1\n"
            "--set train.epochs=0: train.epochs must be a whole number, at least 1, got 0\n"
            "--set train.epochz=3: no field \"epochz\" in TrainConfig; did you mean \"epochs\"?");
}

TEST(JobProblems, ManyAreCutShort) {
  std::string text(kJob);
  for (int i = 0; i < 300; ++i) text += "x: 1\n";
  const std::string problems = ProblemsOf(text);
  EXPECT_EQ(std::count(problems.begin(), problems.end(), '\n'), 100);
  EXPECT_THAT(problems, HasSubstr("\nand 200 more problems"));
}

}  // namespace
}  // namespace cairn
