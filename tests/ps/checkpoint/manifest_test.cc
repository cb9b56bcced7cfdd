#include "ps/checkpoint/manifest.h"

#include <cstdlib>
#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include "common/io/checksum.h"
#include "common/io/file.h"
#include "google/protobuf/text_format.h"
#include "proto/checkpoint.pb.h"

namespace cairn::ps {
namespace {

constexpr char kGood[] = R"(
  slot_bits: 2
  table { name: "user" dim: 8 optimizer: "adagrad" state_floats: 8 }
  shard { ps: 0 folder: "ps-0000" first_slot: 0 last_slot: 1 rows: 3 }
  shard { ps: 1 folder: "ps-0001" first_slot: 2 last_slot: 3 rows: 4 }
  file { path: "ps-0000/CURRENT" bytes: 5 xxh3: "d4d2a6d95e7b3c2a0000000000000000" }
)";

class ManifestTest : public testing::Test {
 protected:
  ManifestTest() {
    std::string pattern = testing::TempDir() + "cairn_manifest_XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  ~ManifestTest() override { std::filesystem::remove_all(folder_); }

  std::string Path() const { return folder_ + "/" + std::string(kManifestFile); }
  void WriteRaw(const std::string& text) {
    ASSERT_EQ(WriteFileAtomically(Path(), text), OkStatus());
  }
  Status Read() {
    proto::CheckpointManifest manifest;
    return ReadManifest(folder_, &manifest);
  }
  // What reading kGood with a change says.
  Status ReadChanged(const std::string& from, const std::string& to) {
    std::string text = kGood;
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    WriteRaw(SealText(text));
    return Read();
  }

  std::string folder_;
};

TEST_F(ManifestTest, AGoodOneIsRead) {
  WriteRaw(SealText(kGood));
  proto::CheckpointManifest manifest;
  ASSERT_EQ(ReadManifest(folder_, &manifest), OkStatus());
  EXPECT_EQ(manifest.shard(1).rows(0), 4u);
}

TEST_F(ManifestTest, TruncationAtAnyByteIsDataLossThatNamesTheFile) {
  const std::string text = SealText(kGood);
  for (std::size_t n = 0; n < text.size(); ++n) {
    WriteRaw(text.substr(0, n));
    const Status status = Read();
    ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss) << n;
    ASSERT_NE(status.message().find(Path()), std::string::npos) << status;
  }
}

TEST_F(ManifestTest, AnyFlippedBitIsDataLoss) {
  const std::string text = SealText(kGood);
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::string damaged = text;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 << i % 8));
    WriteRaw(damaged);
    ASSERT_EQ(Read().code(), absl::StatusCode::kDataLoss) << i;
  }
}

TEST_F(ManifestTest, NoManifestIsNotFound) {
  EXPECT_EQ(Read().code(), absl::StatusCode::kNotFound);
}

TEST_F(ManifestTest, ALaterFormatIsRefusedAndALaterFieldIsNot) {
  EXPECT_EQ(ReadChanged("slot_bits", "format_version: 2 slot_bits").code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReadChanged("slot_bits", "a_field_of_tomorrow: 2 slot_bits"), OkStatus());
}

TEST_F(ManifestTest, ContradictionsAreDataLoss) {
  const auto loss = absl::StatusCode::kDataLoss;
  EXPECT_EQ(ReadChanged("ps-0000/CURRENT", "../CURRENT").code(), loss);
  EXPECT_EQ(ReadChanged("ps-0000/CURRENT", "/etc/passwd").code(), loss);
  EXPECT_EQ(ReadChanged("\"ps-0001\"", "\"../ps-0001\"").code(), loss);
  EXPECT_EQ(ReadChanged("first_slot: 2", "first_slot: 1").code(), loss);
  EXPECT_EQ(ReadChanged("last_slot: 3", "last_slot: 4").code(), loss);
  EXPECT_EQ(ReadChanged("last_slot: 3", "last_slot: 2").code(), loss);
  EXPECT_EQ(ReadChanged("rows: 4", "").code(), loss);
  EXPECT_EQ(ReadChanged("dim: 8", "dim: 0").code(), loss);
  EXPECT_EQ(ReadChanged("slot_bits: 2", "slot_bits: 40").code(), loss);
  EXPECT_EQ(ReadChanged("table {", "table {{").code(), loss);
}

TEST_F(ManifestTest, FilesAreComparedBySizeAndChecksum) {
  ASSERT_EQ(MakeFolders(folder_ + "/ps-0000"), OkStatus());
  const std::string path = folder_ + "/ps-0000/CURRENT";
  ASSERT_EQ(WriteFileAtomically(path, "MANIF"), OkStatus());
  proto::CheckpointManifest manifest;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(kGood, &manifest));
  manifest.mutable_file(0)->set_xxh3(ChecksumOfBytes("MANIF"));
  EXPECT_EQ(VerifyFiles(folder_, manifest, ""), OkStatus());
  for (const char* content : {"MANIG", "MANI", "MANIF1", ""}) {
    ASSERT_EQ(WriteFileAtomically(path, content), OkStatus());
    const Status status = VerifyFiles(folder_, manifest, "");
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << content;
    EXPECT_NE(status.message().find("ps-0000/CURRENT"), std::string::npos) << status;
    EXPECT_EQ(VerifyFiles(folder_, manifest, "ps-0001/"), OkStatus());
  }
  std::filesystem::remove(path);
  EXPECT_EQ(VerifyFiles(folder_, manifest, "ps-0000/").code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace cairn::ps
