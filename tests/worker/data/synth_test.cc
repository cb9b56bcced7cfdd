#include "worker/data/synth.h"

#include <set>

#include "common/io/file.h"
#include "tests/worker/data/data_fixture.h"
#include "worker/data/synth_csv.h"
#include "worker/data/synth_stats.h"

namespace cairn::worker {
namespace {

class Synth : public DataFixture {
 protected:
  SynthConfig Small(const std::string& folder) const {
    SynthConfig config;
    config.rows = 1000;
    config.valid_rows = 100;
    config.test_rows = 200;
    config.out = Path(folder);
    return config;
  }
  static std::string WriteOrDie(const SynthConfig& config) {
    const auto report = WriteSynth(config);
    EXPECT_TRUE(report.ok()) << report.status();
    if (!report.ok()) return "";
    EXPECT_TRUE(report->written);
    return report->truth;
  }
  std::string Read(const std::string& name) const { return *ReadFile(Path(name)); }
  std::set<std::string> Names(const std::string& folder) const {
    const auto names = *ListFolder(Path(folder), ListMode::kEntries);
    return {names.begin(), names.end()};
  }
  static std::string WithoutHeader(const std::string& text) {
    return text.substr(text.find('\n') + 1);
  }
};

TEST_F(Synth, WritesCriteoShapedFiles) {
  const std::string truth = WriteOrDie(Small("d"));
  EXPECT_EQ(Names("d"), (std::set<std::string>{"train.csv", "valid.csv", "test.csv", "truth.txt"}));
  EXPECT_EQ(Read("d/truth.txt"), truth);
  const std::string train = Read("d/train.csv");
  EXPECT_EQ(train.substr(0, train.find('\n')),
            "label,I1,I2,I3,I4,I5,I6,I7,I8,I9,I10,I11,I12,I13,C1,C2,C3,C4,C5,C6,C7,C8,C9,C10,C11,"
            "C12,C13,C14,C15,C16,C17,C18,C19,C20,C21,C22,C23,C24,C25,C26");
  EXPECT_EQ(std::ranges::count(train, '\n'), 1001);
  EXPECT_EQ(std::ranges::count(Read("d/valid.csv"), '\n'), 101);
  EXPECT_EQ(std::ranges::count(Read("d/test.csv"), '\n'), 201);
}

TEST_F(Synth, IsReadBackAsItWasDrawn) {
  SynthConfig config = Small("d");
  config.truth.history = 5;
  const std::string truth = WriteOrDie(config);
  proto::JobConfig job = Job(StrCat("data { train: '", Path("d/train.csv"), "' test: '",
                                    Path("d/test.csv"), "' shuffle: false }"));
  const auto add = [&job](const std::string& name, proto::FeatureConfig::Type type) {
    proto::FeatureConfig* feature = job.add_feature();
    feature->set_name(name);
    feature->set_column(name);
    feature->set_type(type);
    feature->set_table(name);
    if (type == proto::FeatureConfig::NUMERIC) {
      feature->mutable_numeric()->set_missing_value(-1);
    } else {
      job.add_table()->set_name(name);
    }
  };
  for (int j = 1; j <= 13; ++j) add(StrCat("I", j), proto::FeatureConfig::NUMERIC);
  for (int f = 1; f <= 26; ++f) add(StrCat("C", f), proto::FeatureConfig::CATEGORICAL);
  add("hist", proto::FeatureConfig::SEQUENCE);
  const auto drawn = SynthTruth::Make(config.truth);
  double clicks = 0;
  for (const auto split : {proto::TRAIN, proto::TEST}) {
    auto dataset = MakeOrDie(job, split);
    const std::uint64_t rows = dataset->OpenWindow(0, 0)->rows;
    ASSERT_EQ(rows, split == proto::TRAIN ? 1000u : 200u);
    Batch batch;
    std::uint64_t bad = 0;
    ASSERT_TRUE(dataset->ReadBatch(0, rows, &batch, &bad).ok());
    SynthRow row;
    for (std::uint64_t i = 0; i < rows; ++i) {
      drawn->Draw(split == proto::TRAIN ? SynthSplit::kTrain : SynthSplit::kTest, i, &row);
      ASSERT_EQ(batch.labels[i], static_cast<float>(row.label));
      for (std::size_t j = 0; j < kSynthNumbers; ++j)
        ASSERT_EQ(batch.fields[j].number[i], static_cast<float>(row.numbers[j]));
      const auto& offsets = batch.fields.back().offsets;
      ASSERT_EQ(offsets[i + 1] - offsets[i], row.history.size());
      clicks += split == proto::TEST ? row.label : 0;
    }
    // Different values have different keys: as many as were drawn.
    for (std::size_t f = 0; f < kSynthCategories; ++f) {
      std::set<std::uint32_t> values;
      for (std::uint64_t i = 0; i < rows; ++i) {
        drawn->Draw(split == proto::TRAIN ? SynthSplit::kTrain : SynthSplit::kTest, i, &row);
        values.insert(row.categories[f]);
      }
      EXPECT_EQ(batch.unique_keys[f].size(), values.size()) << f;
    }
  }
  EXPECT_EQ(*TruthValue(truth, "test_clicks"), clicks);
}

TEST_F(Synth, TruthHoldsWhatAPerfectModelReachesOnTheTestRows) {
  const SynthConfig config = Small("d");
  const std::string truth = WriteOrDie(config);
  const auto drawn = SynthTruth::Make(config.truth);
  std::vector<double> logits;
  SynthRow row;
  for (std::uint64_t i = 0; i < config.test_rows; ++i) {
    drawn->Draw(SynthSplit::kTest, i, &row);
    logits.push_back(row.logit);
  }
  EXPECT_EQ(*TruthValue(truth, "bayes_auc"), BayesAuc(logits));
  EXPECT_EQ(*TruthValue(truth, "bayes_logloss"), BayesLogLoss(logits));
  EXPECT_EQ(*TruthValue(truth, "rows"), 1000);
  EXPECT_EQ(TruthValue(truth, "no_such").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(Synth, ShardsAndGzipChangeTheFilesButNotTheRows) {
  WriteOrDie(Small("one"));
  const std::string train = Read("one/train.csv");
  for (const std::uint32_t shards : {2u, 7u, 1000u}) {
    SynthConfig config = Small(StrCat("shards", shards));
    config.shards = shards;
    WriteOrDie(config);
    std::string joined = SynthHeader(false);
    std::uint32_t files = 0;
    for (const std::string& name : Names(StrCat("shards", shards))) {
      if (!name.starts_with("train-")) continue;
      joined += WithoutHeader(Read(StrCat("shards", shards, "/", name)));
      ++files;
    }
    EXPECT_EQ(files, shards);
    EXPECT_EQ(joined, train);
  }
  SynthConfig packed = Small("packed");
  packed.gzip = true;
  WriteOrDie(packed);
  EXPECT_EQ(Names("packed"),
            (std::set<std::string>{"train.csv.gz", "valid.csv.gz", "test.csv.gz", "truth.txt"}));
  gzFile file = gzopen(Path("packed/train.csv.gz").c_str(), "rb");
  std::string unpacked(train.size() + 100, '\0');
  unpacked.resize(static_cast<std::size_t>(
      gzread(file, unpacked.data(), static_cast<unsigned>(unpacked.size()))));
  gzclose(file);
  EXPECT_EQ(unpacked, train);
}

TEST_F(Synth, FewerRowsAreAPrefixOfMore) {
  SynthConfig config = Small("few");
  config.rows = 300;
  config.valid_rows = 7;
  WriteOrDie(config);
  WriteOrDie(Small("many"));
  EXPECT_TRUE(Read("many/train.csv").starts_with(Read("few/train.csv")));
  EXPECT_TRUE(Read("many/valid.csv").starts_with(Read("few/valid.csv")));
  EXPECT_EQ(Read("many/test.csv"), Read("few/test.csv"));
}

TEST_F(Synth, SplitsWithoutRowsHaveNoFile) {
  SynthConfig config = Small("d");
  config.valid_rows = 0;
  config.test_rows = 0;
  const std::string truth = WriteOrDie(config);
  EXPECT_EQ(Names("d"), (std::set<std::string>{"train.csv", "truth.txt"}));
  EXPECT_FALSE(TruthValue(truth, "bayes_auc").ok());
}

TEST_F(Synth, TheSameDataIsNotWrittenTwiceAndOtherDataIsNeverOverwritten) {
  const SynthConfig config = Small("d");
  const std::string truth = WriteOrDie(config);
  const auto before = std::filesystem::last_write_time(Path("d/train.csv"));
  auto again = WriteSynth(config);
  ASSERT_TRUE(again.ok());
  EXPECT_FALSE(again->written);
  EXPECT_EQ(again->truth, truth);
  EXPECT_EQ(std::filesystem::last_write_time(Path("d/train.csv")), before);
  SynthConfig other = config;
  other.truth.seed = 3;
  const auto refused = WriteSynth(other);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Message(refused.status()),
            StrCat(Path("d"), " holds other data (test.csv); remove it or choose another folder"));
  EXPECT_EQ(Read("d/truth.txt"), truth);
}

TEST_F(Synth, AnInterruptedRunIsTakenUpAgain) {
  const std::string truth = WriteOrDie(Small("whole"));
  std::filesystem::create_directory(Path("d"));
  Write("d/train.csv.part", "label,I1\n0,");
  EXPECT_EQ(WriteOrDie(Small("d")), truth);
  EXPECT_EQ(Names("d"), Names("whole"));
  EXPECT_EQ(Read("d/train.csv"), Read("whole/train.csv"));
}

TEST_F(Synth, BadSettingsAndBadFolders) {
  SynthConfig config = Small("d");
  config.shards = 1001;
  EXPECT_EQ(Message(WriteSynth(config).status()),
            "shards is 1001, not from 1 to 99999 and at most one a row");
  config = Small("d");
  config.rows = 0;
  EXPECT_EQ(Message(WriteSynth(config).status()), "rows is 0");
  Write("file", "x");
  EXPECT_EQ(WriteSynth(Small("file")).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(WriteSynth(Small("file/d")).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(PathExists(Path("d")));
}

// Guards every formula on the way from the seed to the text: data made once can be made again.
TEST_F(Synth, GoldenRow) {
  SynthTruthConfig config;
  config.history = 6;
  const auto truth = SynthTruth::Make(config);
  SynthRow row;
  std::string lines;
  for (std::uint64_t i = 1000; i < 1002; ++i) {
    truth->Draw(SynthSplit::kTrain, i, &row);
    AppendSynthRow(row, true, &lines);
  }
  EXPECT_EQ(lines,
            "0,,5,5,4,1218,126,,2,12,,1,,2,567101ba,0d53fded,0f8c1dbd,6ba5a157,2cb39434,e7d5b"
            "14c,9f0011aa,34b5d8d1,c677ec0b,61002a97,9a791d59,9ecb4985,aaa1e2d0,acbff6ff,097e"
            "5c5c,6a205b36,6c70aa40,7208ef13,382ee340,a95234eb,08710f24,9ea9a747,5eafa28f,fdc"
            "ffdcc,f1cc7995,085a31b6,1912aacb^bd393ac1^55450af6^865f053f^69fa107c\n"
            "0,,12,,0,318,,1,12,3,,3,,1,84874248,a7c9a4b2,16a9a377,0f4c67a3,6ef4e5e4,c8d6ac88"
            ",98e5c733,60f3d8ca,230f7b08,83abdc82,6d1bbecc,c87d370c,f3921c7e,e1f9b8d8,fcd74b6"
            "e,8439bca8,04887d92,6c3fad5c,76523773,70d7ff73,be0ab9c8,03dca6ba,4e0d6016,,2ef53"
            "a8c,5542c5a0,9f505634\n");
}

}  // namespace
}  // namespace cairn::worker
