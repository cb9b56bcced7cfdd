// Logs that were cut, flipped, or lost a file: what is replayed is always a prefix of what was
// appended, byte for byte.
#include <fstream>

#include "ps/log/log_segment.h"
#include "tests/ps/log/log_folder.h"

namespace cairn::ps {
namespace {

using Records = std::map<std::uint64_t, Bytes>;

// Parameter: with or without sync.
class LogDamageTest : public LogFolder, public testing::WithParamInterface<bool> {
 protected:
  static constexpr std::uint64_t kRecords = 40;

  // Some files of a few records each. Commits now and then; with sync the last records are
  // appended but not synced by the log.
  void SetUp() override {
    auto log = Open(options_);
    for (std::uint64_t i = 1; i <= kRecords; ++i) {
      expected_[i] = MakePayload(3, i, 1500);
      ASSERT_EQ(*AppendInPieces(*log, expected_[i]), i);
      if (i % 5 == 0 && i < kRecords) {
        ASSERT_EQ(log->Commit(i), OkStatus());
      }
    }
    log.reset();
    ASSERT_GE(Files().size(), 4u);
    original_ = root_ + "/original";
    std::filesystem::copy(folder_, original_);
    newest_ = JoinPath(folder_, Files().back());
    content_ = *ReadFile(newest_);
  }
  // Before each damage: the folder as SetUp made it.
  void Reset() const {
    std::filesystem::remove_all(folder_);
    std::filesystem::copy(original_, folder_);
  }
  static void Write(const std::string& path, std::string_view content) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
  }
  // LSN behind the last record that is replayed; 0 if opening or replaying says DataLoss. Checks
  // that nothing wrong is replayed, and that the log goes on from there.
  std::uint64_t Survivors() const {
    auto log = PushLog::Open(folder_, options_);
    if (!log.ok()) {
      EXPECT_EQ(log.status().code(), absl::StatusCode::kDataLoss) << log.status();
      EXPECT_NE(log.status().message().find(folder_), std::string::npos) << log.status();
      return 0;
    }
    const auto [records, status] = Read(**log, 1);
    std::uint64_t next = 1;
    for (const auto& [lsn, bytes] : records) {
      EXPECT_EQ(lsn, next++);
      EXPECT_EQ(bytes, expected_.at(lsn));
    }
    if (!status.ok()) {
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
      EXPECT_NE(status.message().find(folder_), std::string::npos) << status;
      return 0;
    }
    const Bytes more = MakePayload(9, next, 500);
    EXPECT_EQ(*AppendInPieces(**log, more), next);
    log->reset();
    const auto again = ReadAll(*Open(options_));
    EXPECT_EQ(again.size(), next);
    EXPECT_EQ(again.at(next), more);
    return next;
  }

