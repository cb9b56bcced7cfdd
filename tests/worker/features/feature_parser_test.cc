#include "worker/features/feature_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "common/base/str_cat.h"
#include "common/math/hash.h"
#include "google/protobuf/text_format.h"
#include "proto/config.pb.h"
#include "worker/features/field_specs.h"
#include "worker/features/vocabulary.h"

namespace cairn::worker {
namespace {

using testing::ElementsAre;

proto::JobConfig Job(const std::string& text) {
  proto::JobConfig job;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &job)) << text;
  return job;
}

// The batch of one feature over these texts.
Batch Parse(const std::string& feature, const std::vector<std::string_view>& texts) {
  FeatureParser parser(
      Job(StrCat("data {} table { name: 't' } feature { name: 'f' table: 't' ", feature, "}")));
  Batch batch;
  parser.Begin(texts.size(), &batch);
  for (const std::string_view& text : texts) EXPECT_TRUE(parser.AddRow({&text, 1})) << text;
  parser.Finish();
  return batch;
}

std::uint64_t Key(std::string_view raw) { return KeyOf(raw, TableSalt("t")); }

// The keys of a categorical field, row by row.
std::vector<std::uint64_t> Keys(const Batch& batch, std::size_t field, std::size_t table = 0) {
  std::vector<std::uint64_t> keys;
  for (const std::uint32_t i : batch.fields[field].index)
    keys.push_back(batch.unique_keys[table][i]);
  return keys;
}

TEST(FeatureParser, Categorical) {
  const Batch batch = Parse("missing: '?' missing: '-1'", {"x", "", "?", "y", "x", "-1", "NA"});
  EXPECT_THAT(batch.unique_keys[0], ElementsAre(Key("x"), Key(""), Key("y"), Key("NA")));
  EXPECT_THAT(batch.fields[0].index, ElementsAre(0, 1, 1, 2, 0, 1, 3));
}

TEST(FeatureParser, Numeric) {
  const Batch plain = Parse("type: NUMERIC", {"1", "-2.5", "", "1e-3", "0012"});
  EXPECT_THAT(plain.fields[0].number, ElementsAre(1, -2.5f, 0, 1e-3f, 12));
  EXPECT_TRUE(plain.unique_keys[0].empty());
  const Batch scaled =
      Parse("type: NUMERIC missing: '?' numeric { mean: 10 stddev: 4 missing_value: 0.5 }",
            {"10", "18", "", "?"});
  EXPECT_THAT(scaled.fields[0].number, ElementsAre(0, 2, 0.5f, 0.5f));
  const Batch log =
      Parse("type: NUMERIC numeric { transform: LOG1P mean: 1 stddev: 2 }", {"0", "99", "-99"});
  EXPECT_FLOAT_EQ(log.fields[0].number[0], -0.5f);
  EXPECT_FLOAT_EQ(log.fields[0].number[1], static_cast<float>((std::log(100.) - 1) / 2));
  EXPECT_FLOAT_EQ(log.fields[0].number[2], static_cast<float>((-std::log(100.) - 1) / 2));
}

TEST(FeatureParser, BucketIsTheCategoryOfADecimalNumber) {
  const Batch batch = Parse("type: NUMERIC numeric { bucket_width: 5 missing_value: 7 }",
                            {"0", "4.99", "5", "-0.1", "", "-5", "1e17"});
  EXPECT_THAT(batch.unique_keys[0],
              ElementsAre(Key("0"), Key("1"), Key("-1"), Key(""), Key("20000000000000000")));
  EXPECT_THAT(batch.fields[0].index, ElementsAre(0, 0, 1, 2, 3, 2, 4));
  FeatureParser parser(
      Job("data {} table { name: 't' } feature { name: 'f' table: 't' type: NUMERIC numeric { "
          "bucket_width: 1e-3 } }"));
  Batch huge;
  parser.Begin(2, &huge);
  const std::string_view text = "1e18";
  EXPECT_FALSE(parser.AddRow({&text, 1}));
  EXPECT_EQ(parser.bad_reason(), "is out of range");
}

