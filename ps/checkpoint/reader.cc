#include "ps/checkpoint/reader.h"

#include <cstring>
#include <vector>

#include "common/io/file.h"
#include "common/math/hash.h"
#include "proto/checkpoint.pb.h"
#include "ps/dense/dense_format.h"
#include "ps/store/rocks_store.h"
#include "ps/table/value_codec.h"

namespace cairn::ps {
namespace {

std::string_view View(const EncodedRowKey& key) { return {key.data(), key.size()}; }

// First key of a slot's range; empty, which is no bound, beyond the last slot.
std::string SlotBegin(std::uint32_t slot) {
  if (slot > 0xffff) return {};
  return std::string(View(EncodeRowKey({static_cast<std::uint16_t>(slot), 0, 0})));
}

// Records are copied here, since the store's bytes may lie unaligned. Values of 16 bits, and the
// state behind them, which would not lie at a multiple of 4 bytes, are copied once more.
class AlignedRecord {
 public:
  const std::byte* Copy(std::string_view bytes) {
    floats_.resize((bytes.size() + sizeof(float) - 1) / sizeof(float));
    std::memcpy(floats_.data(), bytes.data(), bytes.size());
    return reinterpret_cast<const std::byte*>(floats_.data());
  }
  // The numbers of a copied record: value, then state.
  std::span<const float> Decode(const RowLayout& layout, const std::byte* record) {
    // Rounding, and so the stream, plays no part.
    const ValueCodec codec(Float16TypeOf(layout.storage()), 0);
    decoded_.resize(layout.dim() + layout.state_floats());
    codec.Decode(reinterpret_cast<const std::uint16_t*>(record), layout.dim(), decoded_.data());
    std::memcpy(decoded_.data() + layout.dim(), record + layout.ValueBytes(),
                layout.state_floats() * sizeof(float));
    return decoded_;
  }

 private:
  std::vector<float> floats_;
  std::vector<float> decoded_;
};

class RocksShardReader : public ShardReader {
 public:
  RocksShardReader(std::unique_ptr<RowStore> store, std::string folder,
                   const proto::CheckpointManifest& manifest, const proto::ShardEntry& shard)
      : store_(std::move(store)),
        folder_(std::move(folder)),
        slot_bits_(static_cast<int>(manifest.slot_bits())),
        first_slot_(shard.first_slot()),
        last_slot_(shard.last_slot()) {
    for (const proto::TableEntry& table : manifest.table()) {
      layouts_.emplace_back(table.dim(), table.state_floats(),
                            StorageOf(table).value_or(Storage::kFloat32));
    }
  }

  Status ForEachRow(std::uint32_t table,
                    const std::function<bool(const RowView&)>& visit) const override {
    RETURN_IF_ERROR(CheckTable(table));
    bool go_on = true;
    for (std::uint32_t slot = first_slot_; slot <= last_slot_ && go_on; ++slot) {
      const auto slot16 = static_cast<std::uint16_t>(slot);
      const auto table16 = static_cast<std::uint16_t>(table);
      const EncodedRowKey begin = EncodeRowKey({slot16, table16, 0});
      // Past the last table of a slot comes the next slot.
      const std::string end =
          table16 == 0xffff
              ? SlotBegin(slot + 1)
              : std::string(
                    View(EncodeRowKey({slot16, static_cast<std::uint16_t>(table16 + 1), 0})));
      RETURN_IF_ERROR(Scan(View(begin), end,
                           [&](std::uint32_t, const RowView& row) { return go_on = visit(row); }));
    }
    return OkStatus();
  }

  Status ForEachRowOfSlots(
      std::uint32_t first_slot, std::uint32_t last_slot,
      const std::function<bool(std::uint32_t, const RowView&)>& visit) const override {
    // At the shard's own ends there are no bounds, so that stray records are seen.
    return Scan(first_slot <= first_slot_ ? "" : SlotBegin(first_slot),
                last_slot >= last_slot_ ? "" : SlotBegin(last_slot + 1), visit);
  }

  Status FindRow(std::uint32_t table, std::uint64_t key,
                 const std::function<void(const RowView&)>& visit) const override {
    RETURN_IF_ERROR(CheckTable(table));
    const RowKey row{static_cast<std::uint16_t>(SlotOf(key, slot_bits_)),
                     static_cast<std::uint16_t>(table), key};
    std::string value;
    RETURN_IF_ERROR(store_->Get(Family::kRows, View(EncodeRowKey(row)), &value));
    AlignedRecord aligned;
    ASSIGN_OR_RETURN(const RowView view, Decode(row, value, &aligned));
    visit(view);
    return OkStatus();
  }

