#include "launch/local/local_ps_client.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/math/hash.h"
#include "glog/logging.h"
#include "proto/config.pb.h"
#include "ps/server/ps_core.h"
#include "worker/client/slot_router.h"

namespace cairn::launch {
namespace {

using worker::KeySplit;

// A dense chunk and its place in the flat vector of all dense parameters.
struct PlacedChunk {
  std::uint32_t tensor = 0;
  std::uint32_t chunk = 0;
  std::size_t offset = 0;
  std::size_t floats = 0;
};

// One table's part of a request for several servers.
struct SplitTable {
  KeySplit split;
  std::vector<float> rows;  // [keys, dim] in the order of split.keys
};

class LocalPsClient final : public worker::PsClient {
 public:
  LocalPsClient(const proto::JobConfig& job, const std::vector<ps::PsCore*>& servers, int slot_bits)
      : servers_(servers),
        router_(slot_bits, static_cast<std::uint32_t>(servers.size())),
        chunks_(servers.size()) {
    for (const proto::TableConfig& table : job.table()) dims_.push_back(table.dim());
  }

  Status RegisterDense(const worker::DenseLayout& layout, std::span<const float> initial) override;
  Status Pull(const worker::PullRequest& request) override;
  Status Push(const worker::PushRequest& request) override;

 private:
  bool is_single() const { return servers_.size() == 1; }
  void PlaceChunks(const worker::DenseLayout& layout);
  std::vector<ps::DenseChunkUpdate> Updates(std::size_t server, std::span<const float> dense) const;
  template <typename Tables>
  Status CheckTables(const Tables& tables, std::size_t dense_floats) const;
  Status At(std::size_t server, const Status& status) const {
    return is_single() ? status : Annotate(status, StrCat("ps ", server));
  }
  Status PullRows(std::span<const worker::TablePull> tables, ps::AbsentRow absent);
  Status PullDense(std::span<float> dense);

