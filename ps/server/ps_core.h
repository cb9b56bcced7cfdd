// One parameter server without transport: the tables' rows and dense chunks of the slots that it
// owns, their optimizers, and their database. The gRPC service (ps/server/grpc_service.h) and the
// in-process client (launch/local) are thin callers of this.
//
// Life: Make, then Restore (a checkpoint, or nothing) or Recover (what an earlier process left in
// the folder), then pulls and pushes; Snapshot at any time the caller has stopped pushing.
//
// Memory. With server.memory_mib rows beyond it lie in the database (ps/tier/row_tier.h); requests
// that would bring more rows than there is room wait for it.
//
// Rows. A table's admission may refuse keys that have no row: their gradients are left out before
// the push is logged. Its eviction removes rows in the background; a key that comes back starts
// from its initial value.
//
// Durability. With PROCESS or DISK every push is in a log (ps/log/push_log.h) before it is
// acknowledged, and pushes go through each table in the order of the log, so that a row's last_step
// tells which records of the log it contains. A background thread writes dirty rows and cuts the
// log when it has grown; Recover opens the database as it is and replays the log, leaving rows
// alone that are newer. With NONE a process that dies takes with it what came after the last
// snapshot. Thread-safety: Pull and PullDense may run at once with each other
// and with Push; pushes of different clients may run at once. A row is never read half-updated.
// Snapshot and Restore exclude everything else by waiting for it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "ps/push.h"

namespace cairn::proto {
class JobConfig;
class PsStatsReply;
class RestoreReply;
class SnapshotReply;
}  // namespace cairn::proto

namespace cairn::ps {

struct PsOptions {
  std::uint32_t ps = 0;  // index of this server
  std::uint32_t ps_count =
      1;  // slots are cut evenly: server p owns [p * slots / count, (p + 1) * slots / count)
  int slot_bits = 10;
  std::string folder;  // of the live database and the log; made when missing, emptied by Restore
  // What durability OF_MODE of the job stands for.
  bool log_by_default = false;
  std::uint64_t job_epoch = 0;  // see SetJobEpoch
  // server.memory_mib bounds all anonymous memory of the process, not only what the server knows
  // of: requests, and what the allocator keeps, leave less for rows.
  bool owns_process = false;
};

// Which rows a key without a row reads as; see worker::PullMode.
enum class AbsentRow { kInitialValue, kZero };

struct RowsRead {
  std::uint32_t table = 0;
  std::span<const std::uint64_t> keys;
  float* values = nullptr;  // [keys, dim] out
};

// A tensor that lives in chunks over all servers; see worker/client/ps_client.h for the chunking.
struct DenseTensorSpec {
  std::string name;
  std::vector<std::uint32_t> dims;
  bool is_weight = false;     // dense.l2 applies
  bool is_statistic = false;  // s += momentum * (pushed - s) instead of an optimizer step
  float momentum = 0.1f;
};
// The floats of one chunk: tensor = index in the registered layout.
struct DenseChunkRead {
  std::uint32_t tensor = 0;
  std::uint32_t chunk = 0;
  std::span<float> values;  // out
};

class PsCore {
 public:
  // `job` is effective. InvalidArgument for bad options; Unavailable when the folder cannot be
  // written.
  static Result<std::unique_ptr<PsCore>> Make(const proto::JobConfig& job,
                                              const PsOptions& options);
  virtual ~PsCore() = default;

  // True if this server owns the key's slot.
  virtual bool Owns(std::uint64_t key) const = 0;

  // InvalidArgument for an unknown table or a key of a slot that is not ours (with its value);
  // nothing is read then.
  virtual Status Pull(std::span<const RowsRead> tables, AbsentRow absent) = 0;

  // Applies one step to each row, making rows that are not there. All or nothing: everything is
  // checked first. InvalidArgument as above and for a non-finite gradient, naming table and key. A
  // repeated id is acknowledged and counted, not applied; a gap in the sequence is
  // FailedPrecondition.
  virtual Status Push(std::span<const RowsUpdate> tables, std::span<const DenseChunkUpdate> dense,
                      PushId id, double learning_rate_scale) = 0;

  // Makes the layout known; the same layout again is OK, another one FailedPrecondition.
  virtual Status RegisterDense(std::span<const DenseTensorSpec> layout) = 0;
  // Gives a chunk its first values, unless it has some. For chunks of slots that are not ours:
  // InvalidArgument.
  virtual Status InitDense(std::span<const DenseChunkUpdate> chunks) = 0;
  // NotFound for a chunk without values.
  virtual Status PullDense(std::span<const DenseChunkRead> chunks) = 0;
  // Chunks of the registered layout that this server owns, as (tensor, chunk) pairs in order.
  virtual std::vector<std::pair<std::uint32_t, std::uint32_t>> OwnedDenseChunks() const = 0;

  // What is written from now on belongs to this epoch of the job. Called before Restore.
  virtual void SetJobEpoch(std::uint64_t /*job_epoch*/) {}

  // See proto/ps_service.proto.
  virtual Status Snapshot(const std::string& folder, proto::SnapshotReply* reply) = 0;
  virtual Status Restore(const std::string& checkpoint, proto::RestoreReply* reply) = 0;

  // Goes on with what an earlier server of this job left in the folder: every push that it
  // acknowledged, each once, also those of clients that repeat one. Rows come to memory as they are
  // named. FailedPrecondition when there is nothing (durability NONE, or no Restore was ever
  // complete), or state of another job or of another epoch; DataLoss for damage.
  virtual Status Recover(proto::RestoreReply* reply) = 0;

  // Pushes applied since this object was made, replayed ones left out.
  virtual std::uint64_t PushCount() const { return 0; }

  // Unavailable, with the reason, once it serves nothing until it is made anew and recovers.
  virtual Status Health() const { return OkStatus(); }
  virtual void Stats(proto::PsStatsReply* reply) const = 0;
};

}  // namespace cairn::ps
