#include "ps/checkpoint/reader.h"

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "common/io/file.h"
#include "google/protobuf/text_format.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"
#include "ps/checkpoint/flush.h"
#include "ps/store/rocks_store.h"

namespace cairn::ps {
namespace {

// A store with two tables and a dense tensor, written as a server writes it.
class ShardReaderTest : public testing::Test {
 protected:
  ShardReaderTest() {
    std::string pattern = testing::TempDir() + "cairn_reader_XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  ~ShardReaderTest() override { std::filesystem::remove_all(folder_); }

  void SetUp() override {
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(R"(
        slot_bits: 3
        table { name: "a" dim: 2 optimizer: "adagrad" state_floats: 2 }
        table { name: "b" dim: 1 optimizer: "sgd" }
        shard { folder: "ps-0000" first_slot: 0 last_slot: 7 rows: 500 rows: 200 })",
                                                              &manifest_));
    proto::TableConfig a, b;
    a.set_name("a");
    a.set_dim(2);
    a.mutable_optimizer()->mutable_adagrad();
    b.set_name("b");
    b.set_dim(1);
    b.mutable_optimizer()->mutable_sgd();
    tables_.push_back(EmbeddingTable::Make(a, 1).value());
    tables_.push_back(EmbeddingTable::Make(b, 1).value());
    Push(0, 500);
    Push(1, 200);
    const DenseTensorSpec spec{.name = "w", .dims = {20000}};
    dense_ = DenseParameters::Make({}, slots_).value();
    ASSERT_EQ(dense_->Register({&spec, 1}), OkStatus());
    const std::vector<float> first(16384, 1.0f), second(3616, 2.0f);
    const std::vector<DenseChunkUpdate> chunks = {{0, 0, first}, {0, 1, second}};
    ASSERT_EQ(dense_->Init(chunks), OkStatus());
  }
  void Push(std::size_t table, std::uint64_t keys) {
    std::vector<std::uint64_t> list;
    for (std::uint64_t key = 0; key < keys; ++key) list.push_back(key);
    KeyGroups groups;
    ASSERT_EQ(groups.Build(list, slots_), std::nullopt);
    const std::vector<float> gradients(keys * 2, 0.5f);
    tables_[table]->Push(groups, gradients.data(), 1, 9);
  }
  std::unique_ptr<ShardReader> Write(std::size_t rows_at_once = kFlushRows) {
    auto store = OpenRocksStore(folder_ + "/live", {}).value();
    EXPECT_EQ(FlushDirty(tables_, *dense_, slots_, *store, rows_at_once), OkStatus());
    for (const auto& [key, value] : extra_) {
      EXPECT_EQ(store->PutSorted(Family::kRows, 1, 100,
                                 [&](std::size_t) {
                                   return StoreRecord{key, value};
                                 }),
                OkStatus());
    }
    EXPECT_EQ(store->Snapshot(folder_ + "/ps-0000"), OkStatus());
    auto reader = ShardReader::Open(folder_, manifest_, 0);
    EXPECT_TRUE(reader.ok()) << reader.status();
    return std::move(*reader);
  }
  static std::string KeyText(const RowKey& key) {
    const EncodedRowKey encoded = EncodeRowKey(key);
    return {encoded.data(), encoded.size()};
  }

