#include "common/io/checksum.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "common/io/file.h"

namespace cairn {
namespace {

using testing::HasSubstr;

class SealedTextTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = JoinPath(testing::TempDir(), StrCat("cairn_sealed_", ::getpid()));
  }
  void TearDown() override { EXPECT_TRUE(RemoveTree(path_).ok()); }
  Result<std::string> OpenAs(std::string_view text) {
    EXPECT_TRUE(WriteFileAtomically(path_, text).ok());
    return OpenSealedText(path_);
  }
  std::string path_;
};

// Values of `xxhsum -H2`.
TEST(Checksum, AgreesWithXxhsum) {
  EXPECT_EQ(ChecksumOfBytes(""), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(ChecksumOfBytes("abc"), "06b05ab6733a618578af5f94892f3950");
}

TEST(Checksum, PiecesGiveTheSameAsTheWhole) {
  std::string bytes;
  for (int i = 0; i < 10000; ++i) bytes.push_back(static_cast<char>(i * 31 + i / 7));
  for (const std::size_t piece : {1, 3, 64, 255, 256, 257, 1024, 10000}) {
    Checksummer checksum;
    for (std::size_t i = 0; i < bytes.size(); i += piece) {
      checksum.Add(std::string_view(bytes).substr(i, piece));
    }
    EXPECT_EQ(checksum.Hex(), ChecksumOfBytes(bytes)) << piece;
    EXPECT_EQ(checksum.Hex(), ChecksumOfBytes(bytes)) << "asking twice";
  }
}

TEST_F(SealedTextTest, ChecksumOfAFile) {
  const std::string bytes((5 << 20) + 1, 'q');
  ASSERT_TRUE(WriteFileAtomically(path_, bytes).ok());
  EXPECT_EQ(ChecksumOfFile(path_).value(), ChecksumOfBytes(bytes));
  EXPECT_EQ(ChecksumOfFile(path_ + ".gone").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(SealedTextTest, RoundTrip) {
  EXPECT_EQ(OpenAs(SealText("a: 1\nb: 2\n")).value(), "a: 1\nb: 2\n");
  EXPECT_EQ(OpenAs(SealText("no line feed")).value(), "no line feed\n");
  EXPECT_EQ(OpenAs(SealText("")).value(), "");
  const std::string twice = SealText(SealText("x\n"));
  EXPECT_EQ(OpenAs(twice).value(), SealText("x\n"));
  const std::string zeros("\0\0\n", 3);
  EXPECT_EQ(OpenAs(SealText(zeros)).value(), zeros);
}

TEST_F(SealedTextTest, FormatIsOneCommentLine) {
  EXPECT_EQ(SealText("abc\n"), "abc\n# xxh3-128 " + ChecksumOfBytes("abc\n") + "\n");
}

TEST_F(SealedTextTest, EveryFlippedBitIsDataLoss) {
  const std::string sealed = SealText("name: \"job\"\nstep: 42\n");
  for (std::size_t i = 0; i < sealed.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = sealed;
      damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
      EXPECT_EQ(UnsealText(damaged, "f").status().code(), absl::StatusCode::kDataLoss)
          << "byte " << i << " bit " << bit;
    }
  }
}

TEST_F(SealedTextTest, EveryByteValueInTheSealIsDataLoss) {
  const std::string sealed = SealText("x\n");
  for (std::size_t i = 0; i < sealed.size(); ++i) {
    for (int value = 0; value < 256; ++value) {
      std::string damaged = sealed;
      damaged[i] = static_cast<char>(value);
      EXPECT_EQ(UnsealText(damaged, "f").ok(), damaged == sealed) << i << " " << value;
    }
  }
}

TEST_F(SealedTextTest, EveryTruncationIsDataLoss) {
  const std::string sealed = SealText("name: \"job\"\nstep: 42\n");
  for (std::size_t size = 0; size < sealed.size(); ++size) {
    EXPECT_EQ(UnsealText(sealed.substr(0, size), "f").status().code(), absl::StatusCode::kDataLoss)
        << size;
  }
}

TEST_F(SealedTextTest, AppendedBytesAreDataLoss) {
  const std::string sealed = SealText("x\n");
  for (const char* tail : {"\n", " ", "y", "# xxh3-128 \n"}) {
    EXPECT_EQ(UnsealText(sealed + tail, "f").status().code(), absl::StatusCode::kDataLoss) << tail;
  }
  EXPECT_EQ(UnsealText("x" + sealed, "f").status().code(), absl::StatusCode::kDataLoss);
  // A seal in the middle of a line is no seal, even with the right checksum.
  EXPECT_FALSE(UnsealText("x# xxh3-128 " + ChecksumOfBytes("x") + "\n", "f").ok());
}

TEST_F(SealedTextTest, ErrorsNameTheFile) {
  const Status damaged =
      OpenAs("not sealed at all, but long enough to hold a whole seal\n").status();
  EXPECT_EQ(damaged.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(damaged.message()), HasSubstr(path_));
  EXPECT_EQ(OpenAs("").status().code(), absl::StatusCode::kDataLoss);
  const Status gone = OpenSealedText(path_ + ".gone").status();
  EXPECT_EQ(gone.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(gone.message()), HasSubstr(path_ + ".gone"));
}

}  // namespace
}  // namespace cairn