TEST(FeatureParser, Sequence) {
  const Batch batch = Parse("type: SEQUENCE missing: '?'", {"a^b^a", "", "?", "c", "b^", "^?^c"});
  EXPECT_THAT(batch.unique_keys[0], ElementsAre(Key("a"), Key("b"), Key("c"), Key("")));
  EXPECT_THAT(batch.fields[0].offsets, ElementsAre(0, 3, 3, 3, 4, 6, 9));
  EXPECT_THAT(batch.fields[0].index, ElementsAre(0, 1, 0, 2, 1, 3, 3, 3, 2));
}

TEST(FeatureParser, SequenceKeepsTheLastValues) {
  for (unsigned limit = 1; limit <= 5; ++limit) {
    for (const std::string separator : {"^", "||"}) {
      const std::vector<std::string> values = {"a", "", "c", "d"};
      std::string text = values[0];
      for (std::size_t i = 1; i < values.size(); ++i) text += separator + values[i];
      const Batch batch = Parse(StrCat("type: SEQUENCE sequence { separator: '", separator,
                                       "' max_length: ", limit, " }"),
                                {text});
      std::vector<std::uint64_t> expected;
      for (std::size_t i = limit < 4 ? 4 - limit : 0; i < 4; ++i)
        expected.push_back(Key(values[i]));
      EXPECT_EQ(batch.unique_keys[0], expected) << separator << limit;
    }
  }
}

TEST(FeatureParser, ABadRowLeavesNoTrace) {
  FeatureParser parser(
      Job("data {} table { name: 't' } feature { name: 's' table: 't' type: SEQUENCE } feature { "
          "name: 'c' table: 't' } feature { name: 'n' type: NUMERIC }"));
  Batch batch;
  parser.Begin(4, &batch);
  using Row = std::vector<std::string_view>;
  EXPECT_TRUE(parser.AddRow(Row{"a^b", "c", "1"}));
  EXPECT_FALSE(parser.AddRow(Row{"x^y^z", "w", "?"}));
  EXPECT_EQ(parser.bad_input(), 2u);
  EXPECT_EQ(parser.bad_text(), "?");
  EXPECT_EQ(parser.bad_reason(), "is not a number");
  EXPECT_TRUE(parser.AddRow(Row{"b", "a", "2"}));
  EXPECT_FALSE(parser.AddRow(Row{"u^v", "w", "?"}));
  parser.Finish();
  EXPECT_EQ(batch.rows, 2u);
  EXPECT_THAT(batch.unique_keys[0], ElementsAre(Key("a"), Key("b"), Key("c")));
  EXPECT_THAT(batch.fields[0].offsets, ElementsAre(0, 2, 3));
  EXPECT_THAT(batch.fields[0].index, ElementsAre(0, 1, 1));
  EXPECT_THAT(batch.fields[1].index, ElementsAre(2, 0));
  EXPECT_THAT(batch.fields[2].number, ElementsAre(1, 2));
}

TEST(FeatureParser, DedupAgreesWithAMapOverTablesThatFieldsShare) {
  const unsigned seed = testing::UnitTest::GetInstance()->random_seed() + 20261121u;
  SCOPED_TRACE(seed);
  srand(seed);
  FeatureParser parser(
      Job("data {} table { name: 't' } table { name: 'u' } feature { name: 'p' table: 'u' } "
          "feature { name: 'q' table: 't' } feature { name: 'r' table: 't' type: SEQUENCE }"));
  Batch batch;
  for (const int rows : {1, 7, 3000, 40, 20000, 0, 3000}) {  // 20,000 makes the table grow
    const int vocabulary = rows == 20000 ? 1000000 : 50;
    std::vector<std::vector<std::string>> texts;
    parser.Begin(static_cast<std::size_t>(rows), &batch);
    std::map<std::string, std::vector<std::uint64_t>> keys;
    for (int i = 0; i < rows; ++i) {
      std::vector<std::string> row;
      for (int f = 0; f < 2; ++f) row.push_back(StrCat(rand() % vocabulary));
      row.push_back(StrCat(row[0], "^", rand() % vocabulary));
      std::vector<std::string_view> views(row.begin(), row.end());
      ASSERT_TRUE(parser.AddRow(views));
      keys["p"].push_back(KeyOf(row[0], TableSalt("u")));
      keys["q"].push_back(Key(row[1]));
      const std::size_t cut = row[2].find('^');
      keys["r"].push_back(Key(row[2].substr(0, cut)));
      keys["r"].push_back(Key(row[2].substr(cut + 1)));
    }
    parser.Finish();
    std::map<std::uint64_t, std::uint32_t> place[2];
    std::vector<std::uint64_t> unique[2];
    std::vector<std::uint32_t> index[3];
    const char* names[] = {"p", "q", "r"};
    for (int f = 0; f < 3; ++f) {
      const int t = f == 0 ? 1 : 0;
      for (const std::uint64_t key : keys[names[f]]) {
        if (place[t].try_emplace(key, place[t].size()).second) unique[t].push_back(key);
        index[f].push_back(place[t][key]);
      }
      ASSERT_EQ(batch.fields[static_cast<std::size_t>(f)].index, index[f]) << rows;
    }
    ASSERT_EQ(batch.unique_keys[0], unique[0]);
    ASSERT_EQ(batch.unique_keys[1], unique[1]);
  }
}

