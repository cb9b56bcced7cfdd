// What a server does with the bodies of the data stream's requests, and with control calls; knows
// frames' bodies (common/rpc/frame.h) but no transport.
//
// Nothing of a request is trusted. What is refused here changes nothing and is counted; the core
// checks keys, slots and gradients itself.
// Thread-safety: every method may be called from any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/base/mutex.h"
#include "common/base/status.h"
#include "common/rpc/buffer_pool.h"
#include "common/rpc/frame.h"
#include "ps/server/epoch_gate.h"
#include "ps/server/ps_core.h"
#include "ps/server/request_stats.h"

namespace cairn::ps {

// What a server serves. Known only after the coordinator has been asked, which needs the address.
struct PsIdentity {
  std::uint32_t ps = 0;
  std::uint32_t ps_count = 1;
  int slot_bits = 10;
  std::uint64_t job_epoch = 0;
  std::vector<std::uint32_t> table_dims;  // of the job's tables, in order
  // Latest incarnations that are known, by worker; earlier ones are refused.
  std::map<std::uint32_t, std::uint64_t> incarnations = {};
};

// What HELLO established for a stream.
struct Session {
  std::uint64_t job_epoch = 0;
  std::uint64_t client = 0;
  std::uint64_t incarnation = 0;
  std::uint32_t worker = 0;
};

class RequestHandler {
 public:
  using Buffer = std::shared_ptr<rpc::BufferPool::Buffer>;

  // `pool` gives the buffers of replies.
  RequestHandler(const rpc::FrameLimits& limits, std::shared_ptr<rpc::BufferPool> pool);

  // Called once, before it everything is Unavailable. `core` must outlive this.
  void Serve(PsCore* core, PsIdentity identity);

  // FailedPrecondition if worker and server disagree on the job, or a later incarnation of the
  // worker was here; Aborted for another job epoch.
  Result<Session> Hello(std::span<const std::byte> body);

  // Checks the heads of a step before a buffer is taken for its body of `total` bytes.
  Result<rpc::StepHead> OpenStep(const Session& session, rpc::FrameKind kind,
                                 std::span<const std::byte> prefix, std::uint64_t total);

  // `body`: the whole body, aligned to 8 bytes; `head` is what OpenStep made of it.
  Result<Buffer> Pull(const Session& session, const rpc::StepHead& head,
                      std::span<const std::byte> body);
  Status Push(const Session& session, const rpc::StepHead& head, std::span<const std::byte> body);
  Status InitDense(const Session& session, const rpc::StepHead& head,
                   std::span<const std::byte> body);
  Status RegisterDense(const Session& session, std::span<const std::byte> body);

  Status Snapshot(const std::string& folder, proto::SnapshotReply* reply);
  Status Restore(const std::string& checkpoint, std::uint64_t job_epoch,
                 proto::RestoreReply* reply);
  Status Stats(proto::PsStatsReply* reply);

  // The answer to a pull or push whose last byte came at `begin` is ready to be sent.
  void CountServed(rpc::FrameKind kind, RequestTimes::Clock::time_point begin) {
    if (kind == rpc::FrameKind::kPull) served_.Record(RequestKind::kPull, begin);
    if (kind == rpc::FrameKind::kPush) served_.Record(RequestKind::kPush, begin);
  }

  // True once the core serves nothing until it is made anew.
  bool IsBroken();

  // Counts a refusal; returns it.
  Status Refuse(Status status);

  const rpc::FrameLimits& limits() const { return limits_; }

 private:
  struct DenseChunk {
    std::uint32_t tensor;
    std::uint32_t chunk;
    std::size_t floats;
  };
  // Owned chunks of the registered layout.
  struct DenseMap {
    std::vector<DenseChunk> chunks;
    std::uint64_t floats = 0;
  };

  Result<PsCore*> Core() EXCLUDES(mu_);
  Status CheckIncarnation(const Session& session) EXCLUDES(mu_);
  Result<std::shared_ptr<const DenseMap>> DenseMapFor(std::uint64_t dense_floats) EXCLUDES(mu_);
  static std::vector<DenseChunkUpdate> DenseUpdates(const DenseMap& map, const float* floats);

  const rpc::FrameLimits limits_;
  const std::shared_ptr<rpc::BufferPool> pool_;
  EpochGate gate_;
  std::atomic<std::uint64_t> refused_{0};
  RequestTimes served_;
  Staleness staleness_;

  Mutex mu_;
  PsCore* core_ GUARDED_BY(mu_) = nullptr;
  PsIdentity identity_;  // constant once core_ is set
  // Shared: a step goes on with the map it began with.
  std::shared_ptr<const DenseMap> dense_ GUARDED_BY(mu_);
  std::map<std::uint32_t, std::uint64_t> incarnations_ GUARDED_BY(mu_);  // latest, by worker
};

}  // namespace cairn::ps
