// The coordinator's view of one parameter server: its control calls, never rows. Implementations:
// launch/coordinator/grpc_ps_admin.h (another process) and launch/local (a core in this process).
#pragma once

#include <cstdint>
#include <string>

#include "common/base/status.h"

namespace cairn::proto {
class PsStatsReply;
class RestoreReply;
class SnapshotReply;
}  // namespace cairn::proto

namespace cairn::launch {

// Thread-safety: all methods may be called from several threads at once.
// Errors: Unavailable or DeadlineExceeded, with the server's index and address, when it does not
// answer; otherwise the code and message that ps::PsCore gave.
class PsAdmin {
 public:
  virtual ~PsAdmin() = default;

  // Where the server listens: host:port, or unix:PATH.
  virtual const std::string& address() const = 0;

  // Writes a consistent image of the server's state into `folder` (absolute, not there yet). The
  // caller has stopped pushes. On return every file is synced. A retry after an unknown outcome
  // needs another folder, so that this call is tried once only.
  virtual Status Snapshot(const std::string& folder, proto::SnapshotReply* reply) = 0;

  // Drops all state and loads what the server owns of `checkpoint` (absolute folder; empty: start
  // with nothing). From then on the server serves `job_epoch` only: clients of another epoch, also
  // those connected now, get Aborted. May be repeated.
  virtual Status Restore(const std::string& checkpoint, std::uint64_t job_epoch,
                         proto::RestoreReply* reply) = 0;

  virtual Status Stats(proto::PsStatsReply* reply) = 0;
};

}  // namespace cairn::launch
