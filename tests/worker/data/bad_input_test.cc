// Every way in which a user's file can be wrong, with the exact message.
#include "tests/worker/data/data_fixture.h"

namespace cairn::worker {
namespace {

class BadInput : public DataFixture {
 protected:
  void ExpectError(const proto::JobConfig& job, absl::StatusCode code, const std::string& message,
                   proto::DataSplit split = proto::TRAIN) {
    const Status status = ReadAll(job, split);
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_EQ(Message(status), message);
  }
  void ExpectInvalid(const proto::JobConfig& job, const std::string& message,
                     proto::DataSplit split = proto::TRAIN) {
    ExpectError(job, absl::StatusCode::kInvalidArgument, message, split);
  }
  // A file with this content as the training set of SmallJob.
  void ExpectInvalidFile(std::string_view content, const std::string& message_after_path,
                         const std::string& name = "d.csv") {
    const std::string path = Write(name, content);
    ExpectInvalid(SmallJob(path), StrCat(path, message_after_path));
  }
};

TEST_F(BadInput, NoFileNamed) {
  ExpectInvalid(Job("data {} feature { name: 'a' }"), "data.train names no file");
  ExpectInvalid(Job("data {} feature { name: 'a' }"), "data.valid names no file", proto::VALID);
}

TEST_F(BadInput, PatternWithoutMatch) {
  const std::string pattern = Path("x*.csv");
  ExpectError(SmallJob(pattern), absl::StatusCode::kNotFound,
              StrCat("data.train \"", pattern, "\": no file matches"));
  ExpectError(SmallJob(pattern), absl::StatusCode::kNotFound,
              StrCat("data.test \"", pattern, "\": no file matches"), proto::TEST);
}

TEST_F(BadInput, MissingFile) {
  const std::string path = Path("gone.csv");
  ExpectError(SmallJob(path), absl::StatusCode::kNotFound,
              StrCat("data.train \"", path, "\": no file matches"));
}

TEST_F(BadInput, Directory) {
  ExpectInvalid(SmallJob(folder_), StrCat("data.train: ", folder_, " is a directory, not a file"));
}

TEST_F(BadInput, UnreadableFile) {
  const std::string path = Write("d.csv", "label,a,b\n0,x,1\n");
  std::filesystem::permissions(path, std::filesystem::perms::none);
  if (std::ifstream(path).good()) GTEST_SKIP() << "this user may read every file";
  ExpectInvalid(SmallJob(path), StrCat("data.train: cannot open ", path, ": Permission denied"));
}

TEST_F(BadInput, EmptyFile) {
  const std::string path = Write("d.csv", "");
  ExpectInvalid(SmallJob(path), StrCat("data.train: ", path, " is empty: it has no rows"));
}

TEST_F(BadInput, OnlyBlankLines) {
  ExpectInvalidFile("\n\r\n\n", " is empty: it has no header line");
}

TEST_F(BadInput, OnlyAHeader) {
  ExpectInvalidFile("label,a,b\n", " has no rows");
  ExpectInvalidFile("label,a,b", " has no rows");
  const std::string path = Write("d.csv", "label,a,b\n\n\n");
  ExpectInvalid(SmallJob(path), StrCat(path, " has no rows (data.valid)"), proto::VALID);
}

TEST_F(BadInput, LaterTrainingFileWithoutRows) {
  Write("a.csv", "label,a,b\n0,x,1\n");
  const std::string path = Write("b.csv", "label,a,b\n");
  ExpectInvalid(SmallJob(Path("*.csv")), StrCat(path, " has no rows"));
  EXPECT_TRUE(ReadAll(SmallJob(Path("*.csv")), proto::VALID).ok());
}

TEST_F(BadInput, MissingColumn) {
  ExpectInvalidFile("label,aa,b\n0,x,1\n",
                    " has no column \"a\", which feature \"a\" reads; did you mean \"aa\"?");
  ExpectInvalidFile("lable,a,b\n0,x,1\n",
                    " has no column \"label\", the label (data.label); did you mean \"lable\"?");
  ExpectInvalidFile("label,xyz,b\n0,x,1\n",
                    " has no column \"a\", which feature \"a\" reads; there are: label, xyz, b");
}

TEST_F(BadInput, MissingColumnInALaterFile) {
  Write("a.csv", "label,a,b\n0,x,1\n");
  const std::string path = Write("b.csv", "label,a,B\n0,x,1\n");
  ExpectInvalid(
      SmallJob(Path("*.csv")),
      StrCat(path, " has no column \"b\", which feature \"b\" reads; did you mean \"B\"?"));
}

TEST_F(BadInput, ColumnTwice) {
  ExpectInvalidFile("label,a,a,b\n0,x,y,1\n", " has column \"a\" twice");
}

TEST_F(BadInput, Label) {
  ExpectInvalidFile("label,a,b\n0,x,1\n2,y,1\n",
                    ":3:1: label column \"label\": \"2\" is neither 0 nor 1");
  ExpectInvalidFile("a,b,label\nx,1,\n", ":2:5: label column \"label\": \"\" is neither 0 nor 1");
  ExpectInvalidFile("a,b,label\nx,1,1e0\n",
                    ":2:5: label column \"label\": \"1e0\" is neither 0 nor 1");
  ExpectInvalidFile("a,b,label\nx,1,-1\n",
                    ":2:5: label column \"label\": \"-1\" is neither 0 nor 1");
}

TEST_F(BadInput, WrongNumberOfColumns) {
  ExpectInvalidFile("label,a,b\n0,x,1\n0,x\n", ":3:4: found 2 columns, expected 3");
  ExpectInvalidFile("label,a,b\n0,x,1,7,8\n", ":2:7: found 5 columns, expected 3");
  ExpectInvalidFile("label,a,b\n\"0\",x\n", ":2:6: found 2 columns, expected 3");
}

TEST_F(BadInput, NotANumber) {
  ExpectInvalidFile("label,a,b\n0,x,1\n0,x,abc\n", ":3:5: column \"b\": \"abc\" is not a number");
  for (const char* text : {"nan", "inf", "-inf", "NaN", "1x", "0x10", "--1", "+-1", ".", "-", "1 2",
                           "1,5", "1e", "\"\"\"\""})
    EXPECT_EQ(Message(ReadAll(SmallJob(Write("d.csv", StrCat("label;a;b\n0;x;", text, "\n")),
                                       "csv { delimiter: ';' }"))),
              StrCat(Path("d.csv"), ":2:5: column \"b\": \"",
                     std::string_view(text) == "\"\"\"\"" ? "\"" : text, "\" is not a number"));
  ExpectInvalidFile("label,a,b\n0,x,1e400\n", ":2:5: column \"b\": \"1e400\" is out of range");
  ExpectInvalidFile("label,a,b\n0,x,1e300\n", ":2:5: column \"b\": \"1e300\" is out of range");
}

TEST_F(BadInput, ColumnCountsCharactersAndLongTextIsCut) {
  ExpectInvalidFile(
      StrCat("label,a,b\n0,\xc3\xa4\xe2\x82\xac,", std::string(100, 'q'), "\n"),
      StrCat(":2:6: column \"b\": \"", std::string(40, 'q'), "...\" is not a number"));
  ExpectInvalidFile("label,a,b\n0,x,\x01\t!\n",
                    ":2:5: column \"b\": \"\\x01\\x09!\" is not a number");
}

TEST_F(BadInput, PositionInARowOfSeveralLines) {
  ExpectInvalidFile("label,a,b\n0,\"p\nq\nrs\",abc\n",
                    ":4:5: column \"b\": \"abc\" is not a number");
  ExpectInvalidFile("label,a,b\n0,\"p\nq\",1\n0,x,abc\n",
                    ":4:5: column \"b\": \"abc\" is not a number");
}

TEST_F(BadInput, Quotes) {
  ExpectInvalidFile("label,a,b\n0,\"x,1\n", ":2:3: the quote that opens here is not closed");
  ExpectInvalidFile("label,a,b\n0,\"x\"y,1\n", ":2:6: text follows a closing quote");
  ExpectInvalidFile("label,\"a,b\n0,x,1\n", ":1: the header's quotes do not match");
}

TEST_F(BadInput, RowTooLong) {
  const std::string huge(17 << 20, 'x');
  ExpectInvalidFile(StrCat("label,a,b\n0,x,1\n0,", huge, ",1\n"),
                    ":3: the row is longer than 16777215 bytes");
  ExpectInvalidFile(StrCat("label,a,b\n0,x,1\n0,\"", huge, ",1\n"),
                    ":3: the row is longer than 16777215 bytes (is a quote not closed?)");
}

TEST_F(BadInput, Utf16) {
  ExpectInvalidFile(std::string_view("\xff\xfel\0a\0b\0", 8),
                    " is UTF-16 text; convert it to UTF-8");
}

TEST_F(BadInput, TruncatedGzip) {
  std::string rows = "label,a,b\n";
  for (int i = 0; i < 5000; ++i) StrAppend(rows, i % 2, ",", i * 7919 % 10007, ",", i, "\n");
  const std::string packed = Gzip(rows);
  const std::string path = Write("d.csv.gz", packed);
  ASSERT_TRUE(ReadAll(SmallJob(path)).ok());
  for (std::size_t size = 2; size < packed.size(); size += size < 40 ? 1 : 997) {
    Write("d.csv.gz", packed.substr(0, size));
    const Status status = ReadAll(SmallJob(path));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << size;
    EXPECT_THAT(Message(status),
                testing::StartsWith(StrCat(path, ": truncated gzip at byte ", size, ", after ")));
  }
  Write("d.csv.gz", packed.substr(0, packed.size() - 1));
  EXPECT_EQ(Message(ReadAll(SmallJob(path))),
            StrCat(path, ": truncated gzip at byte ", packed.size() - 1, ", after ", rows.size(),
                   " unpacked bytes"));
}

TEST_F(BadInput, CorruptGzip) {
  const std::string packed = Gzip("label,a,b\n0,x,1\n1,y,2\n");
  for (std::size_t at = 10; at < packed.size(); ++at) {  // behind the header, which has no checksum
    if (at + 9 == packed.size()) continue;               // the data's last byte has unused bits
    std::string broken = packed;
    broken[at] = static_cast<char>(broken[at] ^ 0x10);
    const std::string path = Write("d.csv.gz", broken);
    const Status status = ReadAll(SmallJob(path));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << at;
    EXPECT_THAT(Message(status), testing::StartsWith(path)) << at;
  }
  std::string broken = packed;
  broken[broken.size() - 6] ^= 1;
  const std::string path = Write("d.csv.gz", broken);
  EXPECT_THAT(Message(ReadAll(SmallJob(path))),
              testing::StartsWith(StrCat(path, ": corrupt gzip (incorrect data check) at byte ")));
  Write("d.csv.gz", packed + "garbage");
  EXPECT_THAT(
      Message(ReadAll(SmallJob(path))),
      testing::StartsWith(StrCat(path, ": corrupt gzip (incorrect header check) at byte ")));
}

TEST_F(BadInput, GzipByNameOnly) {
  const std::string path = Write("d.csv.gz", "label,a,b\n0,x,1\n");
  ExpectInvalid(SmallJob(path), StrCat(path, " is named .gz but holds no gzip data"));
}

TEST_F(BadInput, OtherCompression) {
  const std::string path = Write("d.csv.zst", "\x28\xb5\x2f\xfd rest");
  ExpectInvalid(SmallJob(path),
                StrCat(path, " is zstd data; of compressed files only gzip is read"));
}

TEST_F(BadInput, UnknownFormat) {
  const std::string path = Write("d.csv", "label,a,b\n0,x,1\n");
  ExpectInvalid(SmallJob(path, "format: 'parquet'"),
                "data.format \"parquet\" is not known; known: csv");
}

TEST_F(BadInput, Dialect) {
  const std::string path = Write("d.csv", "label,a,b\n0,x,1\n");
  ExpectInvalid(SmallJob(path, "csv { delimiter: ',,' }"),
                "data.csv.delimiter must be one character of one byte, not an end of line");
  ExpectInvalid(SmallJob(path, "csv { quote: ',' }"),
                "data.csv.quote and data.csv.delimiter are the same");
}

TEST_F(BadInput, SkippedRowsAreCountedAndLeaveNoTrace) {
  const std::string path =
      Write("d.csv", "label,a,b,s\n0,x,1,u^v\n7,BAD,2,z\n1,y,oops,z^z\n1,short\n1,y,3,v^v\n");
  auto dataset = MakeOrDie(SmallJob(path, "bad_row: SKIP", "feature { name: 's' type: SEQUENCE }"));
  ASSERT_EQ(dataset->OpenWindow(0, 0)->rows, 5u);
  Batch batch;
  std::uint64_t bad = 0;
  ASSERT_TRUE(dataset->ReadBatch(0, 5, &batch, &bad).ok());
  EXPECT_EQ(bad, 3u);
  EXPECT_EQ(batch.rows, 2u);
  EXPECT_THAT(batch.labels, testing::ElementsAre(0, 1));
  EXPECT_THAT(batch.fields[0].index, testing::ElementsAre(0, 1));
  EXPECT_THAT(batch.fields[1].number, testing::ElementsAre(1, 3));
  EXPECT_THAT(batch.fields[2].offsets, testing::ElementsAre(0, 2, 4));
  EXPECT_THAT(batch.fields[2].index, testing::ElementsAre(0, 1, 1, 1));
  EXPECT_EQ(batch.unique_keys[0].size(), 2u);
  EXPECT_EQ(batch.unique_keys[1].size(), 2u);
}

TEST_F(BadInput, JoinedFile) {
  const std::string data = Write("d.csv", "label,a,b\n0,x,1\n1,y,2\n");
  const std::string join = StrCat("join { file: '", Path("j.csv"), "' key: 'a' }");
  const std::string feature = "feature { name: 'p' type: NUMERIC }";
  ExpectError(SmallJob(data, join, feature), absl::StatusCode::kNotFound,
              StrCat("data.join: cannot open ", Path("j.csv"), ": No such file or directory"));
  Write("j.csv", "A,p\nx,1\n");
  ExpectInvalid(SmallJob(data, join, feature),
                StrCat("data.join: ", Path("j.csv"),
                       " has no column \"a\", the key of its join; did you mean \"A\"?"));
  Write("j.csv", "a,p\nx,1\ny,2\nx,3\n");
  ExpectInvalid(
      SmallJob(data, join, feature),
      StrCat("data.join: ", Path("j.csv"),
             ":4:1: \"x\" occurs twice in column \"a\", the key of a join; first in line 2"));
  Write("j.csv", "a,p\nx,1,2\n");
  ExpectInvalid(SmallJob(data, join, feature),
                StrCat("data.join: ", Path("j.csv"), ":2:5: found 3 columns, expected 2"));
  Write("j.csv", "a,p\nx,1\ny,huge\n");
  ExpectInvalid(SmallJob(data, join, feature),
                StrCat(data, ":3:3: column \"p\" (joined from ", Path("j.csv"),
                       "): \"huge\" is not a number"));
  Write("j.csv", "a,p,b\nx,1,1\n");
  ExpectInvalid(SmallJob(data, join, feature), StrCat("column \"b\" of feature \"b\" is in ", data,
                                                      " and in the joined file ", Path("j.csv")));
  Write("j.csv", "a,q\nx,1\n");
  ExpectInvalid(
      SmallJob(data, join, feature),
      StrCat(data, " has no column \"p\", which feature \"p\" reads; there are: label, a, b, q"));
}

}  // namespace
}  // namespace cairn::worker