// A parser of a job's features and the rows given to it.
Batch ParseRows(const std::string& job, const std::vector<std::vector<std::string_view>>& rows) {
  FeatureParser parser(Job("data {} " + job));
  Batch batch;
  parser.Begin(rows.size(), &batch);
  for (const auto& row : rows) EXPECT_TRUE(parser.AddRow(row)) << row[0];
  parser.Finish();
  return batch;
}

// Values of a sequence, row by row, as keys.
std::vector<std::uint64_t> Values(const Batch& batch, std::size_t field, std::size_t row,
                                  std::size_t table = 0) {
  std::vector<std::uint64_t> keys;
  const FieldColumn& column = batch.fields[field];
  for (std::uint32_t i = column.offsets[row]; i < column.offsets[row + 1]; ++i)
    keys.push_back(batch.unique_keys[table][column.index[i]]);
  return keys;
}

TEST(FeatureParser, Log2pIsTheLogarithmOfOneMore) {
  const Batch log = Parse("type: NUMERIC numeric { transform: LOG2P }", {"0", "7", "-3", "0.5"});
  EXPECT_THAT(log.fields[0].number, ElementsAre(0, 3, -2, std::log2(1.5f)));
}

TEST(FeatureParser, ASequenceOfNumbersIsOneOfBuckets) {
  const Batch batch =
      Parse("type: SEQUENCE missing: '?' numeric { transform: LOG2P bucket_width: 1 }",
            {"0^1^2^3^6^7", "?", "5^?^^1", "-1"});
  EXPECT_THAT(Values(batch, 0, 0),
              ElementsAre(Key("0"), Key("1"), Key("1"), Key("2"), Key("2"), Key("3")));
  EXPECT_THAT(Values(batch, 0, 1), ElementsAre());
  EXPECT_THAT(Values(batch, 0, 2), ElementsAre(Key("2"), Key(""), Key(""), Key("1")));
  EXPECT_THAT(Values(batch, 0, 3), ElementsAre(Key("-1")));
}

TEST(FeatureParser, AValueOfASequenceThatIsNoNumberMakesTheRowBad) {
  FeatureParser parser(
      Job("data {} table { name: 't' } feature { name: 'f' table: 't' type: SEQUENCE numeric { "
          "bucket_width: 2 } sequence { max_length: 2 } }"));
  Batch batch;
  parser.Begin(3, &batch);
  using Row = std::vector<std::string_view>;
  EXPECT_FALSE(parser.AddRow(Row{"1^x^3"}));
  EXPECT_EQ(parser.bad_text(), "x");
  EXPECT_EQ(parser.bad_reason(), "is not a number");
  EXPECT_TRUE(parser.AddRow(Row{"x^2^3"})) << "only the values that are kept are read";
  EXPECT_TRUE(parser.AddRow(Row{"9"}));
  parser.Finish();
  EXPECT_THAT(batch.fields[0].offsets, ElementsAre(0, 2, 3));
  EXPECT_THAT(Values(batch, 0, 0), ElementsAre(Key("1"), Key("1")));
  EXPECT_THAT(Values(batch, 0, 1), ElementsAre(Key("4")));
}