  const PushLogOptions options_{.sync = GetParam(), .segment_bytes = 4000, .reserve_bytes = 0};
  Records expected_;
  std::string original_, newest_, content_;
};

TEST_P(LogDamageTest, ACutTailEndsTheLogBeforeTheRecordThatItCuts) {
  EXPECT_EQ(Survivors(), kRecords + 1);
  std::uint64_t fewest = kRecords + 1, last = 0;
  for (std::size_t size = 0; size <= content_.size(); size += size < 200 ? 1 : 37) {
    SCOPED_TRACE(size);
    Reset();
    Write(newest_, content_.substr(0, size));
    const std::uint64_t next = Survivors();
    ASSERT_GE(next, 1u) << "a torn tail is not damage";
    ASSERT_GE(next, last) << "a longer file holds no fewer records";
    fewest = std::min(fewest, next);
    last = next;
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(fewest, 20u) << "the older files are whole";
  EXPECT_LT(fewest, last);
}

TEST_P(LogDamageTest, AFlippedBitNeverShowsAsOtherBytes) {
  Rng rng(11, GetParam() ? 1 : 0);
  std::map<bool, int> losses;
  for (int i = 0; i < 250; ++i) {
    Reset();
    const auto files = Files();
    const std::string path = JoinPath(folder_, files[rng.NextBelow(files.size())]);
    std::string content = *ReadFile(path);
    const std::size_t at = rng.NextBelow(content.size());
    content[at] = static_cast<char>(content[at] ^ (1 << rng.NextBelow(8)));
    SCOPED_TRACE(StrCat(path, " byte ", at));
    Write(path, content);
    const std::uint64_t next = Survivors();
    if (next == 0) ++losses[path == newest_];
    if (path != newest_) {
      // Zeros between records hold nothing.
      ASSERT_TRUE(next == 0 || next == kRecords + 1) << next;
    } else if (GetParam()) {
      ASSERT_TRUE(next == 0 || next > 35) << "lost what was synced: " << next;
    } else {
      ASSERT_TRUE(next == 0 || next == kRecords + 1) << next;
    }
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(losses[false], 30);
  EXPECT_GT(losses[true], 5);
}

TEST_P(LogDamageTest, BytesBehindTheEndAreToldFromRecords) {
  // A record's head that was never finished.
  Write(newest_, content_ + std::string(39, '\0'));
  EXPECT_EQ(Survivors(), kRecords + 1);
  // Zeros, as a power cut may leave them: with sync nobody was told of what was there; without, a
  // process that dies does not leave them.
  Reset();
  Write(newest_, content_ + std::string(100'000, '\0'));
  EXPECT_EQ(Survivors(), GetParam() ? kRecords + 1 : 0);
  // A record of another file of the log.
  Reset();
  const std::string other = *ReadFile(JoinPath(folder_, Files().front()));
  Write(newest_, content_ + other.substr(sizeof(SegmentHeader)));
  EXPECT_EQ(Survivors(), GetParam() ? kRecords + 1 : 0);
}

TEST_P(LogDamageTest, AMissingFileIsDataLoss) {
  const auto files = Files();
  for (std::size_t i = 0; i < files.size(); ++i) {
    SCOPED_TRACE(i);
    Reset();
    std::filesystem::remove(JoinPath(folder_, files[i]));
    if (i + 1 < files.size()) {
      EXPECT_EQ(Survivors(), 0u);
    } else {
      EXPECT_GT(Survivors(), 20u) << "nothing tells of the newest file";
    }
    Reset();
    Write(JoinPath(folder_, files[i]), "");
    if (i + 1 < files.size()) {
      EXPECT_EQ(Survivors(), 0u);
    }
  }
  // A file under the name of another one.
  Reset();
  std::filesystem::remove(JoinPath(folder_, files[1]));
  std::filesystem::copy(JoinPath(folder_, files[0]), JoinPath(folder_, files[1]));
  EXPECT_EQ(Survivors(), 0u);
  // An older file that ends early.
  Reset();
  const std::string content = *ReadFile(JoinPath(folder_, files[1]));
  Write(JoinPath(folder_, files[1]), content.substr(0, content.size() - 1));
  EXPECT_EQ(Survivors(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Sync, LogDamageTest, testing::Bool(),
                         [](const auto& param) { return param.param ? "Disk" : "Process"; });

// The bytes of a synced file, written here one by one: which bad records are the end of the log.
class SyncedTailTest : public LogFolder {
 protected:
  // A file with one record for each of `durable`: what it says was durable when it was written.
  // bad: LSN of the record whose payload is wrong.
  Result<std::uint64_t> LastLsn(const std::vector<std::uint64_t>& durable, std::uint64_t bad) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directory(folder_);
    const SegmentHeader header = MakeSegmentHeader(/*synced=*/true, 1, 0, 1);
    std::string content(reinterpret_cast<const char*>(&header), sizeof header);
    for (std::uint64_t lsn = 1; lsn <= durable.size(); ++lsn) {
      const Bytes payload(100, std::byte{static_cast<unsigned char>(lsn)});
      const std::vector<std::span<const std::byte>> parts = {payload};
      RecordHeader record = DescribePayload(parts);
      SealRecord(header, lsn, durable[lsn - 1], &record);
      content.append(reinterpret_cast<const char*>(&record), sizeof record);
      content.append(reinterpret_cast<const char*>(payload.data()), payload.size());
      content.append(4, '\0');
      if (lsn == bad) content[content.size() - 50] ^= 1;
    }
    std::ofstream(folder_ + "/push-000000000001.log", std::ios::binary) << content;
    ASSIGN_OR_RETURN(const auto log, PushLog::Open(folder_, {.sync = true, .reserve_bytes = 0}));
    return log->last_lsn();
  }
};

TEST_F(SyncedTailTest, ABadRecordIsTheEndUnlessALaterOneSaysThatItWasDurable) {
  EXPECT_EQ(*LastLsn({0, 0, 0, 0, 0}, 0), 5u);
  EXPECT_EQ(*LastLsn({0, 0, 0, 0, 0}, 3), 2u);
  EXPECT_EQ(*LastLsn({0, 1, 2, 2, 2}, 3), 2u);
  EXPECT_EQ(*LastLsn({0, 1, 2, 3, 4}, 5), 4u);
  EXPECT_EQ(LastLsn({0, 1, 2, 2, 3}, 3).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(LastLsn({0, 1, 2, 3, 3}, 1).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace cairn::ps
