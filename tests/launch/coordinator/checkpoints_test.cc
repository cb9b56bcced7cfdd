// Writing, finding and verifying checkpoints; the writer is stopped at each of its steps.
#include "launch/coordinator/checkpoints.h"

#include <filesystem>
#include <string>
#include <vector>

#include "common/io/checksum.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "launch/coordinator/checkpoint_writer.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"
#include "proto/ps_service.pb.h"
#include "tests/launch/coordinator/fake_cluster.h"

namespace cairn::launch {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::FakeJob;
using testing::FakePs;
using testing::FlipByte;
using ::testing::HasSubstr;
using testing::ReadText;
using testing::ScratchFolder;
using ::testing::SizeIs;
using testing::WriteText;
namespace fs = std::filesystem;

enum class StopAfter { kBegin, kSnapshot, kSeal, kPublish, kLatest, kNothing };

class Checkpoints : public ::testing::Test {
 protected:
  void SetUp() override {
    for (std::uint64_t row = 0; row < 50; ++row) {
      for (FakePs& ps : servers_) {
        if (ps.Owns(row)) ps.Apply(0, row);
      }
    }
    state_.set_steps(0);
  }

  std::string Write(std::uint64_t steps, bool is_best = false,
                    StopAfter stop = StopAfter::kNothing) {
    fs::create_directories(folder());
    state_.set_steps(steps);
    const std::string name = NewCheckpointName(folder(), steps, "");
    const auto finish = [&]() -> Status {
      ASSIGN_OR_RETURN(CheckpointWriter writer, CheckpointWriter::Begin(folder(), name));
      if (stop == StopAfter::kBegin) return OkStatus();
      std::vector<proto::SnapshotReply> replies(2);
      for (std::uint32_t i = 0; i < 2; ++i) {
        RETURN_IF_ERROR(servers_[i].Snapshot(writer.ShardFolder(i), &replies[i]));
      }
      if (stop == StopAfter::kSnapshot) return OkStatus();
      RETURN_IF_ERROR(writer.Seal(FakeJob(), state_, replies, 1'700'000'000, "test 1"));
      if (stop == StopAfter::kSeal) return OkStatus();
      RETURN_IF_ERROR(writer.Publish());
      if (stop == StopAfter::kPublish) return OkStatus();
      RETURN_IF_ERROR(MovePointer(folder(), kLatestFile, name));
      if (stop == StopAfter::kLatest) return OkStatus();
      return is_best ? MovePointer(folder(), kBestFile, name) : OkStatus();
    };
    const Status status = finish();
    EXPECT_TRUE(status.ok()) << status;
    return folder() + "/" + name;
  }

  // "file: what" of every problem.
  std::vector<std::string> Problems(const std::string& path) {
    std::vector<std::string> out;
    const auto problems = VerifyCheckpoint(path);
    EXPECT_TRUE(problems.ok()) << problems.status();
    if (!problems.ok()) return out;
    for (const CheckpointProblem& problem : *problems) {
      out.push_back(problem.file + ": " + problem.what);
    }
    return out;
  }

  // Seals a manifest again after `change`.
  template <typename Change>
  void ChangeManifest(const std::string& checkpoint, Change change) {
    proto::CheckpointManifest manifest;
    ASSERT_TRUE(ReadManifest(checkpoint, &manifest).ok());
    change(manifest);
    std::string text;
    google::protobuf::TextFormat::PrintToString(manifest, &text);
    WriteText(checkpoint + "/MANIFEST.textproto", SealText(text));
  }

  std::string folder() const { return scratch_.path() + "/checkpoints"; }

  ScratchFolder scratch_;
  FakePs servers_[2] = {FakePs(0, 2), FakePs(1, 2)};
  proto::TrainState state_;
};

TEST_F(Checkpoints, AreFoundByRunDirectoryFolderAndName) {
  const std::string a = Write(10);
  const std::string b = Write(20);
  EXPECT_EQ(*ResolveCheckpoint(scratch_.path()), b);
  EXPECT_EQ(*ResolveCheckpoint(folder()), b);
  EXPECT_EQ(*ResolveCheckpoint(a), a);
  EXPECT_THAT(*ListCheckpoints(scratch_.path()), ElementsAre(a, b));
  EXPECT_THAT(*ListCheckpoints(folder()), ElementsAre(a, b));
  EXPECT_THAT(Problems(scratch_.path()), SizeIs(0));
  EXPECT_THAT(Problems(a), SizeIs(0));
}

TEST_F(Checkpoints, WhatIsNotThereIsNotFound) {
  EXPECT_TRUE(absl::IsNotFound(ResolveCheckpoint(scratch_.path()).status()));
  EXPECT_TRUE(absl::IsNotFound(ResolveCheckpoint("/no/such/path").status()));
  EXPECT_TRUE(absl::IsNotFound(VerifyCheckpoint("/no/such/path").status()));
  EXPECT_THAT(*ListCheckpoints(scratch_.path()), SizeIs(0));
}

TEST_F(Checkpoints, TheManifestTellsWhatIsInIt) {
  const std::string checkpoint = Write(7);
  EXPECT_THAT(checkpoint, HasSubstr("/step-000000000007"));
  proto::CheckpointManifest manifest;
  ASSERT_TRUE(ReadManifest(checkpoint, &manifest).ok());
  ASSERT_EQ(manifest.table_size(), 1);
  EXPECT_EQ(manifest.table(0).name(), "C1");
  EXPECT_EQ(manifest.table(0).optimizer(), "adam");
  EXPECT_EQ(manifest.table(0).rows(), 50u);
  EXPECT_GE(manifest.table(0).state_floats(), 2 * manifest.table(0).dim());
  ASSERT_EQ(manifest.shard_size(), 2);
  EXPECT_EQ(manifest.shard(1).folder(), "ps-0001");
  EXPECT_EQ(manifest.state().steps(), 7u);
  EXPECT_EQ(manifest.created_unix_s(), 1'700'000'000);
  proto::JobConfig job;
  ASSERT_TRUE(ReadCheckpointJob(checkpoint, &job).ok());
  EXPECT_EQ(job.name(), "fake");
}

TEST_F(Checkpoints, AWriterThatStopsBeforePublishingChangesNothing) {
  const std::string before = Write(10, true);
  for (const StopAfter stop : {StopAfter::kBegin, StopAfter::kSnapshot, StopAfter::kSeal}) {
    Write(20, true, stop);
    EXPECT_EQ(*ResolveCheckpoint(scratch_.path()), before);
    EXPECT_THAT(*ListCheckpoints(scratch_.path()), ElementsAre(before));
    EXPECT_THAT(Problems(scratch_.path()), SizeIs(0));
    ASSERT_TRUE(RemoveLeftovers(folder()).ok());
    EXPECT_FALSE(fs::exists(folder() + "/.tmp-step-000000000020"));
  }
}

TEST_F(Checkpoints, AWriterThatStopsBeforeLatestLeavesThePreviousOne) {
  const std::string before = Write(10, true);
  const std::string published = Write(20, true, StopAfter::kPublish);
  EXPECT_EQ(*ResolveCheckpoint(scratch_.path()), before);
  // The same step is written again beside it.
  const std::string again = Write(20, true);
  EXPECT_NE(again, published);
  EXPECT_EQ(*ResolveCheckpoint(scratch_.path()), again);
  EXPECT_THAT(*ListCheckpoints(scratch_.path()), ElementsAre(before, published, again));
}

TEST_F(Checkpoints, AWriterThatStopsBeforeTheFirstLatestLeavesTheCheckpoint) {
  const std::string first = Write(10, false, StopAfter::kPublish);
  EXPECT_EQ(*ResolveCheckpoint(scratch_.path()), first);
}

TEST_F(Checkpoints, AWriterThatStopsBeforeBestLeavesThePreviousBest) {
  Write(10, true);
  const std::string latest = Write(20, true, StopAfter::kLatest);
  EXPECT_EQ(*ResolveCheckpoint(scratch_.path()), latest);
  EXPECT_EQ(*ReadPointer(folder(), kBestFile), "step-000000000010");
}

TEST_F(Checkpoints, PruningKeepsTheNewestLatestBestAndTheNamed) {
  for (const std::uint64_t steps : {10, 20, 30, 40, 50}) Write(steps, steps == 20);
  ASSERT_TRUE(PruneCheckpoints(folder(), 1, "step-000000000030").ok());
  EXPECT_THAT(*ListCheckpoints(folder()),
              ElementsAre(HasSubstr("020"), HasSubstr("030"), HasSubstr("050")));
  ASSERT_TRUE(MovePointer(folder(), kLatestFile, "step-000000000020").ok());
  ASSERT_TRUE(PruneCheckpoints(folder(), 1, "").ok());
  EXPECT_THAT(*ListCheckpoints(folder()), ElementsAre(HasSubstr("020"), HasSubstr("050")));
}

TEST_F(Checkpoints, AnyFlippedByteOfAnyFileIsFoundAndNamed) {
  const std::string checkpoint = Write(10, true);
  for (const std::string file :
       {"MANIFEST.textproto", "job.textproto", "ps-0000/rows", "ps-0001/rows"}) {
    const std::size_t bytes = fs::file_size(checkpoint + "/" + file);
    for (std::size_t at = 0; at < bytes; at += 1 + bytes / 97) {
      SCOPED_TRACE(file + " at " + std::to_string(at));
      FlipByte(checkpoint + "/" + file, at);
      EXPECT_THAT(Problems(checkpoint), ElementsAre(HasSubstr(file)));
      FlipByte(checkpoint + "/" + file, at);
    }
  }
  for (const std::string file : {"LATEST", "BEST"}) {
    const std::size_t bytes = fs::file_size(folder() + "/" + file);
    for (std::size_t at = 0; at < bytes; ++at) {
      SCOPED_TRACE(file + " at " + std::to_string(at));
      FlipByte(folder() + "/" + file, at);
      EXPECT_THAT(Problems(scratch_.path()), ElementsAre(HasSubstr("checkpoints/" + file)));
      FlipByte(folder() + "/" + file, at);
    }
  }
  EXPECT_THAT(Problems(scratch_.path()), SizeIs(0));
}

TEST_F(Checkpoints, AManifestCutAnywhereIsFound) {
  const std::string checkpoint = Write(10);
  const std::string path = checkpoint + "/MANIFEST.textproto";
  const std::string whole = ReadText(path);
  for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
    WriteText(path, whole.substr(0, bytes));
    proto::CheckpointManifest manifest;
    EXPECT_TRUE(absl::IsDataLoss(ReadManifest(checkpoint, &manifest))) << bytes;
  }
}

TEST_F(Checkpoints, MissingExtraResizedAndLinkedFilesAreNamed) {
  const std::string checkpoint = Write(10);
  const std::string rows = checkpoint + "/ps-0001/rows";
  const std::string whole = ReadText(rows);

  WriteText(rows, whole + "1");
  EXPECT_THAT(Problems(checkpoint),
              ElementsAre(AllOf(HasSubstr("ps-0001/rows"), HasSubstr("bytes, the manifest says"))));
  fs::remove(rows);
  EXPECT_THAT(Problems(checkpoint), ElementsAre("ps-0001/rows: missing"));
  WriteText(scratch_.path() + "/elsewhere", whole);
  fs::create_symlink(scratch_.path() + "/elsewhere", rows);
  EXPECT_THAT(Problems(checkpoint), ElementsAre("ps-0001/rows: is not a regular file"));
  fs::remove(rows);
  WriteText(rows, whole);
  WriteText(checkpoint + "/ps-0000/more", "");
  EXPECT_THAT(Problems(checkpoint), ElementsAre("ps-0000/more: extra: not in the manifest"));
  fs::remove(checkpoint + "/ps-0000/more");
  fs::remove(checkpoint + "/MANIFEST.textproto");
  EXPECT_THAT(Problems(checkpoint), ElementsAre(HasSubstr("MANIFEST.textproto")));
  EXPECT_THAT(Problems(scratch_.path()),
              ElementsAre(HasSubstr("checkpoints/step-000000000010/MANIFEST.textproto")));
}

TEST_F(Checkpoints, ALatestThatNamesNothingIsFound) {
  Write(10);
  fs::remove_all(Write(20));
  EXPECT_TRUE(absl::IsDataLoss(ResolveCheckpoint(scratch_.path()).status()));
  EXPECT_THAT(Problems(scratch_.path()), ElementsAre(HasSubstr("checkpoints/LATEST: names step-")));
}

TEST_F(Checkpoints, APointerCannotLeaveTheFolder) {
  Write(10);
  ASSERT_TRUE(MovePointer(folder(), kLatestFile, "../../etc").ok());
  EXPECT_TRUE(absl::IsDataLoss(ResolveCheckpoint(scratch_.path()).status()));
}

TEST_F(Checkpoints, ShardsMustCoverEverySlotOnce) {
  const std::string gap = Write(10);
  ChangeManifest(gap, [](auto& manifest) { manifest.mutable_shard(0)->set_last_slot(510); });
  EXPECT_THAT(Problems(gap), ElementsAre(HasSubstr("slot 511 is in no shard")));
  const std::string twice = Write(20);
  ChangeManifest(twice, [](auto& manifest) { manifest.mutable_shard(1)->set_first_slot(511); });
  EXPECT_THAT(Problems(twice), ElementsAre(HasSubstr("slot 511 is in two shards")));
  const std::string few = Write(30);
  ChangeManifest(few, [](auto& manifest) { manifest.mutable_shard(1)->set_last_slot(1022); });
  EXPECT_THAT(Problems(few), ElementsAre(HasSubstr("slot 1023 is in no shard")));
}

TEST_F(Checkpoints, RowCountsAndStateMustAddUp) {
  const std::string rows = Write(10);
  ChangeManifest(rows, [](auto& manifest) { manifest.mutable_table(0)->set_rows(49); });
  EXPECT_THAT(Problems(rows), ElementsAre(HasSubstr("table C1 has 49 rows, its shards have 50")));
  const std::string epoch = Write(20);
  ChangeManifest(epoch, [](auto& manifest) { manifest.mutable_state()->set_epoch(2); });
  EXPECT_THAT(Problems(epoch), ElementsAre(HasSubstr("epoch 2")));
  const std::string none = Write(30);
  ChangeManifest(none, [](auto& manifest) { manifest.clear_state(); });
  EXPECT_THAT(Problems(none), ElementsAre(HasSubstr("no training state")));
}

TEST_F(Checkpoints, HostilePathsInAManifestAreRefused) {
  const std::string checkpoint = Write(10);
  const std::string sound_manifest = ReadText(checkpoint + "/MANIFEST.textproto");
  for (const std::string path : {"../../outside", "/etc/passwd", "job.textproto"}) {
    ChangeManifest(checkpoint, [&](auto& manifest) { manifest.add_file()->set_path(path); });
    EXPECT_THAT(Problems(checkpoint), ElementsAre(AllOf(HasSubstr("MANIFEST"), HasSubstr(path))));
    WriteText(checkpoint + "/MANIFEST.textproto", sound_manifest);
  }
}

TEST_F(Checkpoints, ALaterFormatIsRefused) {
  const std::string checkpoint = Write(10);
  ChangeManifest(checkpoint, [](auto& manifest) { manifest.set_format_version(2); });
  proto::CheckpointManifest manifest;
  EXPECT_TRUE(absl::IsFailedPrecondition(ReadManifest(checkpoint, &manifest)));
}

TEST_F(Checkpoints, ServersThatDisagreeAreNotSealed) {
  fs::create_directories(folder());
  auto writer = CheckpointWriter::Begin(folder(), "step-000000000001");
  ASSERT_TRUE(writer.ok());
  std::vector<proto::SnapshotReply> replies(2);
  for (std::uint32_t i = 0; i < 2; ++i) {
    ASSERT_TRUE(servers_[i].Snapshot(writer->ShardFolder(i), &replies[i]).ok());
  }
  replies[1].add_dense()->set_name("bias");
  EXPECT_TRUE(absl::IsFailedPrecondition(writer->Seal(FakeJob(), state_, replies, 0, "")));
  replies[1].clear_dense();
  replies[1].mutable_shard()->add_rows(3);
  EXPECT_TRUE(absl::IsFailedPrecondition(writer->Seal(FakeJob(), state_, replies, 0, "")));
}

}  // namespace
}  // namespace cairn::launch
