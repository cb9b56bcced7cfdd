// PsClient over one data stream (worker/client/ps_connection.h) to each parameter server.
//
// Keys are grouped by the server that owns them, requests go to all servers at once, and replies
// are copied from the received slices straight to the caller's rows. With one server nothing is
// regrouped: requests are sent from the caller's arrays.
//
// A server that is lost is looked for again, for options.reconnect; requests are sent again and
// pushes applied once (the server knows client and sequence number). If a push ends without an
// answer, whether it was applied is unknown, and every later push to that server fails with the
// same error: the worker must start again under another incarnation.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "worker/client/ps_client.h"

namespace cairn::worker {

struct GrpcPsClientOptions {
  std::vector<std::string> addresses;  // of ps 0, 1, ...: host:port or unix:PATH
  std::uint64_t job_epoch = 0;
  std::uint32_t worker = 0;
  std::uint64_t incarnation = 0;  // larger than that of every earlier client of this worker
  int slot_bits = 10;
  std::vector<std::uint32_t> table_dims;  // of the job's tables, in order
  // How long to look for a server: at the start, and once it had been there.
  std::chrono::milliseconds first_connect{10000};
  std::chrono::milliseconds reconnect{60000};
  // Of one pull or push, looking for the server included.
  std::chrono::milliseconds request{120000};
};

// Connects to all servers. Unavailable, naming the first server that is not there ("ps 1 at
// 127.0.0.1:4000: ..."), after options.first_connect; FailedPrecondition or Aborted when a server
// serves another job or epoch; InvalidArgument for bad options.
Result<std::unique_ptr<PsClient>> MakeGrpcPsClient(const GrpcPsClientOptions& options);

}  // namespace cairn::worker
