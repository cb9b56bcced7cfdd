#include "launch/inspect/inspect.h"

#include <gmock/gmock.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <sstream>
#include <string>

#include "common/io/file.h"
#include "common/math/hash.h"
#include "tests/launch/inspect/fake_checkpoint.h"

namespace cairn::launch {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class InspectTest : public testing::Test {
 protected:
  InspectTest() {
    checkpoint_.AddRow({0,
                        KeyOf("alice", TableSalt("user")),
                        {0.5, -0.5, 0.5, 0.5, 0, 0, 0, 0},
                        {1, 2, 3, 4, 5, 6, 7, 8},
                        {3, 4, 200}});
    checkpoint_.AddRow({0,
                        18'000'000'000'000'000'001ull,
                        {1, 0, 0, 0, 0, 0, 0, 0},
                        std::vector<float>(8, 0.1f),
                        {1, 1, 7}});
    checkpoint_.AddRow({1, 42, {0.1f, 0.2f}, {}, {9, 9, 299}});
  }

  // Runs a verb with an output that is read back.
  Status Run(const std::function<Status(Output&)>& verb) {
    std::FILE* file = std::tmpfile();
    Output out(fileno(file));
    const Status status = verb(out);
    std::rewind(file);
    result_.clear();
    char piece[4096];
    for (std::size_t got; (got = std::fread(piece, 1, sizeof piece, file)) > 0;) {
      result_.append(piece, got);
    }
    std::fclose(file);
    return status;
  }
  Status Summary(const std::string& path, Format format = Format::kTable) {
    return Run([&](Output& out) { return InspectSummary(path, format, out, messages_); });
  }
  Status Tables(Format format) {
    return Run(
        [&](Output& out) { return InspectTables(checkpoint_.Folder(), format, out, messages_); });
  }
  Status Rows(const RowsRequest& request, Format format = Format::kTable) {
    return Run([&](Output& out) {
      return InspectRows(checkpoint_.Folder(), request, format, out, messages_,
                         checkpoint_.Opener());
    });
  }
  Status Verify(const std::string& path, Format format = Format::kTable) {
    return Run([&](Output& out) {
      return InspectVerify(path, format, out, messages_, checkpoint_.Opener());
    });
  }
  Status Digest(const std::string& path, Format format = Format::kTable) {
    return Run([&](Output& out) {
      return InspectDigest(path, format, out, messages_, checkpoint_.Opener());
    });
  }
  Value Json() const {
    Value value;
    EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(result_, &value).ok()) << result_;
    return value;
  }

  FakeCheckpoint checkpoint_;
  std::string result_;
  std::ostringstream messages_;
};

TEST_F(InspectTest, SummaryTellsWhatAPersonAsksFirst) {
  checkpoint_.Write();
  for (const std::string& path : {checkpoint_.run_dir(), checkpoint_.run_dir() + "/checkpoints/",
                                  checkpoint_.Folder(), checkpoint_.Folder() + "/"}) {
    ASSERT_TRUE(Summary(path).ok()) << path;
    EXPECT_THAT(result_, HasSubstr("step-000000000300 (LATEST)"));
  }
  EXPECT_THAT(result_, HasSubstr("clicks, model lr, seed 2026"));
  EXPECT_THAT(result_, HasSubstr("start of epoch 3"));
  EXPECT_THAT(result_, HasSubstr("300 steps, 2 000 000 rows in 50.0 s, 40 000 rows/s"));
  EXPECT_THAT(result_, HasSubstr("0.80125"));
  EXPECT_THAT(result_,
              HasSubstr("tables: 2, 3 rows, 184 B"));  // 2 * (16 floats + 16) + 2 floats + 16
  EXPECT_THAT(result_, HasSubstr("dense: 2 tensors, 6 parameters"));
  EXPECT_THAT(result_, HasSubstr("files: 4"));
  EXPECT_EQ(messages_.str(), "");
}

TEST_F(InspectTest, SummaryIsExactForPrograms) {
  checkpoint_.Write();
  ASSERT_TRUE(Summary(checkpoint_.run_dir(), Format::kJson).ok());
  const Struct root = Json().struct_value();
  EXPECT_EQ(root.fields().at("job").string_value(), "clicks");
  const Struct state = root.fields().at("state").struct_value();
  EXPECT_EQ(state.fields().at("steps").number_value(), 300);
  EXPECT_EQ(state.fields().at("history").list_value().values_size(), 2);
  EXPECT_EQ(root.fields()
                .at("table")
                .list_value()
                .values(0)
                .struct_value()
                .fields()
                .at("rows")
                .number_value(),
            2);
  EXPECT_EQ(root.fields().at("file").list_value().values_size(), 4);
  ASSERT_TRUE(Summary(checkpoint_.run_dir(), Format::kCsv).ok());
  EXPECT_THAT(result_, StartsWith("field,value\ncheckpoint,"));
  EXPECT_THAT(result_, HasSubstr("\nrows,2000000\n"));
}

