#include <limits>

#include "common/io/file.h"
#include "common/math/hash.h"
#include "launch/coordinator/checkpoints.h"
#include "launch/inspect/inspect.h"
#include "launch/inspect/row_printer.h"
#include "launch/inspect/sizes.h"
#include "proto/checkpoint.pb.h"
#include "ps/checkpoint/reader.h"

namespace cairn::launch {
namespace {

// Index of the named table; without a name that of the only one.
Result<std::uint32_t> FindTable(const proto::CheckpointManifest& manifest,
                                const std::string& name) {
  std::string names;
  for (int t = 0; t < manifest.table_size(); ++t) {
    if (manifest.table(t).name() == name) return static_cast<std::uint32_t>(t);
    StrAppend(names, names.empty() ? "" : ", ", manifest.table(t).name());
  }
  if (manifest.table_size() == 0) return absl::NotFoundError("the checkpoint has no tables");
  if (name.empty() && manifest.table_size() == 1) return 0u;
  return absl::InvalidArgumentError(
      StrCat(name.empty() ? std::string("--table=NAME is missing") : StrCat("no table ", name),
             "; the tables are ", names));
}

// The row that was asked for, if it was a single one.
Result<std::optional<std::uint64_t>> WantedKey(const RowsRequest& request,
                                               const std::string& table) {
  if (request.key.has_value() && request.value.has_value()) {
    return absl::InvalidArgumentError("--key and --value exclude each other");
  }
  if (request.value.has_value()) return KeyOf(*request.value, TableSalt(table));
  return request.key;
}

// Behind "no row": where a value of a job with rare values may be instead.
std::string RareHint(const OpenedCheckpoint& opened, const RowsRequest& request,
                     const std::string& table) {
  if (!request.value.has_value() || !PathExists(JoinPath(opened.folder, kVocabularyFile)))
    return "";
  return StrCat("; a value below a feature's min_count shares the row --key=",
                RareKey(TableSalt(table)));
}

class RowLister {
 public:
  RowLister(const OpenedCheckpoint& opened, const ShardOpener& open_shard, std::uint32_t table,
            RowPrinter& printer, Output& out)
      : opened_(opened), open_shard_(open_shard), table_(table), printer_(printer), out_(out) {}

  // Rows of all shards, `limit` at most; goes on with the next shard after a damaged one.
  void List(std::uint64_t limit) {
    left_ = limit;
    for (int s = 0; s < opened_.manifest->shard_size() && Goes(); ++s) {
      Note(s, WithShard(s, [&](const ps::ShardReader& shard) {
             return shard.ForEachRow(table_, [&](const ps::RowView& row) {
               Print(s, row);
               return Goes();
             });
           }));
    }
  }

  // NotFound when no shard has it.
  Status Find(std::uint64_t key) {
    left_ = 1;
    const std::uint32_t slot = SlotOf(key, static_cast<int>(opened_.manifest->slot_bits()));
    for (int s = 0; s < opened_.manifest->shard_size(); ++s) {
      const proto::ShardEntry& entry = opened_.manifest->shard(s);
      if (slot < entry.first_slot() || slot > entry.last_slot()) continue;
      const Status found = WithShard(s, [&](const ps::ShardReader& shard) {
        return shard.FindRow(table_, key, [&](const ps::RowView& row) { Print(s, row); });
      });
      if (!absl::IsNotFound(found)) {
        Note(s, found);
        return OkStatus();
      }
    }
    return absl::NotFoundError(StrCat("no row with key ", key, " (slot ", slot, ")"));
  }

  const std::vector<std::string>& damage() const { return damage_; }

 private:
  bool Goes() const { return left_ > 0 && is_read_; }

  void Print(int shard, const ps::RowView& row) {
    is_read_ = out_.Write(printer_.Row(opened_.manifest->shard(shard).ps(), row));
    --left_;
  }

  template <typename Use>
  Status WithShard(int index, const Use& use) {
    ASSIGN_OR_RETURN(const auto shard, open_shard_(opened_.folder, *opened_.manifest,
                                                   static_cast<std::size_t>(index)));
    return use(*shard);
  }
  void Note(int shard, const Status& status) {
    if (!status.ok()) {
      damage_.push_back(StrCat(opened_.manifest->shard(shard).folder(), ": ", status.message()));
    }
  }

  const OpenedCheckpoint& opened_;
  const ShardOpener& open_shard_;
  const std::uint32_t table_;
  RowPrinter& printer_;
  Output& out_;
  std::uint64_t left_ = 0;
  bool is_read_ = true;
  std::vector<std::string> damage_;
};

}  // namespace

Status InspectRows(const std::string& path, const RowsRequest& request, Format format, Output& out,
                   std::ostream& messages, const ShardOpener& open_shard) {
  constexpr auto kAll = std::numeric_limits<std::uint64_t>::max();
  ASSIGN_OR_RETURN(const OpenedCheckpoint opened, OpenCheckpoint(path));
  ASSIGN_OR_RETURN(const std::uint32_t table, FindTable(*opened.manifest, request.table));
  const proto::TableEntry& entry = opened.manifest->table(static_cast<int>(table));
  ASSIGN_OR_RETURN(const std::optional<std::uint64_t> key, WantedKey(request, entry.name()));

  RETURN_IF_ERROR(CheckShape(*opened.manifest), opened.folder);

  RowPrinterOptions options;
  options.dim = entry.dim();
  options.state_floats = entry.state_floats();
  options.shown_values =
      request.all_values ? std::numeric_limits<std::size_t>::max() : kShownValues;
  options.with_state = request.with_state;
  const std::unique_ptr<RowPrinter> printer = MakeRowPrinter(format, options);
  RowLister lister(opened, open_shard, table, *printer, out);
  out.Write(printer->Begin());
  Status found;
  if (key.has_value()) {
    found = lister.Find(*key);
  } else {
    lister.List(request.limit == 0 ? kAll : request.limit);
  }
  out.Write(printer->End());
  RETURN_IF_ERROR(out.status());
  if (!found.ok()) {
    return absl::NotFoundError(
        StrCat("table ", entry.name(),
               request.value.has_value() ? StrCat(", value '", *request.value, "'") : "", ": ",
               found.message(), RareHint(opened, request, entry.name())));
  }
  std::vector<std::string> damage = opened.damage;
  damage.insert(damage.end(), lister.damage().begin(), lister.damage().end());
  return TellDamage(damage, messages);
}

}  // namespace cairn::launch
