#include "worker/client/grpc_ps_client.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/mutex.h"
#include "common/rpc/buffer_pool.h"
#include "common/rpc/frame.h"
#include "worker/client/ps_connection.h"
#include "worker/client/slot_router.h"

namespace cairn::worker {
namespace {

static_assert(kDenseChunkFloats == rpc::kDenseChunkFloats);

using Bytes = std::span<const std::byte>;

// What the requests of one step point into, until they are answered.
struct StepScratch {
  std::vector<KeySplit> splits;               // [tables of the request]
  std::vector<std::vector<std::byte>> heads;  // [servers]
  // Gradients grouped by server, [tables of the request].
  std::vector<std::shared_ptr<rpc::BufferPool::Buffer>> gradients;
};

class GrpcPsClient final : public PsClient {
 public:
  explicit GrpcPsClient(const GrpcPsClientOptions& options);

  Status Connect();
  Status RegisterDense(const DenseLayout& layout, std::span<const float> initial) override;
  Status Pull(const PullRequest& request) override;
  Status Push(const PushRequest& request) override;
  void Cancel() override {
    MutexLock lock(cancel_mu_);
    for (const auto& connection : connections_) connection->Stop();
  }

 private:
  using CallPtr = std::shared_ptr<PsConnection::Call>;
  struct Dense {
    std::uint64_t floats = 0;
    std::vector<std::vector<DenseRun>> runs;  // [servers]
  };

  std::uint32_t servers() const { return router_.servers(); }
  template <typename Table>
  Status CheckTables(std::span<const Table> tables, std::size_t dense_floats) const;
  // Heads of a request to one server: tables that have keys there, dense if `with_dense`.
  template <typename Table>
  rpc::StepHead HeadFor(std::uint32_t server, std::span<const Table> tables,
                        const StepScratch& scratch, bool with_dense) const;
  template <typename Table>
  void SplitKeys(std::span<const Table> tables, StepScratch* scratch) const;
  template <typename Table>
  std::span<const std::uint64_t> KeysOf(std::uint32_t server, const Table& table,
                                        const StepScratch& scratch, std::size_t index) const {
    return servers() == 1 ? table.keys : scratch.splits[index].Keys(server);
  }
  // Gradient rows of a table in the order of its split.
  void GroupGradients(const TablePush& table, std::size_t index, StepScratch* scratch) const;
  std::vector<Bytes> PushPieces(std::uint32_t server, const PushRequest& request,
                                const StepScratch& scratch) const;
  BodySink PullSink(std::uint32_t server, const PullRequest& request,
                    const StepScratch& scratch) const;
  std::uint64_t DenseFloats(std::uint32_t server) const;
  // Sends one request to every server whose `start` gives one, waits for all; the first error.
  Status ToAll(rpc::FrameKind kind, const std::vector<std::vector<Bytes>>& bodies);

  std::unique_ptr<StepScratch> TakeScratch() EXCLUDES(scratch_mu_);
  void KeepScratch(std::unique_ptr<StepScratch> scratch) EXCLUDES(scratch_mu_);

  const GrpcPsClientOptions options_;
  const SlotRouter router_;
  const std::uint64_t client_;
  const std::shared_ptr<rpc::BufferPool> buffers_;
  Dense dense_;  // set by RegisterDense, before pulls and pushes

  Mutex scratch_mu_;
  std::vector<std::unique_ptr<StepScratch>> idle_scratch_ GUARDED_BY(scratch_mu_);

  Mutex push_mu_;  // held while a push is under way: pushes are applied in the order of the calls
  std::vector<std::uint64_t> pushed_ GUARDED_BY(push_mu_);  // [servers] acknowledged
  std::vector<Status> lost_ GUARDED_BY(push_mu_);           // [servers] a push without an answer

