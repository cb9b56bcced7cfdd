#include "worker/data/statistics.h"

#include <cmath>

#include "common/math/hash.h"
#include "tests/worker/data/data_fixture.h"

namespace cairn::worker {
namespace {

class StatisticsPass : public DataFixture {
 protected:
  static Statistics Count(const proto::JobConfig& job) {
    auto statistics = CountStatistics(job);
    EXPECT_TRUE(statistics.ok()) << statistics.status();
    return statistics.ok() ? *std::move(statistics) : Statistics();
  }
  static bool Knows(const Statistics& statistics, const std::string& table, std::uint32_t min_count,
                    std::string_view value) {
    const KeySet* set = statistics.vocabulary.Find(table, min_count);
    EXPECT_NE(set, nullptr) << table;
    return set != nullptr && set->Contains(KeyOf(value, TableSalt(table)));
  }
};

constexpr char kMgdin[] = "model { mgdin {} } ";

// 8 rows. c: four values twice, one of them the missing one: H = ln 4. b: a number. k: its buckets,
// 6 and 2. s: values x 4, y 2, z 2 of 8: H = ln 8 - (4 ln 4 + 2 * 2 ln 2) / 8 = 3/2 ln 2.
TEST_F(StatisticsPass, DensityIsTheLogarithmOfRowsPerEffectiveValue) {
  const std::string path = Write(
      "d.csv",
      "label,c,b,s\n0,p,1,x^x\n1,p,2,\n0,q,3,y\n1,q,4,z\n0,?,5,x^y\n1,,6,\n0,r,17,z\n1,r,18,x\n");
  const proto::JobConfig job = Job(
      StrCat("data { train: '", path, "' window_rows: 3 } ", kMgdin,
             "feature { name: 'c' missing: '?' } feature { name: 'b' type: NUMERIC } "
             "feature { name: 'k' column: 'b' type: NUMERIC numeric { bucket_width: 10 } } "
             "feature { name: 's' type: SEQUENCE } feature { name: 'given' column: 'c' density: 3 }"
             "feature { name: 'c.linear' column: 'c' role: LINEAR }"));
  ASSERT_TRUE(NeedsDensity(job));
  const Statistics statistics = Count(job);
  EXPECT_EQ(statistics.rows, 8u);
  ASSERT_EQ(statistics.density.size(), 6u);
  EXPECT_NEAR(statistics.density[0], std::log(2.0), 1e-14);
  EXPECT_NEAR(statistics.density[1], std::log(8.0), 1e-14);
  EXPECT_NEAR(statistics.density[2], std::log(8.0) + 0.75 * std::log(0.75) + 0.25 * std::log(0.25),
              1e-14);
  EXPECT_NEAR(statistics.density[3], 1.5 * std::log(2.0), 1e-14);
  EXPECT_TRUE(std::isnan(statistics.density[4]));
  EXPECT_TRUE(std::isnan(statistics.density[5]));
}

TEST_F(StatisticsPass, IsNeededByModelsThatOrderByDensityOnly) {
  const char* kFeature = "data {} feature { name: 'a' } ";
  for (const char* model :
       {"mgdin {}", "mgdin { order: DENSITY_REVERSED }", "mgdin { order: FILE schedule: GROUP }"})
    EXPECT_TRUE(NeedsDensity(Job(StrCat(kFeature, "model { ", model, " }")))) << model;
  for (const char* model : {"dlf {}", "mgdin { order: FILE }", "mgdin { order: RANDOM }"})
    EXPECT_FALSE(NeedsDensity(Job(StrCat(kFeature, "model { ", model, " }")))) << model;
  EXPECT_FALSE(NeedsDensity(Job(StrCat("data {} feature { name: 'a' density: 1 } ", kMgdin))));
}

TEST_F(StatisticsPass, RareValuesAreOneValue) {
  const std::string path =
      Write("d.csv", "label,c\n0,p\n0,p\n0,q\n0,r\n0,\n0,p\n0,s\n0,t\n");  // p 3, rare 4, missing 1
  const Statistics statistics = Count(
      Job(StrCat("data { train: '", path, "' } ", kMgdin, "feature { name: 'c' min_count: 2 }")));
  const double h = -(3. / 8 * std::log(3. / 8) + 0.5 * std::log(0.5) + 1. / 8 * std::log(1. / 8));
  EXPECT_NEAR(statistics.density[0], std::log(8.0) - h, 1e-14);
}

TEST_F(StatisticsPass, AVocabularyHoldsTheValuesThatReachTheCount) {
  const std::string path = Write("d.csv",
                                 "label,item,hist,day\n0,i1,i2^i3,1\n1,i2,i2,12\n0,i3,,13\n"
                                 "1,i4,i5^i5,21\n0,,,30\n0,,,40\n0,,,\n");
  const proto::JobConfig job =
      Job(StrCat("data { train: '", path,
                 "' } model { lr {} } feature { name: 'item' min_count: 2 } "
                 "feature { name: 'hist' table: 'item' type: SEQUENCE min_count: 3 } "
                 "feature { name: 'ten' column: 'day' type: NUMERIC numeric { bucket_width: 10 } "
                 "  min_count: 2 } feature { name: 'other' column: 'day' }"));
  ASSERT_TRUE(NeedsVocabulary(job));
  const Statistics statistics = Count(job);
  ASSERT_TRUE(CheckVocabulary(statistics.vocabulary, job).ok());
  EXPECT_EQ(statistics.vocabulary.sets(), 3u);
  // In both columns: i1 1, i2 3, i3 2, i4 1, i5 2.
  for (const char* item : {"i2", "i3", "i5"}) EXPECT_TRUE(Knows(statistics, "item", 2, item));
  for (const char* item : {"i1", "i4", "i6", ""}) EXPECT_FALSE(Knows(statistics, "item", 2, item));
  EXPECT_TRUE(Knows(statistics, "item", 3, "i2"));
  EXPECT_FALSE(Knows(statistics, "item", 3, "i3"));
  EXPECT_TRUE(Knows(statistics, "ten", 2, "1"));
  EXPECT_FALSE(Knows(statistics, "ten", 2, "2"));
}

TEST_F(StatisticsPass, ReadingWithTheVocabularySharesTheRareRow) {
  const std::string path = Write("d.csv", "label,a\n0,x\n1,y\n0,x\n1,z\n1,\n");
  const proto::JobConfig job =
      Job(StrCat("data { train: '", path, "' shuffle: false } feature { name: 'a' min_count: 2 }"));
  auto statistics = Count(job);
  DatasetOptions options;
  options.vocabulary = std::make_shared<Vocabulary>(std::move(statistics.vocabulary));
  auto dataset = Dataset::Make(job, proto::TRAIN, options);
  ASSERT_TRUE(dataset.ok());
  ASSERT_TRUE((*dataset)->OpenWindow(0, 0).ok());
  Batch batch;
  std::uint64_t bad = 0;
  ASSERT_TRUE((*dataset)->ReadBatch(0, 5, &batch, &bad).ok());
  const std::uint64_t salt = TableSalt("a");
  EXPECT_THAT(batch.unique_keys[0],
              testing::ElementsAre(KeyOf("x", salt), RareKey(salt), KeyOf("", salt)));
  EXPECT_THAT(batch.fields[0].index, testing::ElementsAre(0, 1, 0, 1, 2));
}

TEST_F(StatisticsPass, BadRowsAreErrorsOrLeftOut) {
  const std::string path = Write("d.csv", "label,a,b\n0,x,1\n0,x,one\n1,y,2\n");
  const std::string more = StrCat(kMgdin, "feature { name: 'm' column: 'a' min_count: 2 }");
  EXPECT_EQ(Message(CountStatistics(SmallJob(path, "", more)).status()),
            StrCat(path, ":3:5: column \"b\": \"one\" is not a number"));
  const Statistics statistics = Count(SmallJob(path, "bad_row: SKIP", more));
  EXPECT_EQ(statistics.rows, 2u);
  EXPECT_EQ(statistics.bad_rows, 1u);
  EXPECT_FALSE(Knows(statistics, "m", 2, "x"));
  EXPECT_NEAR(statistics.density[0], 0, 1e-14);
}

TEST_F(StatisticsPass, ManyValuesAreCountedExactly) {
  std::string content = "label,a\n";
  for (int i = 0; i < 30000; ++i) StrAppend(content, "0,", i % 10000 < 5000 ? i : i % 10000, "\n");
  const proto::JobConfig job =
      Job(StrCat("data { train: '", Write("d.csv", content),
                 "' window_rows: 7777 } feature { name: 'a' min_count: 3 }"));
  const Statistics statistics = Count(job);
  EXPECT_EQ(statistics.vocabulary.Find("a", 3)->size(), 5000u);
  EXPECT_TRUE(Knows(statistics, "a", 3, "9999"));
  EXPECT_FALSE(Knows(statistics, "a", 3, "4999"));
}

}  // namespace
}  // namespace cairn::worker
