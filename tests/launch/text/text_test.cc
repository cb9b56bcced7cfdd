#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "launch/text/human.h"
#include "launch/text/json.h"
#include "launch/text/table.h"

namespace cairn::launch {
namespace {

TEST(JsonQuote, EscapesAndReplacesBrokenUtf8) {
  EXPECT_EQ(JsonQuote("a\"b\\c\n\t\x01"), "\"a\\\"b\\\\c\\n\\t\\u0001\"");
  EXPECT_EQ(JsonQuote("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"),
            "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"");
  EXPECT_EQ(JsonQuote("a\xff"), "\"a\xef\xbf\xbd\"");
  EXPECT_EQ(JsonQuote("\xc0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\"");  // overlong
  EXPECT_EQ(JsonQuote("\xed\xa0\x80").size(), 2u + 9u);              // surrogate
  EXPECT_EQ(JsonQuote("\xe2\x82"), "\"\xef\xbf\xbd\xef\xbf\xbd\"");  // cut off
}

TEST(JsonWriter, NestsAndKeepsOrder) {
  JsonWriter json;
  json.BeginObject();
  json.Key("z").Uint(std::numeric_limits<std::uint64_t>::max());
  json.Key("a").BeginArray().Inline().Float(0.1f).Double(-2).Bool(true).Null().EndArray();
  json.Key("empty").BeginArray().EndArray();
  json.Key("o").BeginObject().Key("nan").Double(std::nan("")).EndObject();
  json.EndObject();
  EXPECT_EQ(json.Take(),
            "{\n  \"z\": 18446744073709551615,\n  \"a\": [0.1, -2, true, null],\n"
            "  \"empty\": [],\n  \"o\": {\n    \"nan\": \"nan\"\n  }\n}\n");
}

TEST(Human, CountsBytesAndTimes) {
  EXPECT_EQ(HumanCount(0), "0");
  EXPECT_EQ(HumanCount(999), "999");
  EXPECT_EQ(HumanCount(1234567), "1 234 567");
  EXPECT_EQ(CountOf(1, "row"), "1 row");
  EXPECT_EQ(CountOf(2000, "row"), "2 000 rows");
  EXPECT_EQ(HumanBytes(1023), "1023 B");
  EXPECT_EQ(HumanBytes(1536), "1.5 KiB");
  EXPECT_EQ(HumanBytes(1024 * 1024 - 1), "1.0 MiB");
  EXPECT_EQ(HumanBytes(std::numeric_limits<std::uint64_t>::max()), "16.0 EiB");
  EXPECT_EQ(HumanSeconds(-1), "0.0 s");
  EXPECT_EQ(HumanSeconds(59.94), "59.9 s");
  EXPECT_EQ(HumanSeconds(59.96), "1 min 00 s");
  EXPECT_EQ(HumanSeconds(3599.6), "1 h 00 min");
  EXPECT_EQ(HumanSeconds(90000), "1 d 01 h");
  EXPECT_EQ(HumanLatency(-1), "0 us");
  EXPECT_EQ(HumanLatency(85.4e-6), "85 us");
  EXPECT_EQ(HumanLatency(999.6e-6), "1.00 ms");
  EXPECT_EQ(HumanLatency(1.236e-3), "1.24 ms");
  EXPECT_EQ(HumanLatency(9.996e-3), "10.0 ms");
  EXPECT_EQ(HumanLatency(0.0309), "30.9 ms");
  EXPECT_EQ(HumanLatency(0.2041), "204 ms");
  EXPECT_EQ(HumanLatency(0.9996), "1.00 s");
  EXPECT_EQ(HumanLatency(15.2), "15.2 s");
  EXPECT_EQ(HumanLatency(59.96), "1 min 00 s");
}

TEST(Table, AlignsForPeopleAndIsExactForPrograms) {
  Table table({{"name"}, {"rows", true}});
  table.AddRow({"a,\"b\"", Cell("1 234", "1234")});
  table.AddRow({"\xc3\xa9", "5"});
  EXPECT_EQ(table.Aligned(" "), " name    rows\n a,\"b\"  1 234\n \xc3\xa9          5\n");
  EXPECT_EQ(table.Csv(), "name,rows\n\"a,\"\"b\"\"\",1234\n\xc3\xa9,5\n");
}

}  // namespace
}  // namespace cairn::launch
