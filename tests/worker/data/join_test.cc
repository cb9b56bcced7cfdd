#include "common/math/hash.h"
#include "tests/worker/data/data_fixture.h"

namespace cairn::worker {
namespace {

using testing::ElementsAre;

class Join : public DataFixture {};

TEST_F(Join, LooksUpTheColumnsOfEachRow) {
  const std::string data =
      Write("d.csv", "label,a,b,item\n0,x,1,i2\n1,y,2,i1\n1,z,3,unknown\n0,x,4,i2\n");
  Write("j.csv.gz", Gzip("price,id,tags\n10,i1,p^q\n,i2,\"q,r\"\n7,i3,\n"));
  auto dataset = MakeOrDie(
      SmallJob(data, StrCat("join { file: '", Path("j.csv.gz"), "' key: 'id' on: 'item' }"),
               "feature { name: 'price' type: NUMERIC numeric { missing_value: -1 } }"
               "feature { name: 'tags' type: SEQUENCE } feature { name: 'item' }"));
  ASSERT_TRUE(dataset->OpenWindow(0, 0).ok());
  Batch batch;
  std::uint64_t bad = 0;
  ASSERT_TRUE(dataset->ReadBatch(0, 4, &batch, &bad).ok());
  EXPECT_THAT(batch.fields[2].number, ElementsAre(-1, 10, -1, -1));
  EXPECT_THAT(batch.fields[3].offsets, ElementsAre(0, 1, 3, 3, 4));
  const std::uint64_t salt = TableSalt("tags");
  EXPECT_THAT(batch.unique_keys[1],
              ElementsAre(KeyOf("q,r", salt), KeyOf("p", salt), KeyOf("q", salt)));
  EXPECT_THAT(batch.fields[3].index, ElementsAre(0, 1, 2, 0));
  EXPECT_THAT(batch.fields[4].index, ElementsAre(0, 1, 2, 0));
}

TEST_F(Join, SeveralJoinsOnOneColumn) {
  const std::string data = Write("d.csv", "label,a,b\n0,x,1\n1,y,2\n");
  Write("j1.csv", "a,p\nx,10\ny,20\n");
  Write("j2.csv", "key,q\ny,200\nx,100\n");
  auto dataset = MakeOrDie(
      SmallJob(data,
               StrCat("join { file: '", Path("j1.csv"), "' key: 'a' } join { file: '",
                      Path("j2.csv"), "' key: 'key' on: 'a' }"),
               "feature { name: 'q' type: NUMERIC } feature { name: 'p' type: NUMERIC }"));
  ASSERT_TRUE(dataset->OpenWindow(0, 0).ok());
  Batch batch;
  std::uint64_t bad = 0;
  ASSERT_TRUE(dataset->ReadBatch(0, 2, &batch, &bad).ok());
  EXPECT_THAT(batch.fields[2].number, ElementsAre(100, 200));
  EXPECT_THAT(batch.fields[3].number, ElementsAre(10, 20));
}

}  // namespace
}  // namespace cairn::worker
