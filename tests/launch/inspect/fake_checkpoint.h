// Checkpoints with any content: real files, seals and checksums, but shards that live in memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "launch/inspect/opened_checkpoint.h"
#include "proto/checkpoint.pb.h"
#include "ps/checkpoint/reader.h"

namespace cairn::launch {

struct FakeRow {
  std::uint32_t table = 0;
  std::uint64_t key = 0;
  std::vector<float> value;
  std::vector<float> state;
  ps::RowMetadata metadata;
  std::uint32_t slot = 0;  // of the key, unless a test moves it
};
struct FakeChunk {
  std::string tensor;
  std::uint32_t chunk = 0;
  std::vector<float> value;
  std::uint32_t slot = 0;
  std::vector<float> state = {};
  ps::RowMetadata metadata = {};
};
struct FakeShard {
  std::vector<FakeRow> rows;
  std::vector<FakeChunk> chunks;
  Status blocks;      // of VerifyBlocks
  Status after_rows;  // of ForEachRow and ForEachRowOfSlots, after all rows
  Status open;
};

// Two tables ("user": dim 8, adagrad; "item": dim 2, sgd) and two dense tensors over two servers,
// after two epochs. Change `manifest` and `shards` as needed, then Write.
class FakeCheckpoint {
 public:
  FakeCheckpoint();   // makes a run directory
  ~FakeCheckpoint();  // removes it

  void AddRow(const FakeRow& row);  // to the shard of its slot, counted in the manifest
  void Sort();                      // rows and chunks into the order of a database
  void Write(const std::string& name = "step-000000000300");

  std::string run_dir() const { return run_dir_; }
  std::string Folder() const { return run_dir_ + "/checkpoints/" + name_; }
  std::string ManifestPath() const { return Folder() + "/MANIFEST.textproto"; }
  void FlipByte(const std::string& path, std::size_t at) const;
  ShardOpener Opener() const;

  proto::CheckpointManifest manifest;
  std::vector<FakeShard> shards;

 private:
  std::string run_dir_;
  std::string name_;
};

}  // namespace cairn::launch
