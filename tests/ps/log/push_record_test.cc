// Pushes as bytes: round trips, the format itself, and bytes that are no push.
#include "ps/log/push_record.h"

#include <cstring>
#include <limits>

#include <gtest/gtest.h>

#include "common/math/rng.h"

namespace cairn::ps {
namespace {

// An owned push with random counts, and its bytes.
struct RandomPush {
  explicit RandomPush(std::uint64_t seed) : rng(seed, 5) {
    for (int t = 0; t < 5; ++t) dims.push_back(static_cast<std::uint32_t>(1 + rng.NextBelow(20)));
    const std::uint64_t table_count = rng.NextBelow(4), chunk_count = rng.NextBelow(4);
    keys.resize(table_count);
    gradients.resize(table_count);
    values.resize(chunk_count);
    for (std::size_t i = 0; i < table_count; ++i) {
      const auto table = static_cast<std::uint32_t>(rng.NextBelow(dims.size()));
      keys[i].resize(rng.NextBelow(30));
      for (auto& key : keys[i]) key = rng.NextU64();
      gradients[i].resize(keys[i].size() * dims[table]);
      for (auto& gradient : gradients[i]) gradient = rng.NextFloat() - 0.5f;
      tables.push_back({table, keys[i], gradients[i].data()});
    }
    for (std::size_t i = 0; i < chunk_count; ++i) {
      values[i].resize(rng.NextBelow(100));
      for (auto& value : values[i]) value = rng.NextFloat();
      dense.push_back({rng.NextU32(), rng.NextU32(), values[i]});
    }
    id = {rng.NextU64(), rng.NextU64()};
  }
  // As words, for the alignment; `size` gets the bytes.
  std::vector<std::uint64_t> Encode(std::size_t* size) const {
    const EncodedPush encoded(tables, dims, dense, id, 0.25);
    std::vector<std::byte> bytes;
    for (const auto part : encoded.parts()) bytes.insert(bytes.end(), part.begin(), part.end());
    *size = bytes.size();
    std::vector<std::uint64_t> words((bytes.size() + 7) / 8);
    std::memcpy(words.data(), bytes.data(), bytes.size());
    return words;
  }
  Rng rng;
  std::vector<std::uint32_t> dims;
  std::vector<std::vector<std::uint64_t>> keys;
  std::vector<std::vector<float>> gradients, values;
  std::vector<RowsUpdate> tables;
  std::vector<DenseChunkUpdate> dense;
  PushId id;
};

std::span<const std::byte> BytesOf(const std::vector<std::uint64_t>& words, std::size_t size) {
  return std::as_bytes(std::span(words)).first(size);
}

TEST(PushRecord, DecodesToWhatWasEncoded) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    const RandomPush push(seed);
    std::size_t size = 0;
    const auto words = push.Encode(&size);
    const auto record = DecodePush(BytesOf(words, size));
    ASSERT_TRUE(record.ok()) << record.status();
    EXPECT_EQ(record->id.client, push.id.client);
    EXPECT_EQ(record->id.sequence, push.id.sequence);
    EXPECT_EQ(record->learning_rate_scale, 0.25);
    ASSERT_EQ(record->tables.size(), push.tables.size());
    ASSERT_EQ(record->dims.size(), push.tables.size());
    for (std::size_t i = 0; i < push.tables.size(); ++i) {
      const RowsUpdate& update = record->tables[i];
      EXPECT_EQ(update.table, push.tables[i].table);
      EXPECT_EQ(record->dims[i], push.dims[update.table]);
      EXPECT_EQ(std::vector(update.keys.begin(), update.keys.end()), push.keys[i]);
      const std::size_t floats = update.keys.size() * record->dims[i];
      EXPECT_EQ(std::vector(update.gradients, update.gradients + floats), push.gradients[i]);
    }
    ASSERT_EQ(record->dense.size(), push.dense.size());
    for (std::size_t i = 0; i < push.dense.size(); ++i) {
      EXPECT_EQ(record->dense[i].tensor, push.dense[i].tensor);
      EXPECT_EQ(record->dense[i].chunk, push.dense[i].chunk);
      const auto floats = record->dense[i].gradient;
      EXPECT_EQ(std::vector(floats.begin(), floats.end()), push.values[i]);
    }
  }
}

TEST(PushRecord, BorrowsTheCallersMemory) {
  const std::vector<std::uint32_t> dims = {2};
  const std::vector<std::uint64_t> keys = {5, 6};
  const std::vector<float> gradients = {1, 2, 3, 4}, values = {7};
  const std::vector<RowsUpdate> tables = {{0, keys, gradients.data()}};
  const std::vector<DenseChunkUpdate> dense = {{1, 2, values}};
  const EncodedPush encoded(tables, dims, dense, {}, 1);
  ASSERT_EQ(encoded.parts().size(), 4u);
  EXPECT_EQ(static_cast<const void*>(encoded.parts()[1].data()), keys.data());
  EXPECT_EQ(static_cast<const void*>(encoded.parts()[2].data()), gradients.data());
  EXPECT_EQ(static_cast<const void*>(encoded.parts()[3].data()), values.data());
}

