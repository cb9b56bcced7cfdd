// The part of PsCore that leaves out gradients of keys that get no row, and that keeps what the
// tables' admission has counted.
#include <algorithm>
#include <limits>

#include <glog/logging.h>

#include "common/io/file.h"
#include "ps/server/ps_core_impl.h"

namespace cairn::ps {
namespace {

constexpr auto kNever = std::numeric_limits<std::uint64_t>::max();

// In Family::kMeta: "admission/<table>/<stripe>" -> what CountingFilter::SaveStripe writes.
std::string RecordKey(const std::string& table, std::uint32_t stripe) {
  return StrCat("admission/", table, stripe < 10 ? "/0" : "/", stripe);
}

// All stripes' pieces one behind the other; empty if there are none.
Result<std::string> ReadPieces(const RowStore& store, const std::string& table) {
  std::string pieces, piece;
  for (std::uint32_t stripe = 0; stripe < kStripes; ++stripe) {
    const Status read = store.Get(Family::kMeta, RecordKey(table, stripe), &piece);
    if (absl::IsNotFound(read)) continue;
    RETURN_IF_ERROR(read);
    pieces += piece;
  }
  return pieces;
}

}  // namespace

std::span<const RowsUpdate> PsCoreImpl::LeaveOutRefused(std::span<const RowsUpdate> tables,
                                                        std::vector<KeyGroups>* groups,
                                                        AdmittedRows* admitted) {
  // Pushes that are on their way at once may share this number.
  const std::uint64_t push = step_.load(std::memory_order_relaxed) + 1;
  std::vector<bool> refused;
  for (std::size_t i = 0; i < tables.size(); ++i) {
    const RowsUpdate& update = tables[i];
    Admission* const admission = model_.admissions[update.table].get();
    if (admission == nullptr) continue;
    EmbeddingTable& table = *model_.tables[update.table];
    refused.clear();
    const std::size_t count = table.FindRefused((*groups)[i], push, admission, &refused);
    if (count == 0) continue;
    if (admitted->tables.empty()) admitted->tables.assign(tables.begin(), tables.end());
    const std::size_t dim = table.layout().dim();
    auto& keys = admitted->keys.emplace_back();
    auto& gradients = admitted->gradients.emplace_back();
    keys.reserve(update.keys.size() - count);
    gradients.reserve(keys.capacity() * dim);
    for (std::size_t k = 0; k < update.keys.size(); ++k) {
      if (refused[k]) continue;
      keys.push_back(update.keys[k]);
      const float* const gradient = update.gradients + k * dim;
      gradients.insert(gradients.end(), gradient, gradient + dim);
    }
    CHECK(!(*groups)[i].Build(keys, slots_).has_value());
    admitted->tables[i] = {update.table, keys, gradients.data()};
  }
  return admitted->tables.empty() ? tables : std::span<const RowsUpdate>(admitted->tables);
}

Status PsCoreImpl::SaveAdmissions() {
  const std::uint64_t push = step_;
  if (admissions_saved_at_ == push) return OkStatus();
  for (std::size_t t = 0; t < model_.tables.size(); ++t) {
    if (model_.admissions[t] == nullptr) continue;
    std::vector<std::pair<std::string, std::string>> records;
    std::uint64_t bytes = 0;
    for (std::uint32_t stripe = 0; stripe < kStripes; ++stripe) {
      std::string piece;
      model_.tables[t]->SaveAdmission(stripe, *model_.admissions[t], push, &piece);
      if (piece.empty()) continue;
      records.emplace_back(RecordKey(model_.tables[t]->name(), stripe), std::move(piece));
      bytes += records.back().first.size() + records.back().second.size();
    }
    RETURN_IF_ERROR(store_->PutSorted(Family::kMeta, records.size(), bytes,
                                      [&](std::size_t i) {
                                        return StoreRecord{records[i].first, records[i].second};
                                      }),
                    "admission of table ", model_.tables[t]->name());
  }
  admissions_saved_at_ = push;
  return OkStatus();
}

void PsCoreImpl::LoadAdmissions(const RowStore& store, const std::string& source) {
  for (std::size_t t = 0; t < model_.tables.size(); ++t) {
    if (model_.admissions[t] == nullptr) continue;
    const std::string where = StrCat(source, ": admission of table ", model_.tables[t]->name());
    const Result<std::string> pieces = ReadPieces(store, model_.tables[t]->name());
    const Status loaded =
        pieces.ok() ? model_.admissions[t]->Load(*pieces, step_, "its filter") : pieces.status();
    if (!loaded.ok()) {
      LOG(WARNING) << "keys without a row are counted anew: " << Annotate(loaded, where);
    }
  }
}

void PsCoreImpl::LoadAdmissions(const std::string& checkpoint,
                                const proto::CheckpointManifest& manifest, const LoadPlan& plan) {
  admissions_saved_at_ = step_.load();
  if (std::ranges::all_of(model_.admissions, [](const auto& one) { return one == nullptr; })) {
    return;
  }
  if (plan.identical.has_value()) return LoadAdmissions(*store_, LiveFolder());
  for (const std::size_t shard : plan.shards) {
    const std::string folder =
        JoinPath(checkpoint, manifest.shard(static_cast<int>(shard)).folder());
    const auto store = OpenRocksStore(folder, {.read_only = true});
    if (store.ok()) {
      LoadAdmissions(**store, folder);
    } else {
      LOG(WARNING) << folder << ": sightings of keys without a row are lost: " << store.status();
    }
  }
  if (!plan.shards.empty()) admissions_saved_at_ = kNever;
}

}  // namespace cairn::ps
