// The data stream of a parameter server over gRPC: reads and writes the frames of
// common/rpc/frame.h, answers from a RequestHandler.
//
// A breach of the framing ends the stream with InvalidArgument (ResourceExhausted for too many
// unfinished requests); a request that is refused for its content gets a reply with its own status
// and the stream goes on. The pulls of a stream run one after another, so do its pushes, pulls
// beside pushes; streams are independent. A client that does not read its replies is not read from
// once StreamLimits::max_in_hand requests wait.
// Thread-safety: every method may be called from any thread.
#pragma once

#include <grpcpp/generic/async_generic_service.h>

#include <atomic>
#include <memory>

#include "common/rpc/buffer_pool.h"
#include "ps/server/executor.h"
#include "ps/server/request_handler.h"

namespace cairn::ps {

struct StreamLimits {
  int max_streams = 1024;   // of the server
  int max_unfinished = 16;  // requests of a stream that lack frames
  int max_in_hand = 32;     // complete requests of a stream whose replies are not sent
};

class PsDataService final : public grpc::CallbackGenericService {
 public:
  // All three must outlive the grpc::Server that this is registered with. `pool` gives the buffers
  // of requests; `executor` runs the requests.
  PsDataService(RequestHandler* handler, std::shared_ptr<rpc::BufferPool> pool, Executor* executor,
                const StreamLimits& limits);

  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override;

  // Streams that are open.
  int streams() const { return streams_; }

 private:
  friend class ExchangeStream;

  RequestHandler* const handler_;
  const std::shared_ptr<rpc::BufferPool> pool_;  // shared with buffers in flight
  Executor* const executor_;
  const StreamLimits limits_;
  std::atomic<int> streams_{0};
};

}  // namespace cairn::ps
