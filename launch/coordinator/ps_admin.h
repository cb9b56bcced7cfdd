// The coordinator's view of one parameter server. Implementations: launch/local (the core in this
// process) and launch/coordinator/grpc_ps_admin.h (the PsControl service).
#pragma once

#include <string>

#include "common/base/status.h"

namespace cairn::proto {
class PsStatsReply;
class RestoreReply;
class SnapshotReply;
}  // namespace cairn::proto

namespace cairn::launch {

// Thread-safety: calls may run at once; see proto/ps_service.proto for what they do.
// Errors: those of the server, or Unavailable with its index and address.
class PsAdmin {
 public:
  virtual ~PsAdmin() = default;

  // Writes the server's part of a checkpoint to `folder`, an absolute path that is not there yet.
  virtual Status Snapshot(const std::string& folder, proto::SnapshotReply* reply) = 0;
  // Drops all state; then loads the server's slots from the checkpoint's folder, or nothing when
  // it is empty.
  virtual Status Restore(const std::string& checkpoint, proto::RestoreReply* reply) = 0;
  virtual Status Stats(proto::PsStatsReply* reply) = 0;

  // For messages: "ps 1 (127.0.0.1:4711)" without the index, i.e. host:port, unix:PATH or "local".
  virtual const std::string& address() const = 0;
};

}  // namespace cairn::launch
