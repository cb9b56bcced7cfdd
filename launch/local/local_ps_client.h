// PsClient over parameter servers in this process, without transport. With one server, the usual
// case, keys and values are the caller's own arrays all the way; with several they are split by the
// slot map, as in a cluster.
//
// No push is ever repeated here, so pushes carry no identity.
#pragma once

#include <memory>
#include <vector>

#include "common/base/status.h"
#include "worker/client/ps_client.h"

namespace cairn::proto {
class JobConfig;
}  // namespace cairn::proto
namespace cairn::ps {
class PsCore;
}  // namespace cairn::ps

namespace cairn::launch {

// `job` is effective and not kept. `servers` by index, each restored before the first call;
// borrowed for the life of the client. Thread-safety: as worker::PsClient; RegisterDense comes
// before all other calls. Errors: those of ps::PsCore, with the server's index when there are
// several.
std::unique_ptr<worker::PsClient> MakeLocalPsClient(const proto::JobConfig& job,
                                                    const std::vector<ps::PsCore*>& servers,
                                                    int slot_bits);

}  // namespace cairn::launch