constexpr char kAges[] =
    "table { name: 't' } "
    "feature { name: 'h' column: 'hist_day' table: 't' type: SEQUENCE numeric { until: 'day' "
    "  transform: LOG2P bucket_width: 1 } sequence { pooling: HISTORY max_length: 3 } } "
    "feature { name: 'n' type: NUMERIC numeric { until: 'day' missing_value: -1 } }";

TEST(FeatureParser, UntilIsAnotherColumnsNumberMinusThisOne) {
  const Batch batch = ParseRows(kAges, {{"97^99^100^100", "90", "100", "100"},
                                        {"99^^100", "", "100", "100"},
                                        {"99^100", "90", "", ""},
                                        {"103", "120", "100", "100"}});
  EXPECT_THAT(Values(batch, 0, 0), ElementsAre(Key("1"), Key("0"), Key("0")));
  EXPECT_THAT(Values(batch, 0, 1), ElementsAre(Key("1"), Key(""), Key("0")));
  EXPECT_THAT(Values(batch, 0, 2), ElementsAre(Key(""), Key("")));
  EXPECT_THAT(Values(batch, 0, 3), ElementsAre(Key("-2")));
  EXPECT_THAT(batch.fields[1].number, ElementsAre(10, -1, -1, -20));
}

TEST(FeatureParser, UntilThatIsNoNumberMakesTheRowBad) {
  FeatureParser parser(Job(StrCat("data {} ", kAges)));
  ASSERT_EQ(parser.inputs(), 4u);
  Batch batch;
  parser.Begin(1, &batch);
  EXPECT_FALSE(parser.AddRow(std::vector<std::string_view>{"1", "1", "3", "noon"}));
  EXPECT_EQ(parser.bad_input(), 3u);
  EXPECT_EQ(parser.bad_text(), "noon");
}

TEST(FeatureParser, HistoriesOfTheSameEventsStaySideBySide) {
  const char* kJob =
      "table { name: 't' } "
      "feature { name: 'a' table: 't' missing: '?' type: SEQUENCE "
      "  sequence { pooling: HISTORY max_length: 2 } } "
      "feature { name: 'b' table: 't' missing: '?' type: SEQUENCE "
      "  sequence { pooling: HISTORY max_length: 2 } }";
  const Batch batch =
      ParseRows(kJob, {{"1^2^3", "x^^z"}, {"1^2", "^y"}, {"1", "?"}, {"", ""}, {"?^2", "x^?"}});
  EXPECT_THAT(Values(batch, 0, 0), ElementsAre(Key("2"), Key("3")));
  EXPECT_THAT(Values(batch, 1, 0), ElementsAre(Key(""), Key("z")));
  EXPECT_THAT(Values(batch, 1, 1), ElementsAre(Key(""), Key("y")));
  EXPECT_THAT(Values(batch, 0, 2), ElementsAre(Key("1")));
  EXPECT_THAT(Values(batch, 1, 2), ElementsAre(Key("")));
  EXPECT_THAT(Values(batch, 0, 3), ElementsAre());
  EXPECT_THAT(Values(batch, 0, 4), ElementsAre(Key(""), Key("2")));
  EXPECT_THAT(Values(batch, 1, 4), ElementsAre(Key("x"), Key("")));
}

TEST(FeatureParser, ACrossIsTheCombinationOfItsPartsKeys) {
  const char* kJob =
      "table { name: 't' } table { name: 'x' } "
      "feature { name: 'ab' type: CROSS table: 'x' of: 'a' of: 'b' } "
      "feature { name: 'a' table: 't' missing: '?' } "
      "feature { name: 'b' type: NUMERIC table: 't' numeric { bucket_width: 10 } } "
      "feature { name: 'ba' type: CROSS table: 'x' of: 'b' of: 'a' }";
  const Batch batch = ParseRows(kJob, {{"", "u", "3", ""},
                                       {"", "u", "9", ""},
                                       {"", "u", "10", ""},
                                       {"", "v", "3", ""},
                                       {"", "?", "3", ""},
                                       {"", "", "5", ""},
                                       {"", "u", "", ""}});
  EXPECT_THAT(batch.fields[0].index, ElementsAre(0, 0, 1, 2, 3, 3, 4));
  const std::uint64_t parts[] = {Key("u"), Key("0")};
  EXPECT_EQ(batch.unique_keys[1][0], CrossKey(parts, TableSalt("x")));
  const std::uint64_t turned[] = {Key("0"), Key("u")};
  EXPECT_EQ(batch.unique_keys[1][batch.fields[3].index[0]], CrossKey(turned, TableSalt("x")));
  EXPECT_NE(CrossKey(parts, TableSalt("x")), CrossKey(turned, TableSalt("x")));
  EXPECT_NE(CrossKey(parts, TableSalt("x")), CrossKey(parts, TableSalt("y")));
}

