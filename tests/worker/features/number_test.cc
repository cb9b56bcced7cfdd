#include "worker/features/number.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "common/base/str_cat.h"

namespace cairn::worker {
namespace {

TEST(ParseNumber, IsTheNearestDoubleAsStrtodGivesIt) {
  const unsigned seed = testing::UnitTest::GetInstance()->random_seed() + 20261121u;
  SCOPED_TRACE(seed);
  srand(seed);
  for (int round = 0; round < 200000; ++round) {
    std::string text = rand() % 4 == 0 ? "-" : "";
    const int before = rand() % 12;
    const int after = rand() % 12;
    for (int i = 0; i < before; ++i) text += static_cast<char>('0' + rand() % 10);
    if (after > 0 || rand() % 2 == 0) text += '.';
    for (int i = 0; i < after; ++i) text += static_cast<char>('0' + rand() % 10);
    if (before + after == 0) continue;
    if (rand() % 8 == 0) StrAppend(text, "e", rand() % 40 - 20);
    double value = 0;
    ASSERT_EQ(ParseNumber(text, &value), NumberError::kNone) << text;
    ASSERT_EQ(value, std::strtod(text.c_str(), nullptr)) << text;
  }
}

TEST(ParseNumber, LongDigits) {
  for (const char* text : {"123456789012345678901234567890", "0.1234567890123456789",
                           "9007199254740993", "999999999999999", "9999999999999999",
                           ".999999999999999", "1.7976931348623157e308", "5e-324"}) {
    double value = 0;
    ASSERT_EQ(ParseNumber(text, &value), NumberError::kNone) << text;
    EXPECT_EQ(value, std::strtod(text, nullptr)) << text;
  }
}

TEST(ParseNumber, SignsAndSpaces) {
  double value = 0;
  EXPECT_EQ(ParseNumber(" \t+1.5 ", &value), NumberError::kNone);
  EXPECT_EQ(value, 1.5);
  EXPECT_EQ(ParseNumber("-0", &value), NumberError::kNone);
  EXPECT_EQ(value, 0);
}

TEST(ParseNumber, RefusesEverythingElse) {
  double value = 0;
  for (const char* text : {"", " ", ".", "-", "+", "+-1", "-+1", "1.2.3", "1e", "e5", "1x", "nan",
                           "inf", "-infinity", "0x1p3", "1 2", "1,0", "\xef\xbc\x91"})
    EXPECT_EQ(ParseNumber(text, &value), NumberError::kNotANumber) << text;
  EXPECT_EQ(ParseNumber("1e999", &value), NumberError::kOutOfRange);
  EXPECT_EQ(ParseNumber("-1e999", &value), NumberError::kOutOfRange);
}

}  // namespace
}  // namespace cairn::worker
