#include "ps/table/row_layout.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "common/math/rng.h"

namespace cairn::ps {
namespace {

std::string Text(const EncodedRowKey& key) { return {key.data(), key.size()}; }

// Frozen: the worked example of docs/checkpoint_format.md.
TEST(RowLayout, BytesAreFrozen) {
  EXPECT_EQ(Text(EncodeRowKey({0x0102, 0x0003, 0x1122334455667788})),
            std::string("\x01\x02\x00\x03\x11\x22\x33\x44\x55\x66\x77\x88", 12));
  const RowLayout layout(2, 2);
  ASSERT_EQ(layout.RecordBytes(), 32u);
  alignas(64) std::byte record[64] = {};
  layout.Value(record)[0] = 1.0f;
  layout.Value(record)[1] = -0.5f;
  layout.State(record)[0] = 2.0f;
  layout.State(record)[1] = 0.25f;
  layout.SetMetadata(record, {.version = 3, .count = 4, .last_step = 0x0506});
  const unsigned char expected[32] = {0,    0, 0x80, 0x3f, 0,    0, 0, 0xbf, 0, 0, 0,
                                      0x40, 0, 0,    0x80, 0x3e, 3, 0, 0,    0, 4, 0,
                                      0,    0, 6,    5,    0,    0, 0, 0,    0, 0};
  EXPECT_EQ(std::memcmp(record, expected, sizeof expected), 0);
}

TEST(RowLayout, RecordsAreWholeCacheLinesInMemory) {
  EXPECT_EQ(RowLayout(16, 16).ValueBytes(), 64u);
  EXPECT_EQ(RowLayout(16, 16).RestBytes(), 80u);
  EXPECT_EQ(RowLayout(3, 0).RestBytes(), sizeof(RowMetadata));
}

TEST(RowLayout, ShortValuesTakeTwoBytesEachAndNothingElseChanges) {
  for (const Storage storage : {Storage::kBFloat16, Storage::kFloat16}) {
    const RowLayout layout(3, 2, storage);
    EXPECT_EQ(layout.ValueBytes(), 6u);
    EXPECT_EQ(layout.RestBytes(), 2 * 4 + sizeof(RowMetadata));
    EXPECT_EQ(layout.MetadataOffset(), 6u + 8u);
    EXPECT_EQ(layout.RecordBytes(), 6u + 8u + sizeof(RowMetadata));
    EXPECT_EQ(ParseStorage(StorageName(storage)), storage);
  }
  EXPECT_FALSE(ParseStorage("int8").has_value());
}

TEST(RowLayout, MetadataOfAnOddWidthIsKept) {
  const RowLayout layout(3, 0);
  alignas(64) std::byte record[64] = {};
  const RowMetadata metadata{1, 2, 0x123456789abcdef0};
  layout.SetMetadata(record, metadata);
  EXPECT_EQ(layout.Metadata(record), metadata);
}

TEST(RowLayout, CountsStayAtTheirMaximum) {
  const RowMetadata metadata = NextMetadata({0xffffffffu, 0xfffffffeu, 1}, 9);
  EXPECT_EQ(metadata, (RowMetadata{0xffffffffu, 0xffffffffu, 9}));
}

TEST(RowKey, RoundTripsAndSortsLikeItsBytes) {
  Rng rng(1, 1);
  std::vector<RowKey> keys;
  for (int i = 0; i < 1000; ++i) {
    keys.push_back({static_cast<std::uint16_t>(rng.NextBelow(3) * 0x101),
                    static_cast<std::uint16_t>(rng.NextBelow(300)),
                    rng.NextU64() >> rng.NextBelow(60)});
  }
  for (const RowKey& key : keys) EXPECT_EQ(DecodeRowKey(Text(EncodeRowKey(key))), key);
  std::ranges::sort(keys);
  EXPECT_TRUE(
      std::ranges::is_sorted(keys, {}, [](const RowKey& k) { return Text(EncodeRowKey(k)); }));
}

TEST(RowKey, OtherLengthsAreNoKeys) {
  const std::string bytes = Text(EncodeRowKey({1, 2, 3}));
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_FALSE(DecodeRowKey(bytes.substr(0, n)).has_value()) << n;
  }
  EXPECT_FALSE(DecodeRowKey(bytes + "x").has_value());
}

}  // namespace
}  // namespace cairn::ps
