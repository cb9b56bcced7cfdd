#include "tests/launch/inspect/fake_checkpoint.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <span>
#include <tuple>

#include "common/io/checksum.h"
#include "common/io/file.h"
#include "common/math/hash.h"
#include "launch/coordinator/checkpoint_names.h"
#include "proto/config.pb.h"

namespace cairn::launch {
namespace {

constexpr int kSlotBits = 10;

class FakeReader final : public ps::ShardReader {
 public:
  FakeReader(const FakeShard& shard) : shard_(shard) {}  // NOLINT: a test's own

  Status ForEachRow(std::uint32_t table,
                    const std::function<bool(const ps::RowView&)>& visit) const override {
    for (const FakeRow& row : shard_.rows) {
      if (row.table == table && !visit(View(row))) return OkStatus();
    }
    return shard_.after_rows;
  }
  Status ForEachRowOfSlots(
      std::uint32_t first_slot, std::uint32_t last_slot,
      const std::function<bool(std::uint32_t, const ps::RowView&)>& visit) const override {
    for (const FakeRow& row : shard_.rows) {
      if (row.slot < first_slot || row.slot > last_slot) continue;
      if (!visit(row.table, View(row))) return OkStatus();
    }
    return shard_.after_rows;
  }
  Status FindRow(std::uint32_t table, std::uint64_t key,
                 const std::function<void(const ps::RowView&)>& visit) const override {
    for (const FakeRow& row : shard_.rows) {
      if (row.table != table || row.key != key) continue;
      visit(View(row));
      return OkStatus();
    }
    return absl::NotFoundError("no row");
  }
  Status ForEachDenseChunk(
      const std::function<bool(const ps::DenseChunkView&)>& visit) const override {
    for (const FakeChunk& chunk : shard_.chunks) {
      ps::DenseChunkView view;
      view.slot = chunk.slot;
      view.tensor = chunk.tensor;
      view.chunk = chunk.chunk;
      view.value = chunk.value;
      view.state = chunk.state;
      view.metadata = chunk.metadata;
      view.record = Record(chunk);
      if (!visit(view)) break;
    }
    return OkStatus();
  }
  Result<std::uint64_t> PushCount() const override { return absl::NotFoundError("not kept"); }
  Result<std::uint64_t> CountRows(std::uint32_t) const override { return shard_.rows.size(); }
  Status VerifyBlocks() const override { return shard_.blocks; }

