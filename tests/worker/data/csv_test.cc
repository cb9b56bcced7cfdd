// The CSV dialect: each way to write the same rows gives the same batch.
#include "tests/worker/data/data_fixture.h"
#include "worker/data/csv_splitter.h"

namespace cairn::worker {
namespace {

using testing::ElementsAre;

class Csv : public DataFixture {
 protected:
  // Values of a, as keys, and of b.
  struct Rows {
    std::vector<std::uint64_t> a;
    std::vector<float> b;
    std::vector<float> labels;
    bool operator==(const Rows&) const = default;
  };
  Rows Read(const proto::JobConfig& job) {
    Rows rows;
    auto dataset = MakeOrDie(job);
    if (dataset == nullptr) return rows;
    const auto info = dataset->OpenWindow(0, 0);
    EXPECT_TRUE(info.ok()) << info.status();
    Batch batch;
    std::uint64_t bad = 0;
    const Status status = dataset->ReadBatch(0, info.ok() ? info->rows : 0, &batch, &bad);
    EXPECT_TRUE(status.ok()) << status;
    return {Keys(batch, 0), batch.fields[1].number, batch.labels};
  }
  Rows ReadText(std::string_view content, const std::string& data = "") {
    return Read(SmallJob(Write("d.csv", content), data));
  }
};

TEST_F(Csv, SameRowsHoweverTheyAreWritten) {
  const Rows plain = ReadText("label,a,b\n0,x,1\n1,y,-2.5\n1,,3e1\n");
  EXPECT_EQ(plain.a.size(), 3u);
  EXPECT_THAT(plain.b, ElementsAre(1, -2.5f, 30));
  EXPECT_THAT(plain.labels, ElementsAre(0, 1, 1));
  EXPECT_EQ(ReadText("label,a,b\r\n0,x,1\r\n1,y,-2.5\r\n1,,3e1\r\n"), plain) << "CRLF";
  EXPECT_EQ(ReadText("label,a,b\n0,x,1\n1,y,-2.5\n1,,3e1"), plain) << "no final newline";
  EXPECT_EQ(ReadText("label,a,b\r\n0,x,1\r\n1,y,-2.5\r\n1,,3e1\r"), plain) << "half a final CRLF";
  EXPECT_EQ(ReadText("\xef\xbb\xbflabel,a,b\n0,x,1\n1,y,-2.5\n1,,3e1\n"), plain) << "BOM";
  EXPECT_EQ(ReadText("\n\nlabel,a,b\n\n0,x,1\n\r\n1,y,-2.5\n\n\n1,,3e1\n\n"), plain) << "blanks";
  EXPECT_EQ(ReadText("\"label\",\"a\",b\n0,\"x\",1\n\"1\",y,\"-2.5\"\n1,\"\",3e1\n"), plain);
  EXPECT_EQ(ReadText("b,unused,label,a\n1,,0,x\n-2.5,z,1,y\n3e1,\"q,\"\"r\n\",1,\n"), plain);
  EXPECT_EQ(ReadText("label\ta\tb\n0\tx\t1\n1\ty\t-2.5\n1\t\t3e1\n", "csv { delimiter: '\\t' }"),
            plain);
  EXPECT_EQ(ReadText("0,x, +1\n1.0,y,-2.5 \n1,,30.0\n",
                     "csv { header: false column: ['label', 'a', 'b'] }"),
            plain);
}

TEST_F(Csv, GzipEqualsPlain) {
  std::string text = "label,a,b\n";
  for (int i = 0; i < 20000; ++i) StrAppend(text, i % 2, ",", i * 7919 % 10007, ",", i, "\n");
  const Rows plain = ReadText(text);
  ASSERT_EQ(plain.a.size(), 20000u);
  EXPECT_EQ(Read(SmallJob(Write("d.csv.gz", Gzip(text)))), plain);
  EXPECT_EQ(Read(SmallJob(Write("named_otherwise", Gzip(text)))), plain);
  std::string members;
  for (std::size_t at = 0; at < text.size(); at += 10001)
    members += Gzip(text.substr(at, 10001)) + Gzip("");
  EXPECT_EQ(Read(SmallJob(Write("d.csv.gz", members))), plain) << "several members";
  EXPECT_EQ(Read(SmallJob(Write("d.csv.gz", members + std::string(700, '\0')))), plain);
}

TEST_F(Csv, RowsThatCrossEveryBufferBoundary) {
  // Rows of many lengths over more than the reader's buffer, with and without quotes.
  std::string plain = "label,a,b\n";
  std::string quoted = plain;
  std::vector<float> numbers;
  for (int i = 0; plain.size() < 700000; ++i) {
    const std::string a(static_cast<std::size_t>(i * 131 % 977), static_cast<char>('a' + i % 26));
    StrAppend(plain, "0,", a, ",", i, "\n");
    StrAppend(quoted, "0,\"", a, "\",\"", i, "\"\n");
    numbers.push_back(static_cast<float>(i));
  }
  const Rows rows = ReadText(plain);
  EXPECT_EQ(rows.b, numbers);
  EXPECT_EQ(ReadText(quoted), rows);
}

TEST_F(Csv, FilesOfASplitAreReadInSortedOrderAndMapTheirColumnsByName) {
  Write("2.csv", "b,label,a\n3,1,z\n");
  Write("10.csv", "label,a,b\n0,x,1\n");
  Write("11.csv.gz", Gzip("a,b,label,more\ny,2,1,?\n"));
  const Rows rows = Read(SmallJob(Path("*.csv*")));
  EXPECT_THAT(rows.b, ElementsAre(1, 2, 3));
  EXPECT_THAT(rows.labels, ElementsAre(0, 1, 1));
  proto::JobConfig twice = SmallJob(Path("*.csv*"));
  twice.mutable_data()->add_train(Path("2.csv"));
  EXPECT_EQ(Read(twice), rows) << "a file that two patterns match is read once";
}

TEST_F(Csv, AFileWhoseNameLooksLikeAGlob) {
  const std::string path = Write("odd[1].csv", "label,a,b\n0,x,7\n");
  EXPECT_THAT(Read(SmallJob(path)).b, ElementsAre(7));
}

TEST_F(Csv, LabelMayBeMissingForScoring) {
  const proto::JobConfig job = SmallJob(Write("d.csv", "a,b\nx,1\ny,2\n"));
  EXPECT_FALSE(Dataset::Make(job, proto::TEST).ok());
  auto dataset = Dataset::Make(job, proto::TEST, {.label_optional = true});
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_FALSE((*dataset)->has_label());
  ASSERT_EQ((*dataset)->OpenWindow(0, 0)->rows, 2u);
  Batch batch;
  std::uint64_t bad = 0;
  ASSERT_TRUE((*dataset)->ReadBatch(0, 2, &batch, &bad).ok());
  EXPECT_THAT(batch.labels, ElementsAre(0, 0));
  auto empty =
      Dataset::Make(SmallJob(Write("e.csv", "a,b\n")), proto::TEST, {.label_optional = true});
  ASSERT_TRUE(empty.ok());
  EXPECT_EQ((*empty)->OpenWindow(0, 0)->rows, 0u);
  EXPECT_TRUE((*empty)->OpenWindow(0, 0)->last);
}

// Splits as CsvSplitter does, by the grammar alone: one byte at a time.
bool ReferenceSplit(std::string_view record, std::vector<std::string>* fields) {
  fields->assign(1, "");
  enum { kStart, kPlain, kQuoted, kClosed } state = kStart;
  for (const char c : record) {
    if (state == kQuoted) {
      if (c == '"') {
        state = kClosed;
      } else {
        fields->back() += c;
      }
    } else if (c == ',') {
      fields->emplace_back();
      state = kStart;
    } else if (state == kClosed) {
      if (c != '"') return false;
      fields->back() += c;
      state = kQuoted;
    } else if (state == kStart && c == '"') {
      state = kQuoted;
    } else {
      fields->back() += c;
      state = kPlain;
    }
  }
  return state != kQuoted;
}

TEST(CsvSplitter, AgreesWithABytewiseReferenceOnRandomRecords) {
  const unsigned seed = testing::UnitTest::GetInstance()->random_seed() + 20261121u;
  SCOPED_TRACE(seed);
  srand(seed);
  CsvSplitter splitter({});
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    constexpr std::string_view kAlphabets[] = {"ab,", "a,\"", "abcdefgh,", "a,\"b\n"};
    const std::string_view alphabet = kAlphabets[round % 4];
    std::string record(static_cast<std::size_t>(rand() % (round % 3 == 0 ? 300 : 12)), ' ');
    for (char& c : record) c = alphabet[static_cast<std::size_t>(rand()) % alphabet.size()];
    std::vector<std::string> expected;
    const bool valid = ReferenceSplit(record, &expected);
    for (const std::size_t columns : {expected.size() - 1, expected.size(), expected.size() + 1}) {
      if (columns == 0) continue;
      std::vector<std::string_view> fields(columns);
      const bool split = splitter.Split(record, fields);
      ASSERT_EQ(split, valid && columns == expected.size()) << record;
      if (!split) {
        EXPECT_LE(splitter.Explain(record, columns).offset, record.size());
        continue;
      }
      ++accepted;
      ASSERT_EQ(std::vector<std::string>(fields.begin(), fields.end()), expected) << record;
      for (std::size_t i = 0; i < columns; ++i) {
        const std::size_t at = splitter.FieldOffset(record, i);
        ASSERT_TRUE(at == 0 || record[at - 1] == ',') << record;
      }
    }
  }
  EXPECT_GT(accepted, 5000);
}

TEST(CsvSplitter, FindsTheEndOfARecordAtAnyPrefix) {
  const CsvDialect dialect;
  const std::string text = "a,\"b\n\"\"c\n\",d\"e\nrest";
  const std::size_t end = text.find("\nrest");
  for (std::size_t size = 0; size <= text.size(); ++size) {
    const std::size_t found = FindRecordEnd(std::string_view(text).substr(0, size), dialect, true);
    EXPECT_EQ(found, size > end ? end : std::string_view::npos) << size;
  }
  EXPECT_EQ(FindRecordEnd(text, {',', std::nullopt}, true), text.find('\n'));
}

}  // namespace
}  // namespace cairn::worker
