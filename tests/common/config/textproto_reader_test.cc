#include "common/config/textproto_reader.h"

#include <gmock/gmock.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

#include "common/config/problems.h"
#include "common/math/rng.h"
#include "proto/config.pb.h"

namespace cairn {
namespace {

using google::protobuf::TextFormat;
using google::protobuf::util::MessageDifferencer;
using testing::HasSubstr;

struct Reading {
  proto::JobConfig job;
  OriginTree origins;
  std::string problems;
};

Reading Read(std::string_view text) {
  Reading reading;
  ProblemList problems("f", {});
  ReadTextproto(text, -1, &reading.job, &reading.origins, &problems);
  reading.problems = std::string(problems.ToStatus().message());
  return reading;
}

// What TextFormat reads, with its complaints kept quiet.
class Silent : public google::protobuf::io::ErrorCollector {
  void AddError(int, int, const std::string&) override {}
};
bool TextFormatReads(const std::string& text, proto::JobConfig* job) {
  Silent silent;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&silent);
  return parser.ParseFromString(text, job);
}

// Texts that exercise the grammar; both readers must agree on each, accepted or not.
const char* const kTexts[] = {
    "",
    "# only a comment",
    "name: \"a\"",
    "name: 'a' \"b\"  'c'",
    "name: \"\\t\\n\\x41\\101\\\"\\\\\"",
    "name: \"\303\251\"",
    "seed: 0 ;",
    "seed: 0x1F",
    "seed: 017",
    "seed: 18446744073709551615",
    "seed: 18446744073709551616",
    "seed: -1",
    "seed: 1.0",
    "seed 3",
    "seed: \"3\"",
    "data { shuffle: true }",
    "data: { shuffle: false }",
    "data < shuffle: t >",
    "data { shuffle: 1 }",
    "data { shuffle: 2 }",
    "data { shuffle: TRUE }",
    "data { shuffle: \"true\" }",
    "data { train: \"a\" train: \"b\" }",
    "data { train: [\"a\", \"b\" 'c'] train: 'd' }",
    "data { train: [] }",
    "data { train: [\"a\" \"b\" ,] }",
    "data { train: [\"a\"",
    "data { join [{ file: \"a\" key: \"b\" }, < file: 'c' >] }",
    "data { join: [{ file: \"a\" }] }",
    "data { bad_row: SKIP }",
    "data { bad_row: skip }",
    "data { bad_row: STOPP }",
    "data { bayes_auc: 0.5 }",
    "data { bayes_auc: .5 }",
    "data { bayes_auc: 1 }",
    "data { bayes_auc: 1e-3 }",
    "data { bayes_auc: 1.5f }",
    "data { bayes_auc: -2.5 }",
    "data { bayes_auc: - 2.5 }",
    "data { bayes_auc: inf }",
    "data { bayes_auc: -infinity }",
    "data { bayes_auc: abc }",
    "data { bayes_auc: \"0.5\" }",
    "train { epochs: 1, batch_size: 2; threads: 3 }",
    "train { epochs: 1,, }",
    "train { epochs: 1 epochs: 2 }",
    "train { } train { }",
    "train { epochs: 4294967295 }",
    "train { epochs: 4294967296 }",
    "train { epochs: 1",
    "train { epochs: 1 > ",
    "train < epochs: 1 }",
    "train { epochs: 1 } }",
    "train: 3",
    "train",
    "train {",
    "model { lr { } dlf { } }",
    "model { dlf { layers: 2 } }",
    "table_defaults { optimizer { sgd { learning_rate: 0.5 } } }",
    "feature { name: \"a\" } feature { name: \"b\" missing: \"x\" missing: [\"y\"] }",
    "nonsense",
    "nonsense: 3",
    "nonsense { a { b: [1, 2] } }",
    "nonsense [{ a: 1 }]",
    "train [{ epochs: 1 }]",
    "name: \"a",
    "name: \"a\nb\"",
    "name: \"\\q\"",
    "@",
    "name: \"a\" @",
    "[ext]: 3",
    "1: 3",
    ": 3",
    "{ }",
    "name: \"a\" name",
    "name:",
    "name: [\"a\"]",
    "name: { }",
    "data { train: [{ }] }",
};

TEST(TextprotoReader, AgreesWithTextFormat) {
  for (const std::string text : kTexts) {
    proto::JobConfig expected;
    const bool readable = TextFormatReads(text, &expected);
    const Reading reading = Read(text);
    EXPECT_EQ(reading.problems.empty(), readable) << text << "\n" << reading.problems;
    if (readable) {
      EXPECT_TRUE(MessageDifferencer::Equals(reading.job, expected)) << text;
    }
  }
}

// Every prefix, and every text with one character taken out: no crash, no endless loop, and the
// same judgement.
TEST(TextprotoReader, AgreesOnDamagedTexts) {
  const std::string whole =
      "name: 'j' # c\ndata { train: [\"a\", 'b'] shuffle: true bayes_auc: -1.5 }\n"
      "feature < name: \"C{1..2}\"; type: NUMERIC, numeric { mean: 2 } >\nmodel: { lr {} }\n";
  for (std::size_t i = 0; i <= whole.size(); ++i) {
    std::string without = whole;
    if (i < whole.size()) without.erase(i, 1);
    for (const std::string& text : {whole.substr(0, i), without}) {
      proto::JobConfig expected;
      const bool readable = TextFormatReads(text, &expected);
      const Reading reading = Read(text);
      EXPECT_EQ(reading.problems.empty(), readable) << text << "\n" << reading.problems;
      if (readable) {
        EXPECT_TRUE(MessageDifferencer::Equals(reading.job, expected)) << text;
      }
    }
  }
}

// Random token sequences: most are wrong in some way; both readers must judge alike.
TEST(TextprotoReader, AgreesOnRandomTokens) {
  constexpr std::string_view kTokens[] = {
      "name",    "seed",    "data",   "train",   "model",     "lr",    "dlf",   "layers",
      "shuffle", "feature", "epochs", "type",    ":",         ":",     ":",     "{",
      "}",       "{",       "}",      "<",       ">",         "[",     "]",     ",",
      ";",       "-",       "3",      "0.5",     "'x'",       "\"y\"", "true",  "AUC",
      "inf",     "join",    "key",    "NUMERIC", "bayes_auc", "\n",    "# c\n", "numeric"};
  const std::uint64_t seed = 20261121;
  int readable_texts = 0;
  for (std::uint64_t stream = 0; stream < 40000; ++stream) {
    Rng rng(seed, stream);
    std::string text;
    const std::uint64_t count = 1 + rng.NextBelow(9);
    for (std::uint64_t i = 0; i < count; ++i) {
      StrAppend(text, kTokens[rng.NextBelow(std::size(kTokens))], " ");
    }
    proto::JobConfig expected;
    const bool readable = TextFormatReads(text, &expected);
    readable_texts += readable ? 1 : 0;
    const Reading reading = Read(text);
    ASSERT_EQ(reading.problems.empty(), readable)
        << "seed " << seed << " stream " << stream << ": " << text << "\n"
        << reading.problems;
    if (readable) {
      ASSERT_TRUE(MessageDifferencer::Equals(reading.job, expected)) << text;
    }
  }
  EXPECT_GT(readable_texts, 100);
}

TEST(TextprotoReader, RemembersWhereValuesStood) {
  const Reading reading = Read("\n  train {\n\tepochs:  3\n}\ndata { train: ['a',\n 'b'] }");
  const OriginTree& train = reading.origins.At(proto::JobConfig::kTrainFieldNumber);
  EXPECT_EQ(train.origin.line, 2);
  EXPECT_EQ(train.origin.column, 3);
  const Origin& epochs = train.At(proto::TrainConfig::kEpochsFieldNumber).origin;
  EXPECT_EQ(epochs.line, 3);
  EXPECT_EQ(epochs.column, 11) << "a tab is one column";
  const OriginTree& data = reading.origins.At(proto::JobConfig::kDataFieldNumber);
  EXPECT_EQ(data.At(proto::DataConfig::kTrainFieldNumber, 1).origin.line, 6);
  EXPECT_EQ(data.At(proto::DataConfig::kTrainFieldNumber, 1).origin.column, 2);
}

TEST(TextprotoReader, GoesOnAfterProblems) {
  const Reading reading = Read(
      "nmae: 'x'\nseed: -3\ndata { foo { bar: [1, { a: 2 }] } shuffle: 7 bad_row: SKP }\n"
      "train { epochs:\n  threads: 2 }\nname: 'n'");
  EXPECT_EQ(reading.problems,
            "f:1:1: no field \"nmae\" in JobConfig; did you mean \"name\"?\n"
            "f:2:7: seed must be a whole number, at least 0, got -3\n"
            "f:3:8: no field \"foo\" in DataConfig\n"
            "f:3:44: data.shuffle must be true or false, got 7\n"
            "f:3:55: data.bad_row must be one of STOP, SKIP, got \"SKP\"; did you mean \"SKIP\"?\n"
            "f:5:3: train.epochs has no value; it must be a whole number, at least 1");
  EXPECT_EQ(reading.job.name(), "n");
  EXPECT_EQ(reading.job.train().threads(), 2u);
  EXPECT_TRUE(reading.origins.damaged);
  EXPECT_TRUE(reading.origins.At(proto::JobConfig::kTrainFieldNumber).damaged);
}

TEST(TextprotoReader, NamesWhatIsNotClosed) {
  EXPECT_EQ(Read("name: 'a'\ntrain {\n epochs: 1\n").problems, "f:2:7: no \"}\" closes this block");
  EXPECT_EQ(Read("foo {\n a: 1\n").problems,
            "f:1:1: no field \"foo\" in JobConfig\nf:1:5: no \"}\" closes this block");
}

TEST(TextprotoReader, DeepNestingIsRefused) {
  std::string unknown = "x";
  for (int i = 0; i < 200000; ++i) unknown += "{x";
  EXPECT_THAT(Read(unknown).problems, HasSubstr("nested too deeply"));
  EXPECT_THAT(Read("x: " + std::string(200000, '[')).problems, HasSubstr("nested too deeply"));
}

TEST(TextprotoReader, HostileBytesAreProblemsNotCrashes) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes.push_back(static_cast<char>(i));
  EXPECT_NE(Read(bytes).problems, "");
  EXPECT_NE(Read(std::string(1000, '\0')).problems, "");
  EXPECT_NE(Read("name: \"\xff\xfe\" \x01").problems, "");
}

}  // namespace
}  // namespace cairn
