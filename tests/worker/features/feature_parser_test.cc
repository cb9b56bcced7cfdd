#include "worker/features/feature_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "common/base/str_cat.h"
#include "common/math/hash.h"
#include "google/protobuf/text_format.h"
#include "proto/config.pb.h"
#include "worker/features/field_specs.h"

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
  EXPECT_EQ(parser.bad_feature(), 2u);
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

TEST(FieldSpecs, NumericVectorsFallBackToTheDefaultWidth) {
  EXPECT_EQ(FieldSpecs(Job("data {} table_defaults { dim: 9 } table { name: 'u' dim: 4 } table { "
                           "name: 't' dim: 5 } feature { name: 'n' type: NUMERIC }"))[0]
                .dim,
            9u);
  EXPECT_EQ(FieldSpecs(Job("data {} feature { name: 'n' type: NUMERIC }"))[0].dim, 16u);
}

}  // namespace
}  // namespace cairn::worker
