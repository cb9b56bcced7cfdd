// The same steps through the client without transport and through the data stream, with the real
// core: the same bits, also when servers are lost and found again in between.
#include <glog/logging.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "common/math/rng.h"
#include "google/protobuf/text_format.h"
#include "launch/local/local_ps_client.h"
#include "proto/config.pb.h"
#include "proto/ps_service.pb.h"
#include "ps/server/ps_core.h"
#include "ps/server/server.h"
#include "tests/launch/coordinator/fake_cluster.h"
#include "worker/client/grpc_ps_client.h"

namespace cairn {
namespace {

using launch::testing::ScratchFolder;

constexpr std::uint64_t kEpoch = 5;
constexpr std::size_t kDenseFloats = 50007;
constexpr int kSteps = 30;

proto::JobConfig Job() {
  proto::JobConfig job;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"pb(
        seed: 7
        table {
          name: "user"
          dim: 8
          optimizer { adagrad {} }
          initializer { normal { stddev: 0.1 } }
        }
        table {
          name: "item"
          dim: 3
          optimizer { adam {} }
          initializer { uniform { bound: 0.1 } }
        }
        dense { optimizer { adam {} } }
      )pb",
      &job));
  return job;
}

std::vector<std::unique_ptr<ps::PsCore>> MakeCores(std::uint32_t count, const std::string& folder) {
  std::vector<std::unique_ptr<ps::PsCore>> cores;
  for (std::uint32_t p = 0; p < count; ++p) {
    ps::PsOptions options;
    options.ps = p;
    options.ps_count = count;
    options.folder = StrCat(folder, "/", p);
    auto core = ps::PsCore::Make(Job(), options);
    CHECK(core.ok()) << core.status();
    proto::RestoreReply reply;
    EXPECT_EQ((*core)->Restore("", &reply), OkStatus());
    cores.push_back(std::move(*core));
  }
  return cores;
}

// Servers on free ports, over cores of their own.
class Fleet {
 public:
  Fleet(std::uint32_t count, const std::string& folder)
      : cores_(MakeCores(count, folder)), servers_(count) {
    for (std::uint32_t p = 0; p < count; ++p) Start(p, "127.0.0.1:0");
  }
  void Restart(std::uint32_t p) {
    servers_[p]->Stop();
    Start(p, servers_[p]->address());
  }
  std::unique_ptr<worker::PsClient> Connect() const {
    worker::GrpcPsClientOptions options;
    for (const auto& server : servers_) options.addresses.push_back(server->address());
    options.job_epoch = kEpoch;
    options.incarnation = 1;
    options.table_dims = {8, 3};
    auto client = worker::MakeGrpcPsClient(options);
    CHECK(client.ok()) << client.status();
    return std::move(*client);
  }
  std::uint64_t Pushes(std::uint32_t p) const {
    proto::PsStatsReply stats;
    cores_[p]->Stats(&stats);
    return stats.pushes();
  }

 private:
  void Start(std::uint32_t p, const std::string& address) {
    ps::PsServerOptions options;
    options.address = address;
    servers_[p] = *ps::PsServer::Make(options);
    const Status status = servers_[p]->Start();
    CHECK(status.ok()) << status;
    servers_[p]->Serve(cores_[p].get(),
                       {p, static_cast<std::uint32_t>(cores_.size()), 10, kEpoch, {8, 3}});
  }
  std::vector<std::unique_ptr<ps::PsCore>> cores_;
  std::vector<std::unique_ptr<ps::PsServer>> servers_;
};

std::vector<std::uint64_t> Keys(std::uint64_t seed, std::size_t count) {
  Rng rng(seed, 1);
  std::vector<std::uint64_t> keys(count);
  for (auto& key : keys) key = rng.NextU64();
  return keys;
}

// Steps whose gradients are what was pulled; `after_step` is told the number of steps done. What
// the last step pulled.
template <typename AfterStep>
std::vector<float> Train(worker::PsClient& client, AfterStep after_step) {
  worker::DenseLayout layout(2);
  layout[0] = {"w", {500, 100}, true, false, 0.1f};
  layout[1] = {"b", {7}, false, false, 0.1f};
  std::vector<float> dense(kDenseFloats);
  FillNormal(3, 1, 0, 1, dense);
  EXPECT_EQ(client.RegisterDense(layout, dense), OkStatus());
  const auto users = Keys(1, 5000), items = Keys(2, 30000);
  std::vector<float> user_values(users.size() * 8), item_values(items.size() * 3);
  for (int step = 0; step < kSteps; ++step) {
    const worker::TablePull pulls[] = {{0, users, user_values.data()},
                                       {1, items, item_values.data()}};
    EXPECT_EQ(client.Pull({worker::PullMode::kTrain, pulls, dense}), OkStatus());
    const worker::TablePush pushes[] = {{0, users, user_values.data()},
                                        {1, items, item_values.data()}};
    EXPECT_EQ(client.Push({pushes, dense, 1.0 / (step + 1)}), OkStatus());
    after_step(step + 1);
  }
  std::vector<float> all = user_values;
  all.insert(all.end(), item_values.begin(), item_values.end());
  all.insert(all.end(), dense.begin(), dense.end());
  return all;
}

TEST(ClientsAgree, LocalAndRemoteGiveTheSameBits) {
  const ScratchFolder folder;
  const auto cores = MakeCores(1, folder.path() + "/local");
  const auto local = launch::MakeLocalPsClient(Job(), {cores[0].get()}, 10);
  const std::vector<float> expected = Train(*local, [](int) {});
  for (const std::uint32_t servers : {1u, 3u}) {
    Fleet fleet(servers, StrCat(folder.path(), "/remote", servers));
    EXPECT_EQ(Train(*fleet.Connect(), [](int) {}), expected) << servers << " servers";
  }
}

TEST(ClientsAgree, LostConnectionsChangeNoBit) {
  const ScratchFolder folder;
  const auto cores = MakeCores(1, folder.path() + "/local");
  const auto local = launch::MakeLocalPsClient(Job(), {cores[0].get()}, 10);
  const std::vector<float> expected = Train(*local, [](int) {});

  Fleet fleet(2, folder.path() + "/remote");
  const auto client = fleet.Connect();
  // Restarts run beside the steps, so that they meet requests in every state.
  std::atomic<int> steps{0};
  std::thread restarter([&] {
    for (int round = 0; round < 6; ++round) {
      const int seen = steps;
      while (steps < std::min(seen + 2, kSteps)) std::this_thread::yield();
      fleet.Restart(static_cast<std::uint32_t>(round % 2));
    }
  });
  const std::vector<float> values = Train(*client, [&steps](int done) { steps = done; });
  restarter.join();
  EXPECT_EQ(values, expected);
  EXPECT_EQ(fleet.Pushes(0), static_cast<std::uint64_t>(kSteps));
  EXPECT_EQ(fleet.Pushes(1), static_cast<std::uint64_t>(kSteps));
}

}  // namespace
}  // namespace cairn
