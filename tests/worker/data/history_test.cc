// Histories, ages, crosses and groups from files.
#include "common/math/hash.h"
#include "tests/worker/data/data_fixture.h"

namespace cairn::worker {
namespace {

using testing::ElementsAre;

class History : public DataFixture {
 protected:
  static constexpr const char* kAge =
      "feature { name: 'age' column: 'days' type: SEQUENCE "
      "  numeric { until: 'day' transform: LOG2P bucket_width: 1 } "
      "  sequence { pooling: HISTORY max_length: 2 } } ";

  // The batch of all rows of the file in file order.
  static Batch Read(const proto::JobConfig& job, proto::DataSplit split = proto::TEST,
                    DatasetOptions options = {}) {
    auto dataset = Dataset::Make(job, split, options);
    EXPECT_TRUE(dataset.ok()) << dataset.status();
    Batch batch;
    std::uint64_t bad = 0;
    if (!dataset.ok()) return batch;
    EXPECT_TRUE((*dataset)->OpenWindow(0, 0).ok());
    const Status status = (*dataset)->ReadBatch(0, 100, &batch, &bad);
    EXPECT_TRUE(status.ok()) << status;
    return batch;
  }
};

TEST_F(History, AgesAreTheTargetsDayMinusTheEvents) {
  const std::string path = Write("d.csv", "label,a,b,day,days\n1,x,1,10,3^9^10\n0,y,2,10,\n");
  const Batch batch = Read(SmallJob(path, "", kAge));
  const std::uint64_t salt = TableSalt("age");
  EXPECT_THAT(batch.unique_keys[1], ElementsAre(KeyOf("1", salt), KeyOf("0", salt)));
  EXPECT_THAT(batch.fields[2].offsets, ElementsAre(0, 2, 2));
}

TEST_F(History, UntilMayComeFromAJoin) {
  const std::string path = Write("d.csv", "label,a,b,days,user\n1,x,1,3^9,u\n");
  Write("j.csv", "user,day\nu,12\n");
  const Batch batch = Read(
      SmallJob(path, StrCat("join { file: '", Path("j.csv"), "' key: 'user' on: 'user' }"), kAge));
  const std::uint64_t salt = TableSalt("age");
  EXPECT_THAT(batch.unique_keys[1], ElementsAre(KeyOf("3", salt), KeyOf("2", salt)));
}

TEST_F(History, AColumnThatIsMissingIsNamedWithItsReader) {
  const std::string path = Write("d.csv", "label,a,b,days,dya\n1,x,1,3^9,5\n");
  EXPECT_EQ(Message(ReadAll(SmallJob(path, "", kAge))),
            StrCat(path, " has no column \"day\", which numeric.until of feature \"age\" reads; ",
                   "did you mean \"days\"?"));
  EXPECT_EQ(Message(ReadAll(SmallJob(path, "group: 'user' "))),
            StrCat(path, " has no column \"user\", which data.group reads; ",
                   "there are: label, a, b, days, dya"));
}

TEST_F(History, AValueThatIsNoNumberIsABadRow) {
  const std::string path =
      Write("d.csv", "label,a,b,day,days\n1,x,1,10,3^9\n0,x,1,10,3^nine\n1,x,1,ten,3\n1,z,1,5,1\n");
  EXPECT_EQ(Message(ReadAll(SmallJob(path, "", kAge))),
            StrCat(path, ":3:10: column \"days\": \"nine\" is not a number"));
  auto dataset = MakeOrDie(SmallJob(path, "bad_row: SKIP group: 'a' ", kAge));
  ASSERT_TRUE(dataset->OpenWindow(0, 0).ok());
  Batch batch;
  std::uint64_t bad = 0;
  ASSERT_TRUE(dataset->ReadBatch(0, 4, &batch, &bad).ok());
  EXPECT_EQ(bad, 2u);
  EXPECT_THAT(batch.groups, ElementsAre(GroupOf("x"), GroupOf("z")));
  EXPECT_THAT(batch.fields[2].offsets, ElementsAre(0, 2, 3));
}

TEST_F(History, GroupsAreThoseOfTheRowsInVisitingOrder) {
  std::string content = "label,a,b,user\n";
  for (int i = 0; i < 50; ++i) StrAppend(content, "0,x,", i, ",u", i, "\n");
  proto::JobConfig job = SmallJob(Write("d.csv", content), "group: 'user' ");
  job.mutable_data()->set_shuffle(true);
  const Batch batch = Read(job, proto::TRAIN);
  ASSERT_EQ(batch.groups.size(), 50u);
  bool is_shuffled = false;
  for (std::size_t i = 0; i < 50; ++i) {
    const int row = static_cast<int>(batch.fields[1].number[i]);
    EXPECT_EQ(batch.groups[i], GroupOf(StrCat("u", row)));
    is_shuffled = is_shuffled || row != static_cast<int>(i);
  }
  EXPECT_TRUE(is_shuffled);
}

TEST_F(History, GroupsMayComeFromAJoinAndAreNotReadWithoutLabels) {
  const std::string path = Write("d.csv", "a,b,item\nx,1,i1\ny,2,i2\n");
  Write("j.csv", "item,shop\ni1,s\ni2,s\n");
  const std::string join = StrCat("join { file: '", Path("j.csv"), "' key: 'item' on: 'item' }");
  EXPECT_THAT(Read(SmallJob(path, StrCat("label: 'b' group: 'shop' bad_row: SKIP ", join))).groups,
              ElementsAre(GroupOf("s")));
  DatasetOptions options;
  options.label_optional = true;
  const Batch batch = Read(SmallJob(path, "group: 'nowhere' "), proto::TEST, options);
  EXPECT_EQ(batch.rows, 2u);
  EXPECT_TRUE(batch.groups.empty());
}

TEST_F(History, CrossesNeedNoColumn) {
  const std::string path = Write("d.csv", "label,a,b\n1,x,1\n0,y,1\n1,x,2\n1,x,1\n");
  proto::JobConfig job =
      SmallJob(path, "",
               "feature { name: 'c' table: 'c' type: NUMERIC column: 'b' numeric { bucket_width: "
               "1 } } feature { name: 'ac' type: CROSS of: 'a' of: 'c' }");
  const Batch batch = Read(job);
  EXPECT_THAT(batch.fields[3].index, ElementsAre(0, 1, 2, 0));
}

}  // namespace
}  // namespace cairn::worker