  const std::vector<ps::PsCore*> servers_;
  const worker::SlotRouter router_;
  std::vector<std::uint32_t> dims_;               // of the tables
  std::vector<std::vector<PlacedChunk>> chunks_;  // of each server; constant once registered
  std::size_t dense_floats_ = 0;
};

void LocalPsClient::PlaceChunks(const worker::DenseLayout& layout) {
  for (auto& chunks : chunks_) chunks.clear();
  std::size_t offset = 0;
  for (std::size_t t = 0; t < layout.size(); ++t) {
    const std::size_t end = offset + layout[t].Floats();
    for (std::uint32_t chunk = 0; offset < end; ++chunk) {
      const std::size_t floats = std::min<std::size_t>(worker::kDenseChunkFloats, end - offset);
      chunks_[router_.OwnerOf(DenseChunkKey(layout[t].name, chunk))].push_back(
          {static_cast<std::uint32_t>(t), chunk, offset, floats});
      offset += floats;
    }
  }
  dense_floats_ = offset;
}

std::vector<ps::DenseChunkUpdate> LocalPsClient::Updates(std::size_t server,
                                                         std::span<const float> dense) const {
  std::vector<ps::DenseChunkUpdate> updates;
  if (dense.empty()) return updates;
  for (const PlacedChunk& chunk : chunks_[server]) {
    updates.push_back({chunk.tensor, chunk.chunk, dense.subspan(chunk.offset, chunk.floats)});
  }
  return updates;
}

Status LocalPsClient::RegisterDense(const worker::DenseLayout& layout,
                                    std::span<const float> initial) {
  std::size_t floats = 0;
  std::vector<ps::DenseTensorSpec> specs;
  for (const worker::DenseTensor& tensor : layout) {
    specs.push_back(
        {tensor.name, tensor.dims, tensor.is_weight, tensor.is_statistic, tensor.momentum});
    floats += tensor.Floats();
  }
  if (initial.size() != floats) {
    return absl::InvalidArgumentError(
        StrCat(initial.size(), " initial values for ", floats, " dense parameters"));
  }
  for (std::size_t s = 0; s < servers_.size(); ++s) {
    RETURN_IF_ERROR(At(s, servers_[s]->RegisterDense(specs)));
  }
  PlaceChunks(layout);
  for (std::size_t s = 0; s < servers_.size(); ++s) {
    RETURN_IF_ERROR(At(s, servers_[s]->InitDense(Updates(s, initial))));
  }
  return OkStatus();
}

template <typename Tables>
Status LocalPsClient::CheckTables(const Tables& tables, std::size_t dense_floats) const {
  for (const auto& table : tables) {
    if (table.table >= dims_.size()) {
      return absl::InvalidArgumentError(
          StrCat("table ", table.table, " of ", dims_.size(), " does not exist"));
    }
  }
  if (dense_floats != 0 && dense_floats != dense_floats_) {
    return absl::InvalidArgumentError(
        StrCat(dense_floats, " dense parameters, the layout has ", dense_floats_));
  }
  return OkStatus();
}

Status LocalPsClient::PullRows(std::span<const worker::TablePull> tables, ps::AbsentRow absent) {
  if (is_single()) {
    std::vector<ps::RowsRead> reads;
    for (const worker::TablePull& table : tables) {
      reads.push_back({table.table, table.keys, table.values});
    }
    return servers_[0]->Pull(reads, absent);
  }
  std::vector<SplitTable> parts(tables.size());
  for (std::size_t t = 0; t < tables.size(); ++t) {
    router_.Split(tables[t].keys, &parts[t].split);
    parts[t].rows.resize(tables[t].keys.size() * dims_[tables[t].table]);
  }
  for (std::uint32_t s = 0; s < servers_.size(); ++s) {
    std::vector<ps::RowsRead> reads;
    for (std::size_t t = 0; t < tables.size(); ++t) {
      SplitTable& part = parts[t];
      if (part.split.Count(s) == 0) continue;
      reads.push_back({tables[t].table, part.split.Keys(s),
                       part.rows.data() + part.split.begin[s] * dims_[tables[t].table]});
    }
    if (!reads.empty()) RETURN_IF_ERROR(At(s, servers_[s]->Pull(reads, absent)));
  }
  for (std::size_t t = 0; t < tables.size(); ++t) {
    const std::size_t dim = dims_[tables[t].table];
    const SplitTable& part = parts[t];
    for (std::size_t i = 0; i < part.split.positions.size(); ++i) {
      std::memcpy(tables[t].values + part.split.positions[i] * dim, part.rows.data() + i * dim,
                  dim * sizeof(float));
    }
  }
  return OkStatus();
}

Status LocalPsClient::PullDense(std::span<float> dense) {
  for (std::size_t s = 0; s < servers_.size(); ++s) {
    std::vector<ps::DenseChunkRead> reads;
    for (const PlacedChunk& chunk : chunks_[s]) {
      reads.push_back({chunk.tensor, chunk.chunk, dense.subspan(chunk.offset, chunk.floats)});
    }
    if (!reads.empty()) RETURN_IF_ERROR(At(s, servers_[s]->PullDense(reads)));
  }
  return OkStatus();
}

Status LocalPsClient::Pull(const worker::PullRequest& request) {
  RETURN_IF_ERROR(CheckTables(request.tables, request.dense.size()));
  const ps::AbsentRow absent = request.mode == worker::PullMode::kScore
                                   ? ps::AbsentRow::kZero
                                   : ps::AbsentRow::kInitialValue;
  if (!request.tables.empty()) RETURN_IF_ERROR(PullRows(request.tables, absent));
  return request.dense.empty() ? OkStatus() : PullDense(request.dense);
}

Status LocalPsClient::Push(const worker::PushRequest& request) {
  RETURN_IF_ERROR(CheckTables(request.tables, request.dense.size()));
  if (is_single()) {
    std::vector<ps::RowsUpdate> updates;
    for (const worker::TablePush& table : request.tables) {
      updates.push_back({table.table, table.keys, table.gradients});
    }
    return servers_[0]->Push(updates, Updates(0, request.dense), ps::PushId{},
                             request.learning_rate_scale);
  }
  std::vector<SplitTable> parts(request.tables.size());
  for (std::size_t t = 0; t < parts.size(); ++t) {
    const worker::TablePush& table = request.tables[t];
    const std::size_t dim = dims_[table.table];
    SplitTable& part = parts[t];
    router_.Split(table.keys, &part.split);
    part.rows.resize(table.keys.size() * dim);
    for (std::size_t i = 0; i < part.split.positions.size(); ++i) {
      std::memcpy(part.rows.data() + i * dim, table.gradients + part.split.positions[i] * dim,
                  dim * sizeof(float));
    }
  }
  for (std::uint32_t s = 0; s < servers_.size(); ++s) {
    std::vector<ps::RowsUpdate> updates;
    for (std::size_t t = 0; t < parts.size(); ++t) {
      const KeySplit& split = parts[t].split;
      if (split.Count(s) == 0) continue;
      const std::uint32_t table = request.tables[t].table;
      updates.push_back(
          {table, split.Keys(s), parts[t].rows.data() + split.begin[s] * dims_[table]});
    }
    const std::vector<ps::DenseChunkUpdate> dense = Updates(s, request.dense);
    // Also with nothing for this server: tables with l2_rows: ALL step with every push.
    RETURN_IF_ERROR(
        At(s, servers_[s]->Push(updates, dense, ps::PushId{}, request.learning_rate_scale)));
  }
  return OkStatus();
}

}  // namespace

std::unique_ptr<worker::PsClient> MakeLocalPsClient(const proto::JobConfig& job,
                                                    const std::vector<ps::PsCore*>& servers,
                                                    int slot_bits) {
  CHECK(!servers.empty());
  return std::make_unique<LocalPsClient>(job, servers, slot_bits);
}

}  // namespace cairn::launch
