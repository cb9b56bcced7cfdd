#include "ps/dense/dense_format.h"

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

namespace cairn::ps {
namespace {

// Frozen: the worked example of docs/checkpoint_format.md.
TEST(DenseFormat, BytesAreFrozen) {
  EXPECT_EQ(EncodeDenseKey({0x0203, "w", 5}), std::string("\x02\x03w\0\0\0\5", 7));
  const RowLayout layout(1, 0);
  alignas(64) std::byte body[64] = {};
  layout.Value(body)[0] = 1.0f;
  layout.SetMetadata(body, {.version = 1, .count = 1, .last_step = 7});
  EXPECT_EQ(EncodeDenseRecord(layout, body),
            std::string("\1\0\0\0\0\0\0\0\0\0\x80\x3f\1\0\0\0\1\0\0\0\7\0\0\0\0\0\0\0", 28));
}

TEST(DenseFormat, KeysRoundTripAndSortBySlotAndChunk) {
  std::vector<std::string> encoded;
  for (const std::uint16_t slot : {0, 1, 255, 256, 65535}) {
    for (const std::uint32_t chunk : {0u, 1u, 255u, 256u, 0xffffffffu}) {
      const DenseKey key{slot, "layer.1/weight", chunk};
      encoded.push_back(EncodeDenseKey(key));
      EXPECT_EQ(DecodeDenseKey(encoded.back()).value(), key);
    }
  }
  EXPECT_TRUE(std::ranges::is_sorted(encoded));
}

TEST(DenseFormat, ShortKeysAreDataLoss) {
  const std::string key = EncodeDenseKey({1, "w", 2});
  for (std::size_t n = 0; n < key.size(); ++n) {
    EXPECT_EQ(DecodeDenseKey(key.substr(0, n)).status().code(), absl::StatusCode::kDataLoss) << n;
  }
}

class DenseRecordTest : public testing::Test {
 protected:
  DenseRecordTest() {
    for (std::size_t i = 0; i < layout_.RecordBytes(); ++i) body_[i] = static_cast<std::byte>(i);
    record_ = EncodeDenseRecord(layout_, body_);
  }
  const RowLayout layout_{5, 10};
  alignas(64) std::byte body_[128] = {};
  std::string record_;
};

TEST_F(DenseRecordTest, RoundTrips) {
  const DenseRecord decoded = DecodeDenseRecord(record_).value();
  EXPECT_EQ(decoded.layout, layout_);
  EXPECT_EQ(decoded.body,
            std::string_view(reinterpret_cast<const char*>(body_), layout_.RecordBytes()));
}

TEST_F(DenseRecordTest, TruncationAtAnyByteAndExtraBytesAreDataLoss) {
  for (std::size_t n = 0; n < record_.size(); ++n) {
    EXPECT_EQ(DecodeDenseRecord(record_.substr(0, n)).status().code(), absl::StatusCode::kDataLoss)
        << n;
  }
  EXPECT_EQ(DecodeDenseRecord(record_ + "x").status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(DenseRecordTest, AnyFlippedBitOfTheHeaderIsDataLoss) {
  for (std::size_t bit = 0; bit < 64; ++bit) {
    std::string damaged = record_;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
    EXPECT_EQ(DecodeDenseRecord(damaged).status().code(), absl::StatusCode::kDataLoss) << bit;
  }
}

}  // namespace
}  // namespace cairn::ps