TEST_F(InspectTest, NothingThereIsNotFound) {
  EXPECT_EQ(Summary("/no/such/run").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Summary(checkpoint_.run_dir()).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(result_, "");
}

TEST_F(InspectTest, DamagedManifestIsDecodedAsFarAsItCanBe) {
  checkpoint_.Write();
  const std::string text = *ReadFile(checkpoint_.ManifestPath());
  checkpoint_.FlipByte(checkpoint_.ManifestPath(), text.find("table {"));  // "Table {"
  EXPECT_EQ(Summary(checkpoint_.Folder()).code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(result_, HasSubstr("clicks"));
  EXPECT_THAT(messages_.str(), HasSubstr("MANIFEST.textproto"));
  EXPECT_THAT(messages_.str(), HasSubstr("what can be read of it"));
}

TEST_F(InspectTest, AnyManifestByteMayBeDamagedWithoutHarm) {
  checkpoint_.Write();
  const std::size_t size = *FileSize(checkpoint_.ManifestPath());
  for (std::size_t at = 0; at < size; at += 11) {
    checkpoint_.FlipByte(checkpoint_.ManifestPath(), at);
    for (const auto& status : {Summary(checkpoint_.Folder()), Tables(Format::kJson),
                               Rows({.table = "user"}), Verify(checkpoint_.Folder())}) {
      EXPECT_FALSE(status.ok()) << "byte " << at;
    }
    checkpoint_.FlipByte(checkpoint_.ManifestPath(), at);
  }
  EXPECT_TRUE(Verify(checkpoint_.Folder()).ok());
}

TEST_F(InspectTest, DamagedLatestGivesWayToTheNewest) {
  checkpoint_.Write("step-000000000100");
  checkpoint_.Write("step-000000000300");
  checkpoint_.FlipByte(checkpoint_.run_dir() + "/checkpoints/LATEST", 3);
  EXPECT_EQ(Summary(checkpoint_.run_dir()).code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(result_, HasSubstr("step-000000000300\n"));
  EXPECT_THAT(messages_.str(), HasSubstr("LATEST"));
}

TEST_F(InspectTest, LaterFormatIsRefused) {
  checkpoint_.manifest.set_format_version(99);
  checkpoint_.Write();
  EXPECT_EQ(Summary(checkpoint_.Folder()).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(InspectTest, ForgedManifestOpensNothing) {
  const auto forge = [&](const std::function<void(proto::CheckpointManifest&)>& change) {
    const proto::CheckpointManifest sound = checkpoint_.manifest;
    change(checkpoint_.manifest);
    checkpoint_.Write();
    checkpoint_.manifest = sound;
    for (FakeShard& shard : checkpoint_.shards) shard.open = absl::InternalError("opened");
    EXPECT_EQ(Rows({.table = "user"}).code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(messages_.str(), Not(HasSubstr("opened")));
    EXPECT_EQ(Verify(checkpoint_.Folder()).code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(result_, HasSubstr("MANIFEST.textproto"));
    EXPECT_THAT(result_, Not(HasSubstr("opened")));
    EXPECT_EQ(RemoveTree(checkpoint_.Folder()), OkStatus());
  };
  forge([](auto& m) { m.set_slot_bits(60); });
  forge([](auto& m) { m.mutable_shard(1)->set_last_slot(4'000'000'000u); });
  forge([](auto& m) { m.mutable_shard(0)->set_folder("../../etc"); });
  forge([](auto& m) { m.mutable_table(0)->set_dim(4'000'000'000u); });
}

TEST_F(InspectTest, TablesShowRowsPerShard) {
  checkpoint_.Write();
  ASSERT_TRUE(Tables(Format::kTable).ok());
  EXPECT_THAT(result_, HasSubstr("ps 0  ps 1\n"));
  EXPECT_THAT(result_, HasSubstr("user"));
  ASSERT_TRUE(Tables(Format::kCsv).ok());
  EXPECT_THAT(
      result_,
      HasSubstr("id,table,dim,optimizer,state floats,storage,record bytes,rows,bytes,ps 0"));
  EXPECT_THAT(result_, HasSubstr("\n0,user,8,adagrad,8,float32,80,2,160,"));
  ASSERT_TRUE(Tables(Format::kJson).ok());
  const auto user = Json().list_value().values(0).struct_value();
  double rows = 0;
  for (const Value& shard : user.fields().at("rows_per_shard").list_value().values()) {
    rows += shard.number_value();
  }
  EXPECT_EQ(rows, 2);
}

TEST_F(InspectTest, RowOfAValueIsFoundByItsHash) {
  checkpoint_.Write();
  ASSERT_TRUE(Rows({.table = "user", .value = "alice"}).ok());
  EXPECT_THAT(result_, HasSubstr(std::to_string(KeyOf("alice", TableSalt("user")))));
  EXPECT_THAT(result_, HasSubstr("[0.5 -0.5 0.5 0.5 0 0 ... 2 more]"));
  EXPECT_THAT(result_, Not(HasSubstr("[1 2")));
  ASSERT_TRUE(
      Rows({.table = "user", .value = "alice", .all_values = true, .with_state = true}).ok());
  EXPECT_THAT(result_, HasSubstr("[0.5 -0.5 0.5 0.5 0 0 0 0]  [1 2 3 4 5 6 7 8]\n"));
}

TEST_F(InspectTest, AbsentRowIsNotFoundAndNamed) {
  checkpoint_.Write();
  const Status status = Rows({.table = "user", .value = "bob"}, Format::kJson);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("table user, value 'bob'"));
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("min_count")));
  EXPECT_EQ(result_, "[]\n");
}

TEST_F(InspectTest, ARareValueIsToldWhereItsRowIs) {
  checkpoint_.Write();
  ASSERT_TRUE(WriteFileAtomically(checkpoint_.Folder() + "/vocabulary", "any").ok());
  const Status status = Rows({.table = "user", .value = "bob"});
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(StrCat("min_count shares the row --key=", RareKey(TableSalt("user")))));
}

TEST_F(InspectTest, RowsAreExactForPrograms) {
  checkpoint_.Write();
  ASSERT_TRUE(Rows({.table = "user",
                    .key = 18'000'000'000'000'000'001ull,
                    .all_values = true,
                    .with_state = true},
                   Format::kJson)
                  .ok());
  const auto row = Json().list_value().values(0).struct_value();
  EXPECT_EQ(row.fields().at("key").string_value(), "18000000000000000001");
  EXPECT_EQ(row.fields().at("norm").number_value(), 1);
  EXPECT_EQ(row.fields().at("version").number_value(), 1);
  EXPECT_EQ(row.fields().at("state").list_value().values_size(), 8);
  EXPECT_THAT(result_, HasSubstr("0.1,"));
  ASSERT_TRUE(Rows({.table = "item"}, Format::kCsv).ok());
  EXPECT_THAT(result_, StartsWith("key,slot,ps,version,count,last_step,norm,v0,v1\n42,"));
  EXPECT_THAT(result_, EndsWith(",0.1,0.2\n"));
}

TEST_F(InspectTest, LimitBoundsTheRowsAndZeroMeansAll) {
  for (std::uint64_t key = 100; key < 130; ++key) checkpoint_.AddRow({1, key, {1, 1}, {}, {}});
  checkpoint_.Write();
  const auto lines = [&] { return std::count(result_.begin(), result_.end(), '\n'); };
  ASSERT_TRUE(Rows({.table = "item"}).ok());
  EXPECT_EQ(lines(), 11);
  ASSERT_TRUE(Rows({.table = "item", .limit = 3}).ok());
  EXPECT_EQ(lines(), 4);
  ASSERT_TRUE(Rows({.table = "item", .limit = 0}).ok());
  EXPECT_EQ(lines(), 32);
}

TEST_F(InspectTest, RequestsThatCannotBeAreRefused) {
  checkpoint_.Write();
  const Status unnamed = Rows({});
  EXPECT_EQ(unnamed.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(unnamed.message()), HasSubstr("user, item"));
  EXPECT_THAT(std::string(Rows({.table = "usr"}).message()), HasSubstr("no table usr"));
  EXPECT_EQ(Rows({.table = "user", .key = 1, .value = "x"}).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(InspectTest, RowsBeforeTheDamageAreShown) {
  checkpoint_.Write();
  checkpoint_.shards[0].after_rows = absl::DataLossError("bad block in 000012.sst");
  checkpoint_.shards[1].after_rows = absl::DataLossError("bad block in 000013.sst");
  EXPECT_EQ(Rows({.table = "user"}, Format::kCsv).code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(result_, HasSubstr("18000000000000000001"));
  EXPECT_THAT(messages_.str(), HasSubstr("ps-0000: bad block in 000012.sst"));
  EXPECT_THAT(messages_.str(), HasSubstr("ps-0001: bad block in 000013.sst"));
}

TEST_F(InspectTest, SoundCheckpointPassesAndSaysWhatWasChecked) {
  checkpoint_.Write("step-000000000100");
  checkpoint_.Write("step-000000000300");
  ASSERT_TRUE(Verify(checkpoint_.run_dir()).ok()) << result_;
  EXPECT_THAT(result_, HasSubstr("10 files"));
  EXPECT_THAT(result_, HasSubstr("of 2 checkpoints"));
  EXPECT_THAT(result_, HasSubstr("6 rows and 4 dense chunks"));
  EXPECT_THAT(result_, EndsWith("sound: " + checkpoint_.run_dir() + "\n"));
}

TEST_F(InspectTest, EveryDamagedFileIsNamed) {
  checkpoint_.Write();
  const auto files = ListFolder(checkpoint_.Folder(), ListMode::kAllFiles);
  ASSERT_TRUE(files.ok());
  ASSERT_EQ(files->size(), 5u);
  for (const std::string& file : *files) {
    checkpoint_.FlipByte(checkpoint_.Folder() + "/" + file, 3);
    EXPECT_EQ(Verify(checkpoint_.Folder()).code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(result_, HasSubstr("DAMAGED  " + checkpoint_.Folder() + "/" + file + ": "));
    EXPECT_EQ(Verify(checkpoint_.run_dir(), Format::kJson).code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(result_, HasSubstr(file));
    EXPECT_FALSE(Json().struct_value().fields().at("sound").bool_value());
    checkpoint_.FlipByte(checkpoint_.Folder() + "/" + file, 3);
  }
  EXPECT_TRUE(Verify(checkpoint_.Folder()).ok());
}

struct Damage {
  const char* name;
  std::function<void(FakeCheckpoint&)> make;
  const char* report;
};
void PrintTo(const Damage& damage, std::ostream* out) { *out << damage.name; }
class ScanDamage : public InspectTest, public testing::WithParamInterface<Damage> {};

TEST_P(ScanDamage, IsFound) {
  checkpoint_.Write();
  GetParam().make(checkpoint_);
  EXPECT_EQ(Verify(checkpoint_.Folder()).code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(result_, HasSubstr(GetParam().report));
}
FakeShard& ShardWithRows(FakeCheckpoint& checkpoint) {
  return checkpoint.shards[checkpoint.shards[0].rows.empty() ? 1 : 0];
}
INSTANTIATE_TEST_SUITE_P(
    All, ScanDamage,
    testing::Values(
        Damage{"nan_value", [](FakeCheckpoint& c) { ShardWithRows(c).rows[0].value[1] = NAN; },
               "a value that is not finite: key "},
        Damage{"inf_state",
               [](FakeCheckpoint& c) {
                 for (FakeShard& shard : c.shards) {
                   for (FakeRow& row : shard.rows) {
                     if (!row.state.empty()) row.state[0] = INFINITY;
                   }
                 }
               },
               "optimizer state that is not finite: key "},
        Damage{"wrong_slot", [](FakeCheckpoint& c) { ++ShardWithRows(c).rows[0].slot; },
               "in a slot that cannot be its own"},
        Damage{"other_shard",
               [](FakeCheckpoint& c) { std::swap(c.shards[0].rows, c.shards[1].rows); },
               "in a slot that cannot be its own"},
        Damage{"lost_row", [](FakeCheckpoint& c) { ShardWithRows(c).rows.pop_back(); },
               "rows, the manifest says"},
        Damage{"unknown_table", [](FakeCheckpoint& c) { ShardWithRows(c).rows[0].table = 7; },
               "a table that the manifest lacks"},
        Damage{"unknown_tensor",
               [](FakeCheckpoint& c) {
                 c.shards[c.shards[0].chunks.empty() ? 1 : 0].chunks[0].tensor = "other";
               },
               "dense tensor other that the manifest lacks"},
        Damage{"short_tensor",
               [](FakeCheckpoint& c) {
                 c.shards[c.shards[0].chunks.empty() ? 1 : 0].chunks[0].value.pop_back();
               },
               "2 elements in all shards, its shape says 3"},
        Damage{"nan_dense",
               [](FakeCheckpoint& c) {
                 c.shards[c.shards[0].chunks.empty() ? 1 : 0].chunks[0].value[0] = NAN;
               },
               "a value that is not finite: chunk 0"},
        Damage{"lost_chunk",
               [](FakeCheckpoint& c) {
                 c.shards[c.shards[0].chunks.empty() ? 1 : 0].chunks.pop_back();
               },
               "dense chunks, the manifest says"},
        Damage{"bad_block",
               [](FakeCheckpoint& c) { c.shards[1].blocks = absl::DataLossError("bad 7.sst"); },
               "ps-0001: bad 7.sst"},
        Damage{"does_not_open",
               [](FakeCheckpoint& c) { c.shards[1].open = absl::DataLossError("no CURRENT"); },
               "ps-0001: no CURRENT"}),
    [](const testing::TestParamInfo<Damage>& damage) { return damage.param.name; });

TEST_F(InspectTest, ShardWithDamagedFilesIsNotOpened) {
  checkpoint_.Write();
  checkpoint_.FlipByte(checkpoint_.Folder() + "/ps-0001/rows.sst", 3);
  checkpoint_.shards[1].open = absl::InternalError("opened a damaged database");
  EXPECT_EQ(Verify(checkpoint_.Folder()).code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(result_, Not(HasSubstr("opened a damaged database")));
  EXPECT_THAT(result_, HasSubstr("not scanned: rows of 1 server,"));
}

TEST_F(InspectTest, DigestIsOfAllAndOfEachPart) {
  checkpoint_.Write("step-000000000300");
  ASSERT_TRUE(Digest(checkpoint_.run_dir(), Format::kJson).ok()) << messages_.str();
  const auto json = Json().struct_value().fields();
  const std::string all = json.at("sha256").string_value();
  EXPECT_EQ(all.size(), 64u);
  const auto user = json.at("table").list_value().values(1).struct_value().fields();
  EXPECT_EQ(user.at("name").string_value(), "user");
  EXPECT_EQ(user.at("rows").number_value(), 2);
  EXPECT_EQ(json.at("dense").list_value().values_size(), 2);
  ASSERT_TRUE(Digest(checkpoint_.run_dir(), Format::kCsv).ok());
  EXPECT_THAT(result_, StartsWith("part,name,holds,sha256\nall,,3," + all + "\ntable,item,1,"));
  EXPECT_THAT(result_, HasSubstr("\ntable,user,2," + user.at("sha256").string_value() + "\n"));
  EXPECT_THAT(result_, HasSubstr("\ndense,,6," + json.at("dense_sha256").string_value() + "\n"));
  ASSERT_TRUE(Digest(checkpoint_.run_dir()).ok());
  EXPECT_THAT(result_, HasSubstr("3 rows        " + all + "\n"));
  const std::string before = result_;
  checkpoint_.Write("step-000000000301");  // another name, the same contents
  ASSERT_TRUE(Digest(checkpoint_.run_dir()).ok());
  EXPECT_EQ(result_, before);
}

TEST_F(InspectTest, DamageHasNoDigest) {
  checkpoint_.Write();
  for (const std::string& file : {std::string("/MANIFEST.textproto"), std::string("/../LATEST")}) {
    checkpoint_.FlipByte(checkpoint_.Folder() + file, 30);
    EXPECT_EQ(Digest(checkpoint_.run_dir()).code(), absl::StatusCode::kDataLoss) << file;
    EXPECT_EQ(result_, "");
    checkpoint_.FlipByte(checkpoint_.Folder() + file, 30);
  }
  checkpoint_.shards[1].after_rows = absl::DataLossError("bad block in 000013.sst");
  EXPECT_EQ(Digest(checkpoint_.run_dir()).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(result_, "");
}

TEST_F(InspectTest, ReaderThatLeavesIsNoError) {
  signal(SIGPIPE, SIG_IGN);
  checkpoint_.Write();
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  Output out(ends[1]);
  EXPECT_TRUE(InspectRows(checkpoint_.Folder(), {.table = "user"}, Format::kCsv, out, messages_,
                          checkpoint_.Opener())
                  .ok());
  close(ends[1]);
}

TEST_F(InspectTest, OutputThatFailsIsAnError) {
  checkpoint_.Write();
  std::FILE* full = std::fopen("/dev/full", "w");
  ASSERT_NE(full, nullptr);
  Output out(fileno(full));
  EXPECT_EQ(InspectSummary(checkpoint_.Folder(), Format::kTable, out, messages_).code(),
            absl::StatusCode::kUnavailable);
  std::fclose(full);
}

TEST(ParseFormat, KnowsThree) {
  EXPECT_EQ(*ParseFormat("json"), Format::kJson);
  EXPECT_THAT(std::string(ParseFormat("xml").status().message()), HasSubstr("table, json, csv"));
}

}  // namespace
}  // namespace cairn::launch
