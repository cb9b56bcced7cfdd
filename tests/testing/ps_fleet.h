// Parameter servers for tests: fake cores behind real servers on free ports of this process.
#pragma once

#include <glog/logging.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ps/server/server.h"
#include "tests/testing/fake_ps_core.h"
#include "worker/client/grpc_ps_client.h"

namespace cairn::testing {

class PsFleet {
 public:
  static constexpr std::uint64_t kEpoch = 7;
  static constexpr int kSlotBits = 6;

  PsFleet(std::uint32_t servers, std::vector<std::uint32_t> dims, ps::PsServerOptions options = {})
      : dims_(std::move(dims)), options_(std::move(options)), servers_(servers) {
    for (std::uint32_t s = 0; s < servers; ++s) {
      cores_.push_back(std::make_unique<FakePsCore>(dims_, s, servers, kSlotBits));
      StartServer(s, options_.address);
    }
  }

  FakePsCore& core(std::uint32_t s) { return *cores_[s]; }
  ps::PsServer& server(std::uint32_t s) { return *servers_[s]; }
  std::string address(std::uint32_t s) const { return servers_[s]->address(); }

  // Ends the server; its core stays.
  void Kill(std::uint32_t s) { servers_[s]->Stop(); }
  // A new server with the same core on the same address.
  void Restart(std::uint32_t s) { StartServer(s, servers_[s]->address()); }

  worker::GrpcPsClientOptions ClientOptions(std::uint32_t worker = 0) const {
    worker::GrpcPsClientOptions options;
    for (const auto& server : servers_) options.addresses.push_back(server->address());
    options.job_epoch = kEpoch;
    options.worker = worker;
    options.incarnation = 1;
    options.slot_bits = kSlotBits;
    options.table_dims = dims_;
    return options;
  }

 private:
  void StartServer(std::uint32_t s, const std::string& address) {
    ps::PsServerOptions options = options_;
    options.address = address;
    auto made = ps::PsServer::Make(options);
    CHECK(made.ok()) << made.status();
    servers_[s] = std::move(*made);
    const Status started = servers_[s]->Start();
    CHECK(started.ok()) << started;
    servers_[s]->Serve(cores_[s].get(),
                       {s, static_cast<std::uint32_t>(servers_.size()), kSlotBits, kEpoch, dims_});
  }

  const std::vector<std::uint32_t> dims_;
  const ps::PsServerOptions options_;
  std::vector<std::unique_ptr<FakePsCore>> cores_;
  std::vector<std::unique_ptr<ps::PsServer>> servers_;
};

}  // namespace cairn::testing
