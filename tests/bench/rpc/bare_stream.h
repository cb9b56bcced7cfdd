// The limit that the data stream is measured against: a bidirectional gRPC stream of raw bytes that
// moves the same number of bytes each way in messages of the same size, one request at a time, each
// received byte copied once to a fixed place, nothing else.
#pragma once

#include <grpcpp/generic/async_generic_service.h>

#include <cstddef>
#include <memory>
#include <string>

namespace cairn::bench {

std::unique_ptr<grpc::CallbackGenericService> MakeBareService();

class BareClient {
 public:
  static std::unique_ptr<BareClient> Connect(const std::string& address);
  virtual ~BareClient() = default;
  // Sends `request_bytes`, waits for `reply_bytes`.
  virtual void Call(std::size_t request_bytes, std::size_t reply_bytes) = 0;
};

}  // namespace cairn::bench
