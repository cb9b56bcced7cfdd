// Channels to our own servers, with the settings that all of them share.
// Thread-safety: every function may be called from any thread.
#pragma once

#include <grpcpp/channel.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

namespace grpc {
class ClientContext;
}

namespace cairn::rpc {

// To host:port or unix:PATH. A connection of its own, closed with the channel; a peer that is gone
// without a word is noticed after 15 s; attempts to connect are at most 2 s apart; messages of at
// most `max_receive_bytes` are taken; gRPC itself retries nothing.
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address, int max_receive_bytes);

// The same over a connected socket (common/rpc/connect.h), which the channel closes.
std::shared_ptr<grpc::Channel> MakeChannelOver(int socket, const std::string& address,
                                               int max_receive_bytes);

// Keeps gRPC from shutting down when its last object goes, for the life of the process: the
// shutdown waits up to 10 s for a poller that long writes have started. Channels made here, and
// servers, call it.
void KeepGrpcRunning();

// The call ends with DEADLINE_EXCEEDED after so long.
void SetDeadline(grpc::ClientContext* context, std::int64_t deadline_ms);

}  // namespace cairn::rpc
