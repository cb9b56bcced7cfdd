#include "ps/server/request_handler.h"

#include <glog/logging.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "common/metrics/distribution_proto.h"
#include "proto/ps_service.pb.h"

namespace cairn::ps {
namespace {

// Where a step's keys and floats lie in its body.
class StepView {
 public:
  StepView(const rpc::StepHead& head, std::span<const std::byte> body)
      : keys_(reinterpret_cast<const std::uint64_t*>(body.data() + head.HeadBytes())),
        floats_(reinterpret_cast<const float*>(keys_ + head.Keys())) {}

  std::span<const std::uint64_t> TakeKeys(const rpc::TableHead& table) {
    const std::span<const std::uint64_t> keys(keys_, table.keys);
    keys_ += table.keys;
    return keys;
  }
  const float* TakeRows(const rpc::TableHead& table) {
    const float* rows = floats_;
    floats_ += table.keys * table.dim;
    return rows;
  }
  const float* floats() const { return floats_; }

 private:
  const std::uint64_t* keys_;
  const float* floats_;
};

Status CheckFolder(const std::string& folder) {
  const std::filesystem::path path(folder);
  const bool climbs = std::find(path.begin(), path.end(), "..") != path.end();
  if (!path.is_absolute() || climbs || folder.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError(
        StrCat("not an absolute folder without \"..\": '", folder, "'"));
  }
  return OkStatus();
}

std::uint64_t ChunkFloats(const rpc::DenseTensorInfo& tensor, std::uint32_t chunk,
                          std::uint64_t chunk_floats) {
  return std::min(chunk_floats, tensor.Floats() - chunk * chunk_floats);
}

}  // namespace

RequestHandler::RequestHandler(const rpc::FrameLimits& limits,
                               std::shared_ptr<rpc::BufferPool> pool)
    : limits_(limits), pool_(std::move(pool)) {}

void RequestHandler::Serve(PsCore* core, PsIdentity identity) {
  (void)gate_.Replace(identity.job_epoch, [] { return OkStatus(); });
  MutexLock lock(mu_);
  CHECK(core_ == nullptr) << "Serve called twice";
  identity_ = std::move(identity);
  incarnations_ = identity_.incarnations;
  core_ = core;
}

Result<PsCore*> RequestHandler::Core() {
  MutexLock lock(mu_);
  if (core_ == nullptr) return absl::UnavailableError("the server has not joined its job yet");
  return core_;
}

bool RequestHandler::IsBroken() {
  const Result<PsCore*> core = Core();
  return core.ok() && !(*core)->Health().ok();
}

Status RequestHandler::Refuse(Status status) {
  refused_.fetch_add(1, std::memory_order_relaxed);
  return status;
}

Result<Session> RequestHandler::Hello(std::span<const std::byte> body) {
  auto hello = rpc::DecodeHello(body);
  if (!hello.ok()) return Refuse(hello.status());
  RETURN_IF_ERROR(Core().status());
  if (Status status = gate_.Check(hello->job_epoch); !status.ok()) return Refuse(status);
  const PsIdentity& own = identity_;
  if (hello->ps != own.ps || hello->ps_count != own.ps_count ||
      static_cast<int>(hello->slot_bits) != own.slot_bits) {
    return Refuse(absl::FailedPreconditionError(StrCat(
        "the worker wants ps ", hello->ps, " of ", hello->ps_count, " with ", hello->slot_bits,
        " slot bits; this is ps ", own.ps, " of ", own.ps_count, " with ", own.slot_bits)));
  }
  if (hello->dims != own.table_dims) {
    return Refuse(absl::FailedPreconditionError(
        StrCat("worker and server disagree on the tables: the worker's job has ",
               hello->dims.size(), ", the server's ", own.table_dims.size(),
               hello->dims.size() == own.table_dims.size() ? " of other dims" : "")));
  }
  Session session{hello->job_epoch,
                  rpc::ClientIdOf(hello->job_epoch, hello->worker, hello->incarnation),
                  hello->incarnation, hello->worker};
  {
    MutexLock lock(mu_);
    std::uint64_t& latest = incarnations_[hello->worker];
    latest = std::max(latest, hello->incarnation);
  }
  if (Status status = CheckIncarnation(session); !status.ok()) return Refuse(status);
  return session;
}

Status RequestHandler::CheckIncarnation(const Session& session) {
  MutexLock lock(mu_);
  const std::uint64_t latest = incarnations_[session.worker];
  if (session.incarnation == latest) return OkStatus();
  return absl::FailedPreconditionError(StrCat("worker ", session.worker, " was replaced: this is ",
                                              "incarnation ", session.incarnation,
                                              ", the latest is ", latest));
}

Result<rpc::StepHead> RequestHandler::OpenStep(const Session& session, rpc::FrameKind kind,
                                               std::span<const std::byte> prefix,
                                               std::uint64_t total) {
  auto head = rpc::DecodeStepHead(kind, prefix, total, identity_.table_dims, limits_);
  if (!head.ok()) return Refuse(head.status());
  if (Status status = gate_.Check(head->job_epoch); !status.ok()) return Refuse(status);
  if (head->job_epoch != session.job_epoch || head->client != session.client) {
    return Refuse(absl::PermissionDeniedError(StrCat(
        rpc::KindName(kind), " of another client than the stream's, worker ", session.worker)));
  }
  if (Status status = CheckIncarnation(session); !status.ok()) return Refuse(status);
  return head;
}

Result<std::shared_ptr<const RequestHandler::DenseMap>> RequestHandler::DenseMapFor(
    std::uint64_t dense_floats) {
  static const auto kNone = std::make_shared<const DenseMap>();
  if (dense_floats == 0) return kNone;
  MutexLock lock(mu_);
  if (dense_ == nullptr) {
    return absl::FailedPreconditionError("dense values before a dense layout was registered");
  }
  if (dense_->floats != dense_floats) {
    return absl::InvalidArgumentError(
        StrCat("request for ", dense_floats, " dense floats, the server owns ", dense_->floats));
  }
  return dense_;
}

std::vector<DenseChunkUpdate> RequestHandler::DenseUpdates(const DenseMap& map,
                                                           const float* floats) {
  std::vector<DenseChunkUpdate> updates;
  updates.reserve(map.chunks.size());
  for (const DenseChunk& chunk : map.chunks) {
    updates.push_back({chunk.tensor, chunk.chunk, {floats, chunk.floats}});
    floats += chunk.floats;
  }
  return updates;
}

Result<RequestHandler::Buffer> RequestHandler::Pull(const Session& session,
                                                    const rpc::StepHead& head,
                                                    std::span<const std::byte> body) {
  const EpochGate::Pass pass(gate_, session.job_epoch);
  if (!pass.status().ok()) return Refuse(pass.status());
  ASSIGN_OR_RETURN(PsCore * core, Core());
  auto dense = DenseMapFor(head.dense_floats);
  if (!dense.ok()) return Refuse(dense.status());
  Buffer reply = pool_->Take(head.Floats() * sizeof(float));
  if (reply == nullptr) return Refuse(absl::ResourceExhaustedError("too many replies in hand"));

  auto* out = reinterpret_cast<float*>(reply->data());
  StepView view(head, body);
  std::vector<RowsRead> reads;
  reads.reserve(head.tables.size());
  for (const rpc::TableHead& table : head.tables) {
    reads.push_back({table.table, view.TakeKeys(table), out});
    out += table.keys * table.dim;
  }
  staleness_.Pulled(session.worker, session.client, head.step, !reads.empty(),
                    !(*dense)->chunks.empty(), core->PushCount());
  RETURN_IF_ERROR(core->Pull(
      reads, head.mode == rpc::StepMode::kTrain ? AbsentRow::kInitialValue : AbsentRow::kZero));
  if ((*dense)->chunks.empty()) return reply;
  std::vector<DenseChunkRead> chunks;
  chunks.reserve((*dense)->chunks.size());
  for (const DenseChunk& chunk : (*dense)->chunks) {
    chunks.push_back({chunk.tensor, chunk.chunk, {out, chunk.floats}});
    out += chunk.floats;
  }
  RETURN_IF_ERROR(core->PullDense(chunks));
  return reply;
}

Status RequestHandler::Push(const Session& session, const rpc::StepHead& head,
                            std::span<const std::byte> body) {
  const EpochGate::Pass pass(gate_, session.job_epoch);
  if (!pass.status().ok()) return Refuse(pass.status());
  if (Status status = CheckIncarnation(session); !status.ok()) return Refuse(status);
  ASSIGN_OR_RETURN(PsCore * core, Core());
  auto dense = DenseMapFor(head.dense_floats);
  if (!dense.ok()) return Refuse(dense.status());

  StepView view(head, body);
  std::vector<RowsUpdate> updates;
  updates.reserve(head.tables.size());
  for (const rpc::TableHead& table : head.tables) {
    const auto keys = view.TakeKeys(table);
    updates.push_back({table.table, keys, view.TakeRows(table)});
  }
  RETURN_IF_ERROR(core->Push(updates, DenseUpdates(**dense, view.floats()),
                             {head.client, head.sequence}, head.learning_rate_scale));
  staleness_.Pushed(session.worker, session.client, head.step, core->PushCount());
  return OkStatus();
}

Status RequestHandler::InitDense(const Session& session, const rpc::StepHead& head,
                                 std::span<const std::byte> body) {
  const EpochGate::Pass pass(gate_, session.job_epoch);
  if (!pass.status().ok()) return Refuse(pass.status());
  ASSIGN_OR_RETURN(PsCore * core, Core());
  auto dense = DenseMapFor(head.dense_floats);
  if (!dense.ok()) return Refuse(dense.status());
  const StepView view(head, body);
  return core->InitDense(DenseUpdates(**dense, view.floats()));
}

Status RequestHandler::RegisterDense(const Session& session, std::span<const std::byte> body) {
  auto registration = rpc::DecodeDenseRegistration(body, limits_);
  if (!registration.ok()) return Refuse(registration.status());
  if (registration->job_epoch != session.job_epoch) {
    return Refuse(absl::PermissionDeniedError("dense layout of another epoch than the stream's"));
  }
  const EpochGate::Pass pass(gate_, session.job_epoch);
  if (!pass.status().ok()) return Refuse(pass.status());
  ASSIGN_OR_RETURN(PsCore * core, Core());
  std::vector<DenseTensorSpec> layout;
  layout.reserve(registration->tensors.size());
  for (const rpc::DenseTensorInfo& tensor : registration->tensors) {
    layout.push_back(
        {tensor.name, tensor.dims, tensor.is_weight, tensor.is_statistic, tensor.momentum});
  }
  RETURN_IF_ERROR(core->RegisterDense(layout));
  auto map = std::make_shared<DenseMap>();
  for (const auto& [tensor, chunk] : core->OwnedDenseChunks()) {
    const std::uint64_t floats =
        ChunkFloats(registration->tensors[tensor], chunk, rpc::kDenseChunkFloats);
    map->chunks.push_back({tensor, chunk, floats});
    map->floats += floats;
  }
  MutexLock lock(mu_);
  dense_ = std::move(map);
  return OkStatus();
}

Status RequestHandler::Snapshot(const std::string& folder, proto::SnapshotReply* reply) {
  if (Status status = CheckFolder(folder); !status.ok()) return Refuse(status);
  ASSIGN_OR_RETURN(PsCore * core, Core());
  return core->Snapshot(folder, reply);
}

Status RequestHandler::Restore(const std::string& checkpoint, std::uint64_t job_epoch,
                               proto::RestoreReply* reply) {
  if (!checkpoint.empty()) {
    if (Status status = CheckFolder(checkpoint); !status.ok()) return Refuse(status);
  }
  ASSIGN_OR_RETURN(PsCore * core, Core());
  // The core keeps its dense layout, so `dense_` stays true: clients of an unchanged epoch, which
  // score the best weights after they were restored, need not register again.
  return gate_.Replace(job_epoch, [&] {
    core->SetJobEpoch(job_epoch);
    return core->Restore(checkpoint, reply);
  });
}

Status RequestHandler::Stats(proto::PsStatsReply* reply) {
  ASSIGN_OR_RETURN(PsCore * core, Core());
  core->Stats(reply);
  reply->set_refused(reply->refused() + refused_.load(std::memory_order_relaxed));
  ToProto(served_.pulls().Read(), reply->mutable_pull_times()->mutable_served());
  ToProto(served_.pushes().Read(), reply->mutable_push_times()->mutable_served());
  ToProto(staleness_.rows().Read(), reply->mutable_row_staleness());
  ToProto(staleness_.dense().Read(), reply->mutable_dense_staleness());
  return OkStatus();
}

}  // namespace cairn::ps