  Status ForEachDenseChunk(const std::function<bool(const DenseChunkView&)>& visit) const override {
    Status status;
    AlignedRecord aligned;
    RETURN_IF_ERROR(store_->Scan(Family::kDense, "", "", [&](const StoreRecord& stored) {
      const auto key = DecodeDenseKey(stored.key);
      const auto record = DecodeDenseRecord(stored.value);
      status = !key.ok() ? key.status() : record.status();
      if (!status.ok()) return false;
      if (SlotOf(DenseChunkKey(key->tensor, key->chunk), slot_bits_) != key->slot) {
        status = absl::DataLossError(StrCat("dense tensor ", key->tensor, ", chunk ", key->chunk,
                                            " does not belong in slot ", key->slot));
        return false;
      }
      const std::byte* const body = aligned.Copy(record->body);
      const RowLayout& layout = record->layout;
      return visit({key->slot,
                    key->tensor,
                    key->chunk,
                    layout.Value(body),
                    layout.State(body),
                    layout.Metadata(body),
                    {body, record->body.size()}});
    }));
    return Annotate(status, folder_);
  }

  Result<std::uint64_t> PushCount() const override {
    std::string bytes;
    RETURN_IF_ERROR(store_->Get(Family::kMeta, kServerStateKey, &bytes));
    proto::ServerState state;
    if (state.ParseFromString(bytes)) return state.step();
    return absl::DataLossError(StrCat(folder_, ": the state of the server is damaged"));
  }

  Result<std::uint64_t> CountRows(std::uint32_t table) const override {
    std::uint64_t rows = 0;
    RETURN_IF_ERROR(ForEachRow(table, [&rows](const RowView&) { return ++rows != 0; }));
    return rows;
  }

  Status VerifyBlocks() const override { return store_->VerifyBlocks(); }

 private:
  Status CheckTable(std::uint32_t table) const {
    if (table < layouts_.size()) return OkStatus();
    return absl::InvalidArgumentError(
        StrCat("table ", table, " of ", layouts_.size(), " does not exist"));
  }

  Result<RowView> Decode(const RowKey& key, std::string_view value, AlignedRecord* aligned) const {
    if (key.table >= layouts_.size() || SlotOf(key.key, slot_bits_) != key.slot ||
        key.slot < first_slot_ || key.slot > last_slot_) {
      return absl::DataLossError(StrCat(folder_, ": key ", key.key, " does not belong in table ",
                                        key.table, ", slot ", key.slot, " of this shard"));
    }
    const RowLayout& layout = layouts_[key.table];
    if (value.size() != layout.RecordBytes()) {
      return absl::DataLossError(StrCat(folder_, ": the record of table ", key.table, ", key ",
                                        key.key, " has ", value.size(), " bytes, not ",
                                        layout.RecordBytes()));
    }
    const std::byte* const record = aligned->Copy(value);
    if (layout.storage() != Storage::kFloat32) {
      const std::span<const float> numbers = aligned->Decode(layout, record);
      return RowView{key.slot,
                     key.key,
                     numbers.first(layout.dim()),
                     numbers.subspan(layout.dim()),
                     layout.Metadata(record),
                     {record, value.size()}};
    }
    return RowView{key.slot,
                   key.key,
                   layout.Value(record),
                   layout.State(record),
                   layout.Metadata(record),
                   {record, value.size()}};
  }

  Status Scan(std::string_view begin, std::string_view end,
              const std::function<bool(std::uint32_t, const RowView&)>& visit) const {
    Status status;
    AlignedRecord aligned;
    RETURN_IF_ERROR(store_->Scan(Family::kRows, begin, end, [&](const StoreRecord& stored) {
      const std::optional<RowKey> key = DecodeRowKey(stored.key);
      if (!key.has_value()) {
        status =
            absl::DataLossError(StrCat(folder_, ": a row's key has ", stored.key.size(), " bytes"));
        return false;
      }
      const auto row = Decode(*key, stored.value, &aligned);
      status = row.status();
      return status.ok() && visit(key->table, *row);
    }));
    return status;
  }

  const std::unique_ptr<RowStore> store_;
  const std::string folder_;
  const int slot_bits_;
  const std::uint32_t first_slot_, last_slot_;
  std::vector<RowLayout> layouts_;
};

}  // namespace

Result<std::unique_ptr<ShardReader>> ShardReader::Open(const std::string& checkpoint,
                                                       const proto::CheckpointManifest& manifest,
                                                       std::size_t shard) {
  const proto::ShardEntry& entry = manifest.shard(static_cast<int>(shard));
  const std::string folder = JoinPath(checkpoint, entry.folder());
  if (!IsFolder(folder)) return absl::NotFoundError(StrCat("folder ", folder, " is missing"));
  ASSIGN_OR_RETURN(auto store, OpenRocksStore(folder, {.read_only = true}));
  return std::make_unique<RocksShardReader>(std::move(store), folder, manifest, entry);
}

}  // namespace cairn::ps