TEST(FeatureParser, RareValuesShareOneRow) {
  auto vocabulary = std::make_shared<Vocabulary>();
  vocabulary->Add("t", 2, {Key("a"), Key("b")});
  FeatureParser parser(Job("data {} table { name: 't' } "
                           "feature { name: 'c' table: 't' min_count: 2 missing: '?' } "
                           "feature { name: 's' table: 't' min_count: 2 type: SEQUENCE } "
                           "feature { name: 'all' table: 't' }"),
                       vocabulary);
  Batch batch;
  parser.Begin(4, &batch);
  using Row = std::vector<std::string_view>;
  for (const Row& row :
       {Row{"a", "b^z", "z"}, Row{"y", "", "y"}, Row{"?", "y^a", "a"}, Row{"z", "?", "b"}})
    ASSERT_TRUE(parser.AddRow(row));
  parser.Finish();
  const std::uint64_t rare = RareKey(TableSalt("t"));
  EXPECT_THAT(Keys(batch, 0), ElementsAre(Key("a"), rare, Key(""), rare));
  EXPECT_THAT(Values(batch, 1, 0), ElementsAre(Key("b"), rare));
  EXPECT_THAT(Values(batch, 1, 3), ElementsAre(rare)) << "'?' is a value here";
  EXPECT_THAT(Keys(batch, 2), ElementsAre(Key("z"), Key("y"), Key("a"), Key("b")));
  EXPECT_NE(rare, Key(""));
}

TEST(Vocabulary, RoundTrip) {
  Vocabulary vocabulary;
  vocabulary.Add("t", 2, {7, 0, ~std::uint64_t{0}});
  vocabulary.Add("t", 3, {7});
  vocabulary.Add("empty", 2, {});
  const std::string bytes = vocabulary.Serialize();
  const Result<Vocabulary> again = Vocabulary::Parse(bytes);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->Serialize(), bytes);
  ASSERT_NE(again->Find("t", 2), nullptr);
  for (const std::uint64_t key : {std::uint64_t{7}, std::uint64_t{0}, ~std::uint64_t{0}})
    EXPECT_TRUE(again->Find("t", 2)->Contains(key)) << key;
  EXPECT_FALSE(again->Find("t", 2)->Contains(8));
  EXPECT_FALSE(again->Find("t", 3)->Contains(0));
  EXPECT_FALSE(again->Find("empty", 2)->Contains(7));
  EXPECT_EQ(again->Find("u", 2), nullptr);
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(Vocabulary::Parse(std::string_view(bytes).substr(0, size)).ok()) << size;
  EXPECT_FALSE(Vocabulary::Parse(bytes + "x").ok());
}

TEST(Vocabulary, HoldsExactlyItsKeys) {
  std::vector<std::uint64_t> keys;
  for (std::uint64_t i = 0; i < 5000; ++i) keys.push_back(Mix64(2 * i));
  const KeySet set(keys);
  EXPECT_EQ(set.size(), keys.size());
  for (std::uint64_t i = 0; i < 5000; ++i) {
    ASSERT_TRUE(set.Contains(Mix64(2 * i)));
    ASSERT_FALSE(set.Contains(Mix64(2 * i + 1)));
  }
  std::sort(keys.begin(), keys.end());
  EXPECT_EQ(set.Sorted(), keys);
}