  std::vector<std::unique_ptr<PsConnection>> connections_;  // [servers]
  Mutex cancel_mu_;                                         // one stops them at a time
};

Bytes AsBytes(std::span<const std::uint64_t> keys) { return std::as_bytes(keys); }

GrpcPsClient::GrpcPsClient(const GrpcPsClientOptions& options)
    : options_(options),
      router_(options.slot_bits, static_cast<std::uint32_t>(options.addresses.size())),
      client_(rpc::ClientIdOf(options.job_epoch, options.worker, options.incarnation)),
      buffers_(rpc::BufferPool::Make(SIZE_MAX, std::size_t{256} << 20)),
      pushed_(options.addresses.size(), 0),
      lost_(options.addresses.size()) {
  dense_.runs.resize(servers());
  for (std::uint32_t s = 0; s < servers(); ++s) {
    PsConnectionOptions connection;
    connection.address = options.addresses[s];
    connection.hello = {options.job_epoch, options.incarnation,
                        options.worker,    s,
                        servers(),         static_cast<std::uint32_t>(options.slot_bits),
                        options.table_dims};
    connection.first_connect = options.first_connect;
    connection.reconnect = options.reconnect;
    connection.request = options.request;
    connections_.push_back(PsConnection::Open(std::move(connection)));
  }
}

Status GrpcPsClient::Connect() {
  for (const auto& connection : connections_) RETURN_IF_ERROR(connection->WaitConnected());
  return OkStatus();
}

template <typename Table>
Status GrpcPsClient::CheckTables(std::span<const Table> tables, std::size_t dense_floats) const {
  std::vector<bool> seen(options_.table_dims.size());
  for (const Table& table : tables) {
    if (table.table >= seen.size()) {
      return absl::InvalidArgumentError(
          StrCat("table ", table.table, " of a job with ", seen.size(), " tables"));
    }
    if (seen[table.table]) {
      return absl::InvalidArgumentError(StrCat("table ", table.table, " twice in one request"));
    }
    seen[table.table] = true;
  }
  if (dense_floats != 0 && dense_floats != dense_.floats) {
    return absl::InvalidArgumentError(
        StrCat(dense_floats, " dense floats, the registered layout has ", dense_.floats));
  }
  return OkStatus();
}

template <typename Table>
void GrpcPsClient::SplitKeys(std::span<const Table> tables, StepScratch* scratch) const {
  scratch->heads.resize(servers());
  if (servers() == 1) return;
  if (scratch->splits.size() < tables.size()) scratch->splits.resize(tables.size());
  for (std::size_t t = 0; t < tables.size(); ++t)
    router_.Split(tables[t].keys, &scratch->splits[t]);
}

std::uint64_t GrpcPsClient::DenseFloats(std::uint32_t server) const {
  std::uint64_t floats = 0;
  for (const DenseRun& run : dense_.runs[server]) floats += run.floats;
  return floats;
}

template <typename Table>
rpc::StepHead GrpcPsClient::HeadFor(std::uint32_t server, std::span<const Table> tables,
                                    const StepScratch& scratch, bool with_dense) const {
  rpc::StepHead head;
  head.job_epoch = options_.job_epoch;
  head.client = client_;
  if (with_dense) head.dense_floats = DenseFloats(server);
  for (std::size_t t = 0; t < tables.size(); ++t) {
    const std::size_t keys = KeysOf(server, tables[t], scratch, t).size();
    if (keys == 0) continue;
    head.tables.push_back({tables[t].table, options_.table_dims[tables[t].table], keys});
  }
  return head;
}

BodySink GrpcPsClient::PullSink(std::uint32_t server, const PullRequest& request,
                                const StepScratch& scratch) const {
  BodySink sink;
  for (std::size_t t = 0; t < request.tables.size(); ++t) {
    const TablePull& table = request.tables[t];
    const std::uint32_t dim = options_.table_dims[table.table];
    if (servers() == 1) {
      sink.AddRun(std::span(table.values, table.keys.size() * dim));
    } else {
      sink.AddRows(table.values, scratch.splits[t].Positions(server), dim);
    }
  }
  if (!request.dense.empty()) {
    for (const DenseRun& run : dense_.runs[server]) {
      sink.AddRun(request.dense.subspan(run.offset, run.floats));
    }
  }
  return sink;
}

Status GrpcPsClient::Pull(const PullRequest& request) {
  RETURN_IF_ERROR(CheckTables(request.tables, request.dense.size()));
  std::unique_ptr<StepScratch> scratch = TakeScratch();
  SplitKeys(request.tables, scratch.get());
  std::vector<CallPtr> calls(servers());
  for (std::uint32_t s = 0; s < servers(); ++s) {
    rpc::StepHead head = HeadFor(s, request.tables, *scratch, !request.dense.empty());
    if (head.tables.empty() && head.dense_floats == 0) continue;
    head.step = request.step;
    head.mode = request.mode == PullMode::kTrain ? rpc::StepMode::kTrain : rpc::StepMode::kScore;
    scratch->heads[s] = rpc::EncodeStepHead(head);
    PsConnection::Request out{rpc::FrameKind::kPull, {scratch->heads[s]}, {}};
    for (std::size_t t = 0; t < request.tables.size(); ++t) {
      out.pieces.push_back(AsBytes(KeysOf(s, request.tables[t], *scratch, t)));
    }
    out.reply = PullSink(s, request, *scratch);
    calls[s] = connections_[s]->Start(std::move(out));
  }
  Status first;
  for (std::uint32_t s = 0; s < servers(); ++s) {
    if (calls[s] != nullptr) first.Update(connections_[s]->Await(*calls[s], nullptr));
  }
  KeepScratch(std::move(scratch));
  return first;
}

void GrpcPsClient::GroupGradients(const TablePush& table, std::size_t index,
                                  StepScratch* scratch) const {
  const std::size_t dim = options_.table_dims[table.table];
  const KeySplit& split = scratch->splits[index];
  auto buffer = buffers_->Take(split.keys.size() * dim * sizeof(float));
  auto* out = reinterpret_cast<float*>(buffer->data());
  for (const std::uint32_t position : split.positions) {
    std::memcpy(out, table.gradients + position * dim, dim * sizeof(float));
    out += dim;
  }
  scratch->gradients[index] = std::move(buffer);
}

std::vector<Bytes> GrpcPsClient::PushPieces(std::uint32_t server, const PushRequest& request,
                                            const StepScratch& scratch) const {
  std::vector<Bytes> pieces{scratch.heads[server]};
  for (std::size_t t = 0; t < request.tables.size(); ++t) {
    pieces.push_back(AsBytes(KeysOf(server, request.tables[t], scratch, t)));
  }
  for (std::size_t t = 0; t < request.tables.size(); ++t) {
    const TablePush& table = request.tables[t];
    const std::size_t row_bytes = options_.table_dims[table.table] * sizeof(float);
    if (servers() == 1) {
      pieces.push_back(
          std::as_bytes(std::span(table.gradients, table.keys.size() * row_bytes / sizeof(float))));
    } else {
      const KeySplit& split = scratch.splits[t];
      pieces.push_back(scratch.gradients[t]->bytes().subspan(split.begin[server] * row_bytes,
                                                             split.Count(server) * row_bytes));
    }
  }
  if (!request.dense.empty()) {
    for (const DenseRun& run : dense_.runs[server]) {
      pieces.push_back(std::as_bytes(request.dense.subspan(run.offset, run.floats)));
    }
  }
  return pieces;
}

Status GrpcPsClient::Push(const PushRequest& request) {
  RETURN_IF_ERROR(CheckTables(request.tables, request.dense.size()));
  std::unique_ptr<StepScratch> scratch = TakeScratch();
  SplitKeys(request.tables, scratch.get());
  scratch->gradients.resize(request.tables.size());
  if (servers() > 1) {
    for (std::size_t t = 0; t < request.tables.size(); ++t) {
      GroupGradients(request.tables[t], t, scratch.get());
    }
  }
  Status first;
  {
    MutexLock lock(push_mu_);
    for (const Status& lost : lost_) RETURN_IF_ERROR(lost, "an earlier push failed");
    std::vector<CallPtr> calls(servers());
    for (std::uint32_t s = 0; s < servers(); ++s) {
      rpc::StepHead head = HeadFor(s, request.tables, *scratch, !request.dense.empty());
      // Also with nothing for this server: tables with l2_rows: ALL step with every push.
      head.sequence = pushed_[s] + 1;
      head.learning_rate_scale = request.learning_rate_scale;
      head.step = request.step;
      scratch->heads[s] = rpc::EncodeStepHead(head);
      calls[s] = connections_[s]->Start(
          {rpc::FrameKind::kPush, PushPieces(s, request, *scratch), BodySink()});
    }
    for (std::uint32_t s = 0; s < servers(); ++s) {
      bool answered = false;
      const Status status = connections_[s]->Await(*calls[s], &answered);
      // A push that the server refused was not applied: its number is used again.
      if (status.ok()) ++pushed_[s];
      if (!answered) lost_[s] = status;
      first.Update(status);
    }
  }
  scratch->gradients.clear();
  KeepScratch(std::move(scratch));
  return first;
}

Status GrpcPsClient::ToAll(rpc::FrameKind kind, const std::vector<std::vector<Bytes>>& bodies) {
  std::vector<CallPtr> calls(servers());
  for (std::uint32_t s = 0; s < servers(); ++s) {
    if (!bodies[s].empty()) calls[s] = connections_[s]->Start({kind, bodies[s], BodySink()});
  }
  Status first;
  for (std::uint32_t s = 0; s < servers(); ++s) {
    if (calls[s] != nullptr) first.Update(connections_[s]->Await(*calls[s], nullptr));
  }
  return first;
}

Status GrpcPsClient::RegisterDense(const DenseLayout& layout, std::span<const float> initial) {
  rpc::DenseRegistration registration;
  registration.job_epoch = options_.job_epoch;
  std::uint64_t floats = 0;
  for (const DenseTensor& tensor : layout) {
    floats += tensor.Floats();
    registration.tensors.push_back(
        {tensor.name, tensor.dims, tensor.is_weight, tensor.is_statistic, tensor.momentum});
  }
  if (initial.size() != floats) {
    return absl::InvalidArgumentError(
        StrCat(initial.size(), " initial values for a layout of ", floats, " floats"));
  }
  dense_ = {floats, router_.DenseRuns(layout)};
  const std::vector<std::byte> body = rpc::EncodeDenseRegistration(registration);
  // First, so that a stream opened between here and the next request has it too.
  for (const auto& connection : connections_) connection->SetDenseRegistration(body);
  RETURN_IF_ERROR(ToAll(rpc::FrameKind::kRegisterDense,
                        std::vector<std::vector<Bytes>>(servers(), {Bytes(body)})));

  std::vector<std::vector<std::byte>> heads(servers());
  std::vector<std::vector<Bytes>> bodies(servers());
  for (std::uint32_t s = 0; s < servers(); ++s) {
    rpc::StepHead head;
    head.job_epoch = options_.job_epoch;
    head.client = client_;
    head.dense_floats = DenseFloats(s);
    if (head.dense_floats == 0) continue;
    heads[s] = rpc::EncodeStepHead(head);
    bodies[s].push_back(heads[s]);
    for (const DenseRun& run : dense_.runs[s]) {
      bodies[s].push_back(std::as_bytes(initial.subspan(run.offset, run.floats)));
    }
  }
  return ToAll(rpc::FrameKind::kInitDense, bodies);
}

std::unique_ptr<StepScratch> GrpcPsClient::TakeScratch() {
  MutexLock lock(scratch_mu_);
  if (idle_scratch_.empty()) return std::make_unique<StepScratch>();
  auto scratch = std::move(idle_scratch_.back());
  idle_scratch_.pop_back();
  return scratch;
}

void GrpcPsClient::KeepScratch(std::unique_ptr<StepScratch> scratch) {
  MutexLock lock(scratch_mu_);
  idle_scratch_.push_back(std::move(scratch));
}

}  // namespace

Result<std::unique_ptr<PsClient>> MakeGrpcPsClient(const GrpcPsClientOptions& options) {
  if (options.addresses.empty() || options.addresses.size() > 65535 || options.slot_bits < 0 ||
      options.slot_bits > 24) {
    return absl::InvalidArgumentError(StrCat("client of ", options.addresses.size(),
                                             " servers with ", options.slot_bits, " slot bits"));
  }
  auto client = std::make_unique<GrpcPsClient>(options);
  RETURN_IF_ERROR(client->Connect());
  return std::unique_ptr<PsClient>(std::move(client));
}

}  // namespace cairn::worker