 private:
  // As it would be stored; until the next call.
  template <typename Fake>
  std::span<const std::byte> Record(const Fake& fake) const {
    const ps::RowLayout layout(fake.value.size(), fake.state.size());
    record_.resize(layout.RecordBytes());
    const auto state = std::ranges::copy(std::as_bytes(std::span(fake.value)), record_.begin()).out;
    std::ranges::copy(std::as_bytes(std::span(fake.state)), state);
    layout.SetMetadata(record_.data(), fake.metadata);
    return record_;
  }
  ps::RowView View(const FakeRow& row) const {
    ps::RowView view;
    view.slot = row.slot;
    view.key = row.key;
    view.value = row.value;
    view.state = row.state;
    view.metadata = row.metadata;
    view.record = Record(row);
    return view;
  }
  const FakeShard& shard_;
  mutable std::vector<std::byte> record_;
};

void AddTable(proto::CheckpointManifest& manifest, const std::string& name, std::uint32_t dim,
              const std::string& optimizer, std::uint32_t state_floats) {
  proto::TableEntry& table = *manifest.add_table();
  table.set_name(name);
  table.set_dim(dim);
  table.set_optimizer(optimizer);
  table.set_state_floats(state_floats);
  table.set_rows(0);
}

void AddEpoch(proto::TrainState& state, double loss, double auc) {
  proto::EpochRecord& epoch = *state.add_history();
  epoch.set_epoch(static_cast<std::uint64_t>(state.history_size() - 1));
  epoch.set_train_loss(loss);
  epoch.set_rows(1'000'000);
  epoch.set_seconds(25);
  epoch.mutable_valid()->set_auc(auc);
  epoch.mutable_valid()->set_logloss(0.44);
  epoch.mutable_valid()->set_rows(5000);
}

void AddFile(proto::CheckpointManifest& manifest, const std::string& folder,
             const std::string& path, const std::string& content) {
  EXPECT_TRUE(MakeFolders(FolderOf(folder + "/" + path)).ok());
  EXPECT_TRUE(WriteFileAtomically(folder + "/" + path, content).ok());
  proto::FileEntry& file = *manifest.add_file();
  file.set_path(path);
  file.set_bytes(content.size());
  file.set_xxh3(ChecksumOfBytes(content));
}

}  // namespace

FakeCheckpoint::FakeCheckpoint() {
  char folder[] = "/tmp/cairn_inspect_XXXXXX";
  EXPECT_NE(mkdtemp(folder), nullptr);
  run_dir_ = folder;
  manifest.set_format_version(1);
  manifest.set_job_name("clicks");
  manifest.set_seed(2026);
  manifest.set_slot_bits(kSlotBits);
  manifest.set_created_unix_s(1'800'000'000);
  manifest.set_writer("cairn 0.1.0");
  AddTable(manifest, "user", 8, "adagrad", 8);
  AddTable(manifest, "item", 2, "sgd", 0);
  for (const char* name : {"tower.weight", "tower.bias"}) {
    proto::DenseTensorEntry& tensor = *manifest.add_dense();
    tensor.set_name(name);
    tensor.add_dim(3);
    tensor.set_optimizer("adam");
  }
  proto::TrainState& state = *manifest.mutable_state();
  state.set_epoch(2);
  state.set_steps(300);
  state.set_rows(2'000'000);
  state.set_train_seconds(50);
  AddEpoch(state, 0.47, 0.79);
  AddEpoch(state, 0.45, 0.80125);
  state.set_best_epoch(1);
  state.set_best_value(0.80125);
  state.set_best_checkpoint("step-000000000300");
  shards.resize(2);
  for (std::uint32_t ps = 0; ps < 2; ++ps) {
    proto::ShardEntry& shard = *manifest.add_shard();
    shard.set_ps(ps);
    shard.set_folder("ps-000" + std::to_string(ps));
    shard.set_first_slot(ps * 512);
    shard.set_last_slot(ps * 512 + 511);
    shard.add_rows(0);
    shard.add_rows(0);
  }
  for (const proto::DenseTensorEntry& tensor : manifest.dense()) {
    const std::uint32_t slot = SlotOf(DenseChunkKey(tensor.name(), 0), kSlotBits);
    shards[slot / 512].chunks.push_back({tensor.name(), 0, {1, 2, 3}, slot});
    proto::ShardEntry& shard = *manifest.mutable_shard(static_cast<int>(slot / 512));
    shard.set_dense_chunks(shard.dense_chunks() + 1);
  }
}

FakeCheckpoint::~FakeCheckpoint() { EXPECT_TRUE(RemoveTree(run_dir_).ok()); }

void FakeCheckpoint::AddRow(const FakeRow& row) {
  FakeRow placed = row;
  placed.slot = SlotOf(row.key, kSlotBits);
  const int shard = static_cast<int>(placed.slot / 512);
  const int table = static_cast<int>(row.table);
  proto::ShardEntry& entry = *manifest.mutable_shard(shard);
  entry.set_rows(table, entry.rows(table) + 1);
  manifest.mutable_table(table)->set_rows(manifest.table(table).rows() + 1);
  shards[static_cast<std::size_t>(shard)].rows.push_back(placed);
}

void FakeCheckpoint::Sort() {
  for (FakeShard& shard : shards) {
    std::ranges::sort(shard.rows, {},
                      [](const FakeRow& row) { return std::tuple(row.slot, row.table, row.key); });
    std::ranges::sort(shard.chunks, {}, [](const FakeChunk& chunk) {
      return std::tuple(chunk.slot, chunk.tensor, chunk.chunk);
    });
  }
}

void FakeCheckpoint::Write(const std::string& name) {
  Sort();
  name_ = name;
  proto::CheckpointManifest written = manifest;
  proto::JobConfig job;
  job.set_name("clicks");
  job.mutable_model()->mutable_lr();
  std::string text;
  google::protobuf::TextFormat::PrintToString(job, &text);
  AddFile(written, Folder(), "job.textproto", text);
  AddFile(written, Folder(), "ps-0000/rows.sst", "rows of the first server");
  AddFile(written, Folder(), "ps-0000/CURRENT", "MANIFEST-1\n");
  AddFile(written, Folder(), "ps-0001/rows.sst", "rows of the second server");
  google::protobuf::TextFormat::PrintToString(written, &text);
  EXPECT_TRUE(WriteFileAtomically(ManifestPath(), SealText(text)).ok());
  EXPECT_TRUE(WriteFileAtomically(run_dir_ + "/checkpoints/LATEST", PointerText(name)).ok());
}

void FakeCheckpoint::FlipByte(const std::string& path, std::size_t at) const {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(at));
  const char byte = static_cast<char>(file.get() ^ 0x20);
  file.seekp(static_cast<std::streamoff>(at));
  file.put(byte);
  ASSERT_TRUE(file.good()) << path;
}

ShardOpener FakeCheckpoint::Opener() const {
  return [this](const std::string&, const proto::CheckpointManifest&,
                std::size_t index) -> Result<std::unique_ptr<ps::ShardReader>> {
    RETURN_IF_ERROR(shards[index].open);
    return std::unique_ptr<ps::ShardReader>(std::make_unique<FakeReader>(shards[index]));
  };
}

}  // namespace cairn::launch