  std::string folder_;
  proto::CheckpointManifest manifest_;
  const SlotRange slots_{3, 0, 8};
  std::vector<std::unique_ptr<EmbeddingTable>> tables_;
  std::unique_ptr<DenseParameters> dense_;
  std::vector<std::pair<std::string, std::string>> extra_;
};

TEST_F(ShardReaderTest, RowsComeBySlotAndKeyWithAllTheirParts) {
  // Rounds of 40 rows: the same result as in one go.
  for (const std::size_t rows_at_once : {kFlushRows, std::size_t{40}}) {
    std::filesystem::remove_all(folder_ + "/live");
    std::filesystem::remove_all(folder_ + "/ps-0000");
    const auto reader = Write(rows_at_once);
    EXPECT_EQ(reader->CountRows(0).value(), 500u);
    EXPECT_EQ(reader->CountRows(1).value(), 200u);
    std::vector<std::pair<std::uint32_t, std::uint64_t>> seen;
    ASSERT_EQ(reader->ForEachRow(0,
                                 [&](const RowView& row) {
                                   seen.emplace_back(row.slot, row.key);
                                   EXPECT_EQ(row.slot, SlotOf(row.key, 3));
                                   EXPECT_EQ(row.value.size(), 2u);
                                   EXPECT_EQ(row.state[0], 0.25f);
                                   EXPECT_EQ(row.metadata, (RowMetadata{1, 1, 9}));
                                   EXPECT_EQ(row.record.size(), 32u);
                                   return true;
                                 }),
              OkStatus());
    EXPECT_EQ(seen.size(), 500u);
    EXPECT_TRUE(std::ranges::is_sorted(seen));
  }
}

TEST_F(ShardReaderTest, AVisitorMayStop) {
  const auto reader = Write();
  int seen = 0;
  ASSERT_EQ(reader->ForEachRow(1, [&](const RowView&) { return ++seen < 5; }), OkStatus());
  EXPECT_EQ(seen, 5);
}

TEST_F(ShardReaderTest, SlotsAreARange) {
  const auto reader = Write();
  std::size_t expected = 0, seen = 0;
  for (std::uint64_t key = 0; key < 500; ++key) {
    const std::uint32_t slot = SlotOf(key, 3);
    if (slot >= 2 && slot <= 4) expected += key < 200 ? 2 : 1;
  }
  ASSERT_EQ(reader->ForEachRowOfSlots(2, 4,
                                      [&](std::uint32_t, const RowView& row) {
                                        EXPECT_GE(row.slot, 2u);
                                        EXPECT_LE(row.slot, 4u);
                                        return ++seen != 0;
                                      }),
            OkStatus());
  EXPECT_EQ(seen, expected);
}

TEST_F(ShardReaderTest, OneRowIsFoundByItsKey) {
  const auto reader = Write();
  float value = 0;
  ASSERT_EQ(reader->FindRow(1, 77, [&](const RowView& row) { value = row.value[0]; }), OkStatus());
  tables_[1]->ForEachRow([&](std::uint64_t key, const std::byte* record) {
    if (key != 77) return;
    EXPECT_EQ(tables_[1]->layout().Value(record)[0], value);
  });
  EXPECT_EQ(reader->FindRow(1, 200, [](const RowView&) {}).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(reader->FindRow(2, 1, [](const RowView&) {}).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(ShardReaderTest, DenseChunksComeWithValuesAndState) {
  const auto reader = Write();
  std::map<std::uint32_t, std::size_t> floats;
  ASSERT_EQ(reader->ForEachDenseChunk([&](const DenseChunkView& chunk) {
    EXPECT_EQ(chunk.tensor, "w");
    EXPECT_EQ(chunk.value[0], chunk.chunk == 0 ? 1.0f : 2.0f);
    EXPECT_EQ(chunk.state.size(), 2 * chunk.value.size());
    floats[chunk.chunk] = chunk.value.size();
    return true;
  }),
            OkStatus());
  EXPECT_EQ(floats, (std::map<std::uint32_t, std::size_t>{{0, 16384}, {1, 3616}}));
  EXPECT_EQ(reader->VerifyBlocks(), OkStatus());
}

TEST_F(ShardReaderTest, RecordsOfAnotherSizeOrPlaceAreDataLoss) {
  const std::uint64_t key = 5;
  const auto slot = static_cast<std::uint16_t>(SlotOf(key, 3));
  const auto other = static_cast<std::uint16_t>((slot + 1) % 8);
  const std::vector<std::pair<std::string, std::string>> bad = {
      {KeyText({slot, 0, key}), std::string(31, 'x')},   // short
      {KeyText({slot, 0, key}), std::string(33, 'x')},   // long
      {KeyText({other, 0, key}), std::string(32, 'x')},  // wrong slot
      {KeyText({slot, 2, key}), std::string(32, 'x')},   // no such table
      {std::string(11, 0), std::string(32, 'x')},        // no key
      {"beyond the last slot", std::string(32, 'x')},
  };
  for (const auto& record : bad) {
    std::filesystem::remove_all(folder_ + "/live");
    std::filesystem::remove_all(folder_ + "/ps-0000");
    extra_ = {record};
    const auto reader = Write();
    const Status status =
        reader->ForEachRowOfSlots(0, 7, [](std::uint32_t, const RowView&) { return true; });
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_NE(status.message().find(folder_ + "/ps-0000"), std::string::npos) << status;
  }
}

TEST_F(ShardReaderTest, AMissingFolderIsNotFound) {
  EXPECT_EQ(ShardReader::Open(folder_, manifest_, 0).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace cairn::ps
