#include "common/base/str_cat.h"

#include <gtest/gtest.h>

namespace cairn {
namespace {

TEST(StrCat, JoinsTextAndNumbers) {
  EXPECT_EQ(
      StrCat("row ", 3, ':', std::string_view("x"), ' ', 0.5, ' ', true, ' ', std::string("s")),
      "row 3:x 0.5 true s");
  EXPECT_EQ(StrCat(), "");
}

TEST(StrCat, NumbersReadBackEqual) {
  EXPECT_EQ(std::stod(StrCat(0.1 + 0.2)), 0.1 + 0.2);
  EXPECT_EQ(StrCat(~0ull), "18446744073709551615");
  EXPECT_EQ(StrCat(-5), "-5");
}

}  // namespace
}  // namespace cairn
