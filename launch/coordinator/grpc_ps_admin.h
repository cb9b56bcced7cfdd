// PsAdmin over gRPC (proto/ps_service.proto).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/base/status.h"
#include "launch/coordinator/ps_admin.h"

namespace cairn::launch {

struct GrpcPsAdminOptions {
  // Writing or reading a whole table takes long; a server that died is noticed by the connection.
  std::int64_t snapshot_ms = 3'600'000;
  std::int64_t restore_ms = 3'600'000;
  std::int64_t stats_ms = 5'000;
  // How long to look for a server that does not answer, before a snapshot or restore begins.
  std::int64_t connect_ms = 10'000;
};

// Does not wait for the server.
std::unique_ptr<PsAdmin> MakeGrpcPsAdmin(std::uint32_t ps, const std::string& address,
                                         const GrpcPsAdminOptions& options = {});

}  // namespace cairn::launch
