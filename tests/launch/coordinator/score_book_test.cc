#include "launch/coordinator/score_book.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cairn::launch {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::string Bytes(std::initializer_list<float> logits) {
  return std::string(reinterpret_cast<const char*>(logits.begin()), logits.size() * sizeof(float));
}

TEST(ScoreBook, PutsPiecesInRowOrder) {
  ScoreBook book;
  ASSERT_TRUE(book.Add(8, Bytes({3}), std::string("\1", 1)).ok());
  ASSERT_TRUE(book.Add(4, Bytes({}), "").ok());
  ASSERT_TRUE(book.Add(0, Bytes({1, 2}), std::string("\0\1", 2)).ok());
  const ScoreBook::Scores scores = book.Take();
  EXPECT_THAT(scores.logits, ElementsAre(1, 2, 3));
  EXPECT_THAT(scores.labels, ElementsAre(0, 1, 1));
  EXPECT_THAT(book.Take().labels, IsEmpty());
}

TEST(ScoreBook, GroupsStayWithTheirRows) {
  ScoreBook book;
  const auto groups = [](std::initializer_list<std::uint64_t> list) {
    return std::string(reinterpret_cast<const char*>(list.begin()), list.size() * 8);
  };
  ASSERT_TRUE(book.Add(2, Bytes({3}), std::string("\1", 1), groups({1ull << 63})).ok());
  ASSERT_TRUE(book.Add(0, Bytes({1, 2}), std::string("\0\1", 2), groups({7, 9})).ok());
  EXPECT_THAT(book.Take().groups, ElementsAre(7, 9, 1ull << 63));
}

TEST(ScoreBook, RefusesWrongLengthsAndLabels) {
  ScoreBook book;
  EXPECT_TRUE(absl::IsInvalidArgument(book.Add(0, Bytes({1}), std::string(2, '\0'))));
  EXPECT_TRUE(absl::IsInvalidArgument(book.Add(0, Bytes({1}), "\2")));
  EXPECT_TRUE(absl::IsInvalidArgument(book.Add(0, Bytes({1}), "\1", "1234567")));
  EXPECT_THAT(book.Take().labels, IsEmpty());
}

}  // namespace
}  // namespace cairn::launch
