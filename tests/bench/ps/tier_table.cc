#include "tests/bench/ps/tier_table.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "common/io/checksum.h"
#include "common/io/file.h"
#include "google/protobuf/text_format.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"
#include "proto/ps_service.pb.h"
#include "ps/checkpoint/manifest.h"
#include "ps/checkpoint/shard_files.h"
#include "ps/optim/optimizers.h"
#include "ps/server/ps_core.h"
#include "ps/store/rocks_store.h"
#include "ps/table/key_groups.h"
#include "ps/table/row_layout.h"
#include "ps/table/storage.h"

namespace cairn::bench {
namespace {

using ps::EncodedRowKey;
using ps::EncodeRowKey;
using ps::Family;
using ps::MixedKey;
using ps::PsCore;
using ps::RowKey;
using ps::RowLayout;
using ps::RowOptimizer;
using ps::RowStore;
using ps::SlotRange;
using ps::StoreRecord;

constexpr int kSlotBits = 10;
constexpr SlotRange kSlots{kSlotBits, 0, 1u << kSlotBits};
constexpr std::uint64_t kRowsOfSet = 4'000'000;
constexpr const char* kShard = "ps-0000";

// A state without rows, after one push.
Status MakeEmptyShard(const proto::JobConfig& job, const std::string& folder,
                      proto::SnapshotReply* reply) {
  proto::JobConfig resident = job;
  resident.mutable_server()->clear_memory_mib();
  const std::string live = JoinPath(folder, "live");
  {
    ASSIGN_OR_RETURN(const auto core,
                     PsCore::Make(resident, {.slot_bits = kSlotBits, .folder = live}));
    proto::RestoreReply restored;
    RETURN_IF_ERROR(core->Restore("", &restored));
    RETURN_IF_ERROR(core->Push({}, {}, {}, 1));
    RETURN_IF_ERROR(core->Snapshot(JoinPath(folder, kShard), reply));
  }
  return RemoveTree(live);
}

// Records of small weights and of accumulators that have seen some gradients.
class Records {
 public:
  explicit Records(const RowLayout& layout)
      : layout_(layout), floats_(layout.RecordBytes() / sizeof(float)) {}

  std::string_view Of(std::uint64_t key) {
    auto* const record = reinterpret_cast<std::byte*>(floats_.data());
    std::uint64_t bits = key;
    for (float& value : layout_.Value(record)) {
      bits = Mix64(bits);
      value = static_cast<float>(static_cast<std::int32_t>(bits >> 32)) * 0x1p-36f;
    }
    std::ranges::fill(layout_.State(record), 0.5f);
    layout_.SetMetadata(record, {1, 1, 1});
    return {reinterpret_cast<const char*>(record), layout_.RecordBytes()};
  }

 private:
  const RowLayout layout_;
  std::vector<float> floats_;
};

Status PutSlots(std::uint32_t begin, std::uint32_t end, std::uint64_t rows, Records& records,
                RowStore& store) {
  std::vector<RowKey> keys;
  keys.reserve(2 * kRowsOfSet);
  for (std::uint64_t rank = 0; rank < rows; ++rank) {
    const std::uint64_t key = KeyOfRank(rank);
    const std::uint32_t slot = kSlots.SlotOfMixed(MixedKey(key));
    if (slot >= begin && slot < end) keys.push_back({static_cast<std::uint16_t>(slot), 0, key});
  }
  std::ranges::sort(keys);
  EncodedRowKey key;
  // As many bytes as make the store ingest the set.
  return store.PutSorted(Family::kRows, keys.size(), std::uint64_t{keys.size()} << 8,
                         [&](std::size_t i) {
                           key = EncodeRowKey(keys[i]);
                           return StoreRecord{{key.data(), key.size()}, records.Of(keys[i].key)};
                         });
}

Status WriteManifest(const proto::JobConfig& job, const RowOptimizer& optimizer, std::uint64_t rows,
                     const std::string& folder, const proto::SnapshotReply& reply) {
  const proto::TableConfig& table = job.table(0);
  proto::CheckpointManifest manifest;
  manifest.set_slot_bits(kSlotBits);
  proto::TableEntry* const entry = manifest.add_table();
  entry->set_name(table.name());
  entry->set_dim(table.dim());
  entry->set_optimizer(std::string(optimizer.name()));
  entry->set_state_floats(static_cast<std::uint32_t>(optimizer.StateSize(table.dim())));
  ps::SetStorage(ps::StorageOf(table), entry);
  entry->set_rows(rows);
  *manifest.mutable_dense() = reply.dense();
  proto::ShardEntry* const shard = manifest.add_shard();
  *shard = reply.shard();
  shard->set_folder(kShard);
  shard->set_rows(0, rows);
  ps::ShardFileLister lister;
  ASSIGN_OR_RETURN(const auto files, lister.List(JoinPath(folder, kShard)));
  for (proto::FileEntry file : files) {
    file.set_path(StrCat(kShard, "/", file.path()));
    *manifest.add_file() = file;
  }
  std::string text;
  google::protobuf::TextFormat::PrintToString(manifest, &text);
  return WriteFileAtomically(JoinPath(folder, ps::kManifestFile), SealText(text));
}

}  // namespace

Status MakeTierCheckpoint(const proto::JobConfig& job, std::uint64_t rows,
                          const std::string& folder) {
  RETURN_IF_ERROR(MakeFolders(folder));
  const proto::TableConfig& table = job.table(0);
  ASSIGN_OR_RETURN(const auto optimizer, ps::MakeOptimizer(table.optimizer()));
  proto::SnapshotReply reply;
  RETURN_IF_ERROR(MakeEmptyShard(job, folder, &reply));
  {
    ASSIGN_OR_RETURN(const auto store, ps::OpenRocksStore(JoinPath(folder, kShard), {}));
    Records records(RowLayout(table.dim(), optimizer->StateSize(table.dim())));
    const auto sets =
        static_cast<std::uint32_t>(std::clamp<std::uint64_t>(rows / kRowsOfSet, 1, kSlots.count));
    for (std::uint32_t set = 0; set < sets; ++set) {
      RETURN_IF_ERROR(PutSlots(kSlots.count * set / sets, kSlots.count * (set + 1) / sets, rows,
                               records, *store));
    }
    RETURN_IF_ERROR(store->Flush());
  }
  return WriteManifest(job, *optimizer, rows, folder, reply);
}

}  // namespace cairn::bench
