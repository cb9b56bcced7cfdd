// What the digest of a checkpoint depends on, and what it does not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "launch/inspect/checkpoint_digest.h"
#include "launch/inspect/inspect.h"
#include "launch/inspect/sha256.h"
#include "tests/launch/inspect/fake_checkpoint.h"

namespace cairn::launch {
namespace {

using testing::HasSubstr;

TEST(Sha256, KnowsTheVectorsOfTheStandard) {
  EXPECT_EQ(HexOf(Sha256().Finish()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(HexOf(Sha256().Bytes("abc").Finish()),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(HexOf(Sha256()
                      .Bytes("abcdbcdecdefdefgefgh")
                      .Bytes("fghighijhijkijkljklmklmnlmnomnopnopq")
                      .Finish()),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

class DigestTest : public testing::Test {
 protected:
  DigestTest() {
    for (std::uint64_t i = 0; i < 40; ++i) {
      const auto x = static_cast<float>(i);
      checkpoint_.AddRow({0,
                          1000 + i,
                          {x, -x, 0.5f * x, 1, 2, 3, 4, 5},
                          {x, 1, 1, 1, 1, 1, 1, 1},
                          {static_cast<std::uint32_t>(i), 7, 100 + i}});
      checkpoint_.AddRow({1, i << 40, {x, 0.25f}, {}, {1, 1, 9}});
    }
    for (FakeShard& shard : checkpoint_.shards) {
      for (FakeChunk& chunk : shard.chunks) {
        chunk.state = {1, 2, 3, 4, 5, 6};
        chunk.metadata = {300, 300, 300};
      }
    }
    checkpoint_.Sort();
  }

  Result<CheckpointDigest> Digest() {
    return DigestCheckpoint("checkpoint", checkpoint_.manifest, checkpoint_.Opener());
  }
  std::string All() {
    const Result<CheckpointDigest> digest = Digest();
    EXPECT_TRUE(digest.ok()) << digest.status();
    return digest.ok() ? digest->sha256 : "";
  }
  // The rows and chunks on `servers` servers of equal shares, as a cluster of another size has
  // them.
  void Recut(std::uint32_t servers) {
    FakeShard all;
    for (FakeShard& shard : checkpoint_.shards) {
      all.rows.insert(all.rows.end(), shard.rows.begin(), shard.rows.end());
      all.chunks.insert(all.chunks.end(), shard.chunks.begin(), shard.chunks.end());
    }
    checkpoint_.manifest.clear_shard();
    checkpoint_.shards.assign(servers, {});
    for (std::uint32_t ps = 0; ps < servers; ++ps) {
      proto::ShardEntry& entry = *checkpoint_.manifest.add_shard();
      entry.set_ps(ps);
      entry.set_folder("ps-000" + std::to_string(ps));
      entry.set_first_slot(ps * 1024 / servers);
      entry.set_last_slot((ps + 1) * 1024 / servers - 1);
      const auto owns = [&](const auto& it) {
        return it.slot >= entry.first_slot() && it.slot <= entry.last_slot();
      };
      std::ranges::copy_if(all.rows, std::back_inserter(checkpoint_.shards[ps].rows), owns);
      std::ranges::copy_if(all.chunks, std::back_inserter(checkpoint_.shards[ps].chunks), owns);
    }
    checkpoint_.Sort();
  }
  FakeRow& FirstRow(std::uint32_t table) {
    for (FakeShard& shard : checkpoint_.shards) {
      for (FakeRow& row : shard.rows) {
        if (row.table == table) return row;
      }
    }
    ADD_FAILURE() << "no row of table " << table;
    return checkpoint_.shards[0].rows[0];
  }
  FakeChunk& FirstChunk() {
    return checkpoint_.shards[checkpoint_.shards[0].chunks.empty() ? 1 : 0].chunks[0];
  }

  FakeCheckpoint checkpoint_;
};

// The same bytes, written down by another program from the format's description.
TEST_F(DigestTest, IsTheSha256OfTheDocumentedBytes) {
  const Result<CheckpointDigest> digest = Digest();
  ASSERT_TRUE(digest.ok()) << digest.status();
  ASSERT_EQ(digest->tables.size(), 2u);
  EXPECT_EQ(digest->tables[0].name, "item");
  EXPECT_EQ(digest->tables[0].size, 40u);
  EXPECT_EQ(digest->tables[0].sha256,
            "52edfa0bb02cf4d60c513d5e0241f01d8c7ad4784fa154a4d68c4a5be33d21de");
  EXPECT_EQ(digest->tables[1].name, "user");
  EXPECT_EQ(digest->tables[1].sha256,
            "537b312280ab014b50f66303c3d1ffa272d2507f5822c96c55a23da0f1908baa");
  ASSERT_EQ(digest->tensors.size(), 2u);
  EXPECT_EQ(digest->tensors[0].name, "tower.bias");
  EXPECT_EQ(digest->tensors[0].size, 3u);
  EXPECT_EQ(digest->dense_sha256,
            "b1bd78ac70621a8b349e55f5d7b72bfc5e93dbee5a42323badaf810107f619a7");
  EXPECT_EQ(digest->sha256, "82019786fb220d8aec5438f49ebe7cf0897ddf05ed4d9fd2b9ab09ddd550d59a");
}

TEST_F(DigestTest, DoesNotDependOnTheNumberOfServers) {
  const std::string two = All();
  for (const std::uint32_t servers : {1u, 3u, 7u}) {
    Recut(servers);
    EXPECT_EQ(All(), two) << servers;
  }
}

TEST_F(DigestTest, DoesNotDependOnOrderNamesAndTimes) {
  const std::string before = All();
  proto::CheckpointManifest& manifest = checkpoint_.manifest;
  manifest.set_created_unix_s(1);
  manifest.set_job_name("other");
  manifest.set_writer("cairn 9");
  manifest.mutable_state()->set_train_seconds(1e6);
  manifest.set_seed(1);
  EXPECT_EQ(All(), before);
  // Servers in another order.
  manifest.mutable_shard()->SwapElements(0, 1);
  std::swap(checkpoint_.shards[0], checkpoint_.shards[1]);
  EXPECT_EQ(All(), before);
  // Tables under other numbers.
  manifest.mutable_table()->SwapElements(0, 1);
  manifest.mutable_dense()->SwapElements(0, 1);
  for (FakeShard& shard : checkpoint_.shards) {
    for (FakeRow& row : shard.rows) row.table = 1 - row.table;
  }
  checkpoint_.Sort();
  EXPECT_EQ(All(), before);
}

TEST_F(DigestTest, DependsOnEveryBitOfEveryRow) {
  const Result<CheckpointDigest> before = Digest();
  ASSERT_TRUE(before.ok());
  int changed = 0;
  const auto expect_change = [&](int table, const std::string& what) {
    const Result<CheckpointDigest> digest = Digest();
    ASSERT_TRUE(digest.ok()) << digest.status();
    const auto t = static_cast<std::size_t>(1 - table);  // "item" comes first
    EXPECT_NE(digest->tables[t].sha256, before->tables[t].sha256) << what;
    EXPECT_EQ(digest->tables[1 - t].sha256, before->tables[1 - t].sha256) << what;
    EXPECT_EQ(digest->dense_sha256, before->dense_sha256) << what;
    EXPECT_NE(digest->sha256, before->sha256) << what;
    ++changed;
  };
  for (FakeShard& shard : checkpoint_.shards) {
    for (FakeRow& row : shard.rows) {
      const FakeRow sound = row;
      const int table = static_cast<int>(row.table);
      for (std::vector<float> FakeRow::*floats : {&FakeRow::value, &FakeRow::state}) {
        for (float& x : row.*floats) {
          const float kept = x;
          x = std::nextafter(x, INFINITY);  // the last bit
          expect_change(table, "a value or state");
          x = kept;
        }
      }
      row.metadata.version ^= 1;
      expect_change(table, "version");
      row = sound;
      row.metadata.count ^= 1u << 31;
      expect_change(table, "count");
      row = sound;
      row.metadata.last_step ^= 1ull << 63;
      expect_change(table, "last step");
      row = sound;
    }
  }
  EXPECT_EQ(changed, 40 * (16 + 3) + 40 * (2 + 3));
  FirstRow(0).value[0] = 0.0f;
  const std::string zero = All();
  FirstRow(0).value[0] = -0.0f;
  EXPECT_NE(All(), zero);
}

TEST_F(DigestTest, DependsOnEveryChunk) {
  const Result<CheckpointDigest> before = Digest();
  ASSERT_TRUE(before.ok());
  for (const auto& change : std::vector<std::function<void(FakeChunk&)>>{
           [](FakeChunk& chunk) { chunk.value[2] = std::nextafter(chunk.value[2], 0.0f); },
           [](FakeChunk& chunk) { chunk.state[5] = std::nextafter(chunk.state[5], 0.0f); },
           [](FakeChunk& chunk) { ++chunk.metadata.version; },
           [](FakeChunk& chunk) { ++chunk.metadata.count; },
           [](FakeChunk& chunk) { ++chunk.metadata.last_step; }}) {
    const FakeChunk sound = FirstChunk();
    change(FirstChunk());
    const Result<CheckpointDigest> digest = Digest();
    ASSERT_TRUE(digest.ok()) << digest.status();
    EXPECT_NE(digest->sha256, before->sha256);
    EXPECT_NE(digest->dense_sha256, before->dense_sha256);
    int tensors = 0;
    for (std::size_t i = 0; i < 2; ++i) {
      tensors += digest->tensors[i].sha256 != before->tensors[i].sha256 ? 1 : 0;
      EXPECT_EQ(digest->tables[i].sha256, before->tables[i].sha256);
    }
    EXPECT_EQ(tensors, 1);
    FirstChunk() = sound;
  }
  EXPECT_EQ(All(), before->sha256);
}

TEST_F(DigestTest, DependsOnWhatATableIs) {
  std::map<std::string, std::string> seen{{All(), "before"}};
  const auto expect_new = [&](const std::string& what) {
    const auto [same, is_new] = seen.try_emplace(All(), what);
    EXPECT_TRUE(is_new) << what << " as " << same->second;
  };
  checkpoint_.manifest.mutable_table(0)->set_name("usr");
  expect_new("name");
  checkpoint_.manifest.mutable_table(0)->set_optimizer("momentum");
  expect_new("optimizer");
  checkpoint_.manifest.mutable_table(0)->set_storage("float16");
  expect_new("storage");
  checkpoint_.manifest.mutable_dense(0)->set_optimizer("sgd");
  expect_new("optimizer of a tensor");
  checkpoint_.manifest.mutable_dense(0)->add_dim(1);
  expect_new("shape of a tensor");
  // One row less, and the same row under another key.
  FakeRow row = FirstRow(1);
  for (FakeShard& shard : checkpoint_.shards) {
    std::erase_if(shard.rows, [&](const FakeRow& r) { return r.table == 1 && r.key == row.key; });
  }
  checkpoint_.manifest.mutable_table(1)->set_rows(39);
  expect_new("a row is gone");
  row.key ^= 1;
  checkpoint_.AddRow(row);
  checkpoint_.Sort();
  expect_new("another key");
}

TEST_F(DigestTest, DamageHasNoDigest) {
  const auto expect_damage = [&](const std::string& what) {
    const Result<CheckpointDigest> digest = Digest();
    EXPECT_EQ(digest.status().code(), absl::StatusCode::kDataLoss) << digest.status();
    EXPECT_THAT(std::string(digest.status().message()), HasSubstr(what));
  };
  const std::vector<FakeShard> sound = checkpoint_.shards;
  FakeShard& shard = checkpoint_.shards[0];
  shard.rows.pop_back();
  expect_damage("rows, the manifest says 40");
  checkpoint_.shards = sound;
  shard.rows.push_back(shard.rows.back());
  expect_damage("is there twice or out of order");
  checkpoint_.shards = sound;
  shard.rows[0].table = 9;
  expect_damage("table 9, which the manifest lacks");
  checkpoint_.shards = sound;
  shard.after_rows = absl::DataLossError("bad block in 000012.sst");
  expect_damage("ps-0000: bad block in 000012.sst");
  checkpoint_.shards = sound;
  FirstChunk().value.pop_back();
  expect_damage("has 2 elements, its shape says 3");
  checkpoint_.shards = sound;
  FirstChunk().tensor = "other";
  expect_damage("dense tensor other, which the manifest lacks");
  checkpoint_.shards = sound;
  checkpoint_.shards[1].open = absl::DataLossError("no CURRENT");
  expect_damage("ps-0001: no CURRENT");
}

}  // namespace
}  // namespace cairn::launch
