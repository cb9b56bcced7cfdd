// A connection that breaks or stalls at any byte: every push is applied once, every value arrives
// whole, and nothing of a caller's memory is touched once its call has returned.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>

#include "common/math/rng.h"
#include "tests/testing/flaky_proxy.h"
#include "tests/testing/ps_fleet.h"
#include "worker/client/grpc_ps_client.h"

namespace cairn::worker {
namespace {

using std::chrono::milliseconds;
using testing::FakePsCore;
using testing::FlakyProxy;
using ::testing::HasSubstr;
using testing::PsFleet;

constexpr std::uint32_t kDim = 16;
constexpr std::size_t kKeys = 30000;

std::string Path(const char* name) { return StrCat("/tmp/cairn_", ::getpid(), "_", name); }

ps::PsServerOptions OnUnixSocket() {
  ps::PsServerOptions options;
  options.address = "unix:" + Path("server");
  return options;
}

class BrokenConnection : public ::testing::Test {
 protected:
  BrokenConnection() : fleet_(1, {kDim}, OnUnixSocket()), proxy_(Path("proxy"), Path("server")) {
    Rng rng(1, 1);
    for (std::size_t i = 0; i < kKeys; ++i) keys_.push_back(rng.NextU64());
  }

  std::unique_ptr<PsClient> Connect(milliseconds request = milliseconds(60000)) {
    GrpcPsClientOptions options = fleet_.ClientOptions();
    options.addresses = {"unix:" + Path("proxy")};
    options.request = request;
    options.reconnect = request;
    auto client = MakeGrpcPsClient(options);
    EXPECT_TRUE(client.ok()) << client.status();
    return client.ok() ? std::move(*client) : nullptr;
  }

  // Gradients of 1, in memory that is gone on return.
  Status Push(PsClient& client) const {
    const auto ones = std::make_unique<float[]>(kKeys * kDim);
    std::fill_n(ones.get(), kKeys * kDim, 1.0f);
    const TablePush push{0, keys_, ones.get()};
    return client.Push({{&push, 1}, {}, 1});
  }
  void ExpectPushed(PsClient& client, int pushes) const {
    std::vector<float> values(kKeys * kDim);
    const TablePull pull{0, keys_, values.data()};
    ASSERT_EQ(client.Pull({PullMode::kTrain, {&pull, 1}, {}}), OkStatus());
    for (std::size_t k = 0; k < kKeys; ++k) {
      for (std::uint32_t i = 0; i < kDim; ++i) {
        ASSERT_NEAR(values[k * kDim + i],
                    FakePsCore::InitialValue(0, keys_[k], i) - pushes * FakePsCore::kLearningRate,
                    1e-3)
            << k;
      }
    }
  }

  PsFleet fleet_;
  FlakyProxy proxy_;
  std::vector<std::uint64_t> keys_;
};

TEST_F(BrokenConnection, CutAnywherePushesAreAppliedOnceAndValuesArriveWhole) {
  constexpr std::uint64_t kSeed = 20261121;
  Rng rng(kSeed, 2);
  const auto client = Connect();
  ASSERT_NE(client, nullptr);
  // A push is 2.2 MB to the server and a few bytes back, a pull 0.2 and 1.9 MB.
  constexpr int kRounds = 40;
  for (int round = 0; round < kRounds; ++round) {
    const bool to_server = round % 2 == 0;
    const int few = round % 4 < 2 ? 2'500'000 : 300;
    proxy_.CutAfter(to_server ? FlakyProxy::kToServer : FlakyProxy::kToClient,
                    static_cast<std::int64_t>(rng.NextBelow(static_cast<std::uint64_t>(few))));
    ASSERT_EQ(Push(*client), OkStatus()) << "seed " << kSeed << " round " << round;
    ExpectPushed(*client, round + 1);
    if (HasFatalFailure()) return;
  }
  EXPECT_EQ(fleet_.core(0).pushes(), static_cast<std::uint64_t>(kRounds));
  EXPECT_GE(proxy_.cuts(), kRounds / 2);
}

TEST_F(BrokenConnection, StalledPeerMeetsTheDeadlineAndFreesTheCallersMemory) {
  const auto client = Connect(milliseconds(700));
  ASSERT_NE(client, nullptr);
  proxy_.Stall(true);
  // The socket's buffers take a part of it, the rest is stuck in the transport.
  const Status status = Push(*client);
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded) << status;
  EXPECT_THAT(status.message(), HasSubstr("ps 0 at unix:" + Path("proxy")));
  proxy_.Stall(false);
  // Whether it was applied is unknown, so there is no further push; pulls go on.
  EXPECT_THAT(Push(*client).message(), HasSubstr("an earlier push failed"));
  ExpectPushed(*client, static_cast<int>(fleet_.core(0).pushes()));
}

TEST_F(BrokenConnection, ClientCanBeDestroyedWhileStalled) {
  auto client = Connect(milliseconds(300));
  ASSERT_NE(client, nullptr);
  proxy_.Stall(true);
  EXPECT_FALSE(Push(*client).ok());
  client.reset();
}

}  // namespace
}  // namespace cairn::worker
