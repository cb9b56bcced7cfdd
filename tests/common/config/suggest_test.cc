#include "common/config/suggest.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace cairn {
namespace {

TEST(EditDistance, CountsEdits) {
  EXPECT_EQ(EditDistance("", ""), 0u);
  EXPECT_EQ(EditDistance("", "abc"), 3u);
  EXPECT_EQ(EditDistance("abc", ""), 3u);
  EXPECT_EQ(EditDistance("epochz", "epochs"), 1u);
  EXPECT_EQ(EditDistance("epoch", "epochs"), 1u);
  EXPECT_EQ(EditDistance("eopchs", "epochs"), 1u) << "a swap is one edit";
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3u);
  EXPECT_EQ(EditDistance("EPOCHS", "epochs"), 0u);
  EXPECT_EQ(EditDistance("ca", "abc"), 3u) << "no edit inside a swapped pair";
}

TEST(NearestName, TakesTheNearestAndTheFirstOfEquals) {
  const std::vector<std::string> names = {"batch_size", "epochs", "threads", "ab", "ac"};
  EXPECT_EQ(NearestName("epochz", names), "epochs");
  EXPECT_EQ(NearestName("Thread", names), "threads");
  EXPECT_EQ(NearestName("batch", names), "batch_size") << "the beginning of a name";
  EXPECT_EQ(NearestName("ad", names), "ab");
  EXPECT_EQ(NearestName("ac", names), "ac");
  EXPECT_EQ(NearestName("learning_rate", names), "");
  EXPECT_EQ(NearestName("", names), "");
  EXPECT_EQ(NearestName("x", names), "");
  EXPECT_EQ(NearestName(std::string(100000, 'a'), names), "");
  EXPECT_EQ(NearestName("epochs", {}), "");
}

TEST(DidYouMean, IsAQuestionOrNothing) {
  const std::vector<std::string> names = {"epochs"};
  EXPECT_EQ(DidYouMean("epoch", names), "; did you mean \"epochs\"?");
  EXPECT_EQ(DidYouMean("label", names), "");
}

}  // namespace
}  // namespace cairn