TEST(Vocabulary, AJobsFeaturesMustAllBeThere) {
  const proto::JobConfig job =
      Job("data {} table { name: 't' } feature { name: 'c' table: 't' min_count: 2 } feature { "
          "name: 'd' table: 't' min_count: 1 }");
  EXPECT_TRUE(NeedsVocabulary(job));
  EXPECT_FALSE(NeedsVocabulary(Job("data {} feature { name: 'c' min_count: 1 }")));
  Vocabulary vocabulary;
  EXPECT_EQ(CheckVocabulary(vocabulary, job).code(), absl::StatusCode::kDataLoss);
  vocabulary.Add("t", 2, {});
  EXPECT_TRUE(CheckVocabulary(vocabulary, job).ok());
}

TEST(FieldSpecs, DescribesEachFeature) {
  const auto specs = FieldSpecs(Job(
      "data {} table_defaults { dim: 9 } table { name: 'u' dim: 4 } table { name: 't' dim: 4 } "
      "feature { name: 'c' table: 't' } feature { name: 'n' type: NUMERIC } feature { name: 'b' "
      "type: NUMERIC table: 'u' numeric { bucket_width: 2 } } feature { name: 's' table: 't' type: "
      "SEQUENCE sequence { pooling: SUM } }"));
  ASSERT_EQ(specs.size(), 4u);
  EXPECT_EQ(specs[0].kind, FieldSpec::Kind::kCategorical);
  EXPECT_EQ(specs[0].table, 1);
  EXPECT_EQ(specs[0].dim, 4u);
  EXPECT_EQ(specs[1].kind, FieldSpec::Kind::kNumeric);
  EXPECT_EQ(specs[1].table, -1);
  EXPECT_EQ(specs[1].dim, 4u);
  EXPECT_EQ(specs[2].kind, FieldSpec::Kind::kCategorical);
  EXPECT_EQ(specs[2].table, 0);
  EXPECT_EQ(specs[3].kind, FieldSpec::Kind::kSequence);
  EXPECT_EQ(specs[3].pooling, FieldSpec::Pooling::kSum);
}

TEST(FieldSpecs, DescribesHistoriesCrossesAndWeights) {
  const auto specs = FieldSpecs(
      Job("data {} table_defaults { dim: 9 } table { name: 't' dim: 4 } table { name: 'w' dim: 1 } "
          "feature { name: 'h' table: 't' type: SEQUENCE sequence { pooling: HISTORY max_length: 7 "
          "  target: 'x' } density: 2.5 } "
          "feature { name: 'x' table: 't' type: CROSS of: 'a' of: 'b' } "
          "feature { name: 'a' table: 't' } feature { name: 'b' table: 't' } "
          "feature { name: 'n' type: NUMERIC numeric { vector_stddev: 0.5 } } "
          "feature { name: 'a.linear' table: 'w' role: LINEAR } "
          "feature { name: 'n.linear' type: NUMERIC role: LINEAR }"));
  ASSERT_EQ(specs.size(), 7u);
  for (int i = 0; i < 7; ++i) EXPECT_EQ(specs[static_cast<std::size_t>(i)].field, i);
  EXPECT_TRUE(specs[0].IsHistory());
  EXPECT_EQ(specs[0].max_length, 7u);
  EXPECT_EQ(specs[0].target, 1);
  EXPECT_EQ(specs[0].density, 2.5);
  EXPECT_EQ(specs[1].kind, FieldSpec::Kind::kCategorical);
  EXPECT_EQ(specs[1].density, std::nullopt);
  EXPECT_EQ(specs[1].target, -1);
  EXPECT_EQ(specs[4].dim, 4u) << "tables of weights do not count";
  EXPECT_EQ(specs[4].numeric_stddev, 0.5);
  EXPECT_FALSE(specs[4].linear);
  EXPECT_TRUE(specs[5].linear);
  EXPECT_EQ(specs[5].dim, 1u);
  EXPECT_TRUE(specs[6].linear);
  EXPECT_EQ(specs[6].dim, 1u);
}

TEST(FieldSpecs, NumericVectorsFallBackToTheDefaultWidth) {
  EXPECT_EQ(FieldSpecs(Job("data {} table_defaults { dim: 9 } table { name: 'u' dim: 4 } table { "
                           "name: 't' dim: 5 } feature { name: 'n' type: NUMERIC }"))[0]
                .dim,
            9u);
  EXPECT_EQ(FieldSpecs(Job("data {} feature { name: 'n' type: NUMERIC }"))[0].dim, 16u);
}

}  // namespace
}  // namespace cairn::worker