// These bytes lie in logs of running jobs: a change needs a new version.
TEST(PushRecord, HasTheseBytes) {
  const std::vector<std::uint32_t> dims = {9, 1};
  const std::vector<std::uint64_t> keys = {0x0102030405060708};
  const std::vector<float> gradients = {1.0f}, values = {-2.0f};
  const std::vector<RowsUpdate> tables = {{1, keys, gradients.data()}};
  const std::vector<DenseChunkUpdate> dense = {{3, 4, values}};
  const EncodedPush encoded(tables, dims, dense, {0x11, 0x22}, 0.5);
  std::string hex;
  for (const auto part : encoded.parts()) {
    for (const std::byte byte : part) {
      hex += "0123456789abcdef"[static_cast<int>(byte) >> 4];
      hex += "0123456789abcdef"[static_cast<int>(byte) & 15];
    }
  }
  EXPECT_EQ(hex,
            "01000000010000000100000000000000"  // version, tables, chunks, zero
            "11000000000000002200000000000000"  // client, sequence
            "000000000000e03f"                  // scale
            "01000000010000000100000000000000"  // table, dim, keys
            "03000000040000000100000000000000"  // tensor, chunk, floats
            "08070605040302010000803f000000c0");
}

TEST(PushRecord, CutsAndAdditionsAreDataLoss) {
  const RandomPush push(4);
  std::size_t size = 0;
  auto words = push.Encode(&size);
  words.push_back(0);
  for (std::size_t cut = 0; cut <= size + 4; ++cut) {
    const auto record = DecodePush(BytesOf(words, cut));
    if (cut == size) {
      EXPECT_TRUE(record.ok());
    } else {
      EXPECT_EQ(record.status().code(), absl::StatusCode::kDataLoss) << cut;
    }
  }
}

TEST(PushRecord, CountsAreCheckedBeforeTheyAreUsed) {
  const std::vector<std::uint32_t> dims = {2};
  const std::vector<std::uint64_t> keys = {5};
  const std::vector<float> gradients = {1, 2}, values = {7, 8};
  const std::vector<RowsUpdate> tables = {{0, keys, gradients.data()}};
  const std::vector<DenseChunkUpdate> dense = {{0, 0, values}};
  const EncodedPush encoded(tables, dims, dense, {}, 1);
  std::vector<std::uint64_t> good;  // words 0..4: header; 5, 6: table; 7, 8: chunk; then arrays
  for (const auto part : encoded.parts()) {
    ASSERT_EQ(part.size() % 8, 0u);
    good.resize(good.size() + part.size() / 8);
    std::memcpy(good.data() + good.size() - part.size() / 8, part.data(), part.size());
  }
  const std::size_t size = good.size() * 8;
  ASSERT_EQ(size, 96u);
  ASSERT_TRUE(DecodePush(BytesOf(good, size)).ok());
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  const auto with = [&](std::size_t word, std::uint64_t value) {
    auto words = good;
    words[word] = value;
    return DecodePush(BytesOf(words, size)).status().code();
  };
  for (const std::uint64_t count : {kMax, kMax / 8 + 1, kMax / 4 + 2, std::uint64_t{2}}) {
    EXPECT_EQ(with(6, count), absl::StatusCode::kDataLoss) << "keys " << count;
  }
  for (const std::uint64_t count : {kMax, kMax / 4 + 1, std::uint64_t{1}, std::uint64_t{3}}) {
    EXPECT_EQ(with(8, count), absl::StatusCode::kDataLoss) << "floats " << count;
  }
  for (const std::uint64_t dim : {0ull, 1ull, 3ull, 0xffffffffull}) {
    EXPECT_EQ(with(5, dim << 32), absl::StatusCode::kDataLoss) << "dim " << dim;
  }
  EXPECT_EQ(with(0, 2 | 1ull << 32), absl::StatusCode::kDataLoss) << "version";
  EXPECT_EQ(with(0, 1 | 0xffffffffull << 32), absl::StatusCode::kDataLoss) << "tables";
  EXPECT_EQ(with(1, 0xffffffffull), absl::StatusCode::kDataLoss) << "chunks";
  EXPECT_EQ(with(1, 1 | 1ull << 32), absl::StatusCode::kDataLoss) << "zero";
}

TEST(PushRecord, MisalignedMemoryIsRefused) {
  const RandomPush push(4);
  std::size_t size = 0;
  auto words = push.Encode(&size);
  std::vector<std::uint64_t> shifted(words.size() + 1);
  auto* at = reinterpret_cast<std::byte*>(shifted.data()) + 4;
  std::memcpy(at, words.data(), size);
  EXPECT_EQ(DecodePush({at, size}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace cairn::ps
