#include "worker/client/grpc_ps_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <set>
#include <thread>

#include "common/math/rng.h"
#include "tests/testing/ps_fleet.h"

namespace cairn::worker {
namespace {

using std::chrono::milliseconds;
using testing::FakePsCore;
using ::testing::HasSubstr;
using testing::PsFleet;

const std::vector<std::uint32_t> kDims = {16, 1, 3};

std::unique_ptr<PsClient> Connect(const GrpcPsClientOptions& options) {
  auto client = MakeGrpcPsClient(options);
  EXPECT_TRUE(client.ok()) << client.status();
  return client.ok() ? std::move(*client) : nullptr;
}

std::vector<std::uint64_t> Keys(std::size_t count, std::uint64_t seed) {
  std::set<std::uint64_t> keys;
  Rng rng(seed, 1);
  while (keys.size() < count) keys.insert(rng.NextU64());
  return {keys.begin(), keys.end()};
}

std::vector<float> Values(std::size_t count, std::uint64_t seed) {
  std::vector<float> values(count);
  FillUniform(seed, 2, -1, 1, values);
  return values;
}

// The rows of one table as `client` sees them.
std::vector<float> PullTable(PsClient& client, std::uint32_t table,
                             const std::vector<std::uint64_t>& keys,
                             PullMode mode = PullMode::kTrain) {
  std::vector<float> values(keys.size() * kDims[table], -7);
  const TablePull pull{table, keys, values.data()};
  EXPECT_EQ(client.Pull({mode, {&pull, 1}, {}}), OkStatus());
  return values;
}

Status PushTable(PsClient& client, std::uint32_t table, const std::vector<std::uint64_t>& keys,
                 const std::vector<float>& gradients) {
  const TablePush push{table, keys, gradients.data()};
  return client.Push({{&push, 1}, {}, 1});
}

DenseLayout Layout() {
  return {{"a.weight", {300, 100}, true, false, 0.1f},
          {"a.bias", {100}, false, false, 0.1f},
          {"b.mean", {40000}, false, true, 0.2f}};
}
constexpr std::size_t kDenseFloats = 30000 + 100 + 40000;

// A few steps with keys of odd sizes; everything the servers then hold.
std::vector<float> Train(PsClient& client) {
  EXPECT_EQ(client.RegisterDense(Layout(), Values(kDenseFloats, 99)), OkStatus());
  const std::size_t sizes[] = {0, 1, 2, 777, 20000};
  std::vector<float> dense(kDenseFloats);
  for (std::size_t step = 0; step < std::size(sizes); ++step) {
    const auto keys0 = Keys(sizes[step], 5);
    const auto keys2 = Keys(sizes[std::size(sizes) - 1 - step], 6);
    std::vector<float> values0(keys0.size() * 16), values2(keys2.size() * 3);
    const TablePull pulls[] = {{0, keys0, values0.data()}, {2, keys2, values2.data()}};
    EXPECT_EQ(client.Pull({PullMode::kTrain, pulls, dense}), OkStatus());
    const auto gradients = Values(kDenseFloats, step);
    const TablePush pushes[] = {{2, keys2, values2.data()}, {0, keys0, values0.data()}};
    EXPECT_EQ(client.Push({pushes, gradients, 0.5}), OkStatus());
  }
  std::vector<float> state = PullTable(client, 0, Keys(20000, 5));
  const std::vector<float> table2 = PullTable(client, 2, Keys(20000, 6));
  state.insert(state.end(), table2.begin(), table2.end());
  EXPECT_EQ(client.Pull({PullMode::kTrain, {}, dense}), OkStatus());
  state.insert(state.end(), dense.begin(), dense.end());
  return state;
}

TEST(GrpcPsClient, OneTwoAndThreeServersAgree) {
  std::vector<float> one;
  for (const std::uint32_t servers : {1u, 2u, 3u}) {
    PsFleet fleet(servers, kDims);
    const auto client = Connect(fleet.ClientOptions());
    ASSERT_NE(client, nullptr);
    const std::vector<float> state = Train(*client);
    if (servers == 1) one = state;
    EXPECT_EQ(state, one) << servers << " servers";
    for (std::uint32_t s = 0; s < servers; ++s) EXPECT_GT(fleet.core(s).rows(), 0u);
  }
}

TEST(GrpcPsClient, UnixSocketServes) {
  ps::PsServerOptions options;
  options.address = StrCat("unix:/tmp/cairn_client_test_", ::getpid(), ".sock");
  PsFleet fleet(1, kDims, options);
  const auto client = Connect(fleet.ClientOptions());
  ASSERT_NE(client, nullptr);
  const auto keys = Keys(100, 1);
  EXPECT_EQ(PullTable(*client, 1, keys)[42], FakePsCore::InitialValue(1, keys[42], 0));
}

TEST(GrpcPsClient, ValuesLandInTheirRowsAcrossFrames) {
  PsFleet fleet(3, kDims);
  const auto client = Connect(fleet.ClientOptions());
  ASSERT_NE(client, nullptr);
  // 4.6 MiB of values: replies of several frames, whose ends cut rows of 12 bytes.
  const auto keys = Keys(400000, 2);
  const std::vector<float> values = PullTable(*client, 2, keys);
  for (std::size_t k = 0; k < keys.size(); ++k) {
    for (std::uint32_t i = 0; i < 3; ++i) {
      ASSERT_EQ(values[k * 3 + i], FakePsCore::InitialValue(2, keys[k], i)) << k;
    }
  }
}

TEST(GrpcPsClient, ScoreModeReadsAbsentRowsAsZero) {
  PsFleet fleet(2, kDims);
  const auto client = Connect(fleet.ClientOptions());
  ASSERT_NE(client, nullptr);
  const auto keys = Keys(10, 3);
  EXPECT_EQ(PullTable(*client, 0, keys, PullMode::kScore), std::vector<float>(160, 0));
}

TEST(GrpcPsClient, StepWithoutKeysSucceeds) {
  PsFleet fleet(2, kDims);
  const auto client = Connect(fleet.ClientOptions());
  ASSERT_NE(client, nullptr);
  EXPECT_EQ(client->Pull({PullMode::kTrain, {}, {}}), OkStatus());
  EXPECT_EQ(client->Push({{}, {}, 1}), OkStatus());
  EXPECT_TRUE(PullTable(*client, 0, {}).empty());
}

TEST(GrpcPsClient, PullsGoOnWhileAPushIsApplied) {
  PsFleet fleet(1, kDims);
  const auto client = Connect(fleet.ClientOptions());
  ASSERT_NE(client, nullptr);
  const auto keys = Keys(10, 4);
  fleet.core(0).HoldPushes(true);
  auto push =
      std::async(std::launch::async, [&] { return PushTable(*client, 1, keys, Values(10, 1)); });
  EXPECT_EQ(PullTable(*client, 1, keys).size(), 10u);
  fleet.core(0).HoldPushes(false);
  EXPECT_EQ(push.get(), OkStatus());
}

TEST(GrpcPsClient, RestartedServerAppliesEachPushOnce) {
  PsFleet fleet(2, kDims);
  const auto client = Connect(fleet.ClientOptions());
  ASSERT_NE(client, nullptr);
  ASSERT_EQ(client->RegisterDense(Layout(), Values(kDenseFloats, 99)), OkStatus());
  const auto keys = Keys(30000, 7);
  const std::vector<float> before = PullTable(*client, 0, keys);
  constexpr int kPushes = 60;
  std::atomic<int> done{0};
  std::thread pusher([&] {
    const std::vector<float> ones(keys.size() * 16, 1.0f);
    const std::vector<float> dense(kDenseFloats, 1.0f);
    for (int i = 0; i < kPushes; ++i) {
      const TablePush push{0, keys, ones.data()};
      EXPECT_EQ(client->Push({{&push, 1}, dense, 1}), OkStatus());
      ++done;
    }
  });
  for (int round = 0; round < 4; ++round) {
    const int seen = done;
    while (done < std::min(seen + 3, kPushes)) std::this_thread::yield();
    fleet.Kill(round % 2);
    fleet.Restart(round % 2);
  }
  pusher.join();
  EXPECT_EQ(fleet.core(0).pushes(), static_cast<std::uint64_t>(kPushes));
  EXPECT_EQ(fleet.core(1).pushes(), static_cast<std::uint64_t>(kPushes));
  const std::vector<float> after = PullTable(*client, 0, keys);
  for (std::size_t i = 0; i < after.size(); ++i) {
    ASSERT_NEAR(after[i], before[i] - kPushes * FakePsCore::kLearningRate, 1e-3) << i;
  }
}

// A server that must be started again gives no answer; the one in its place gets the push.
TEST(GrpcPsClient, PushesToABrokenServerAreSentAgain) {
  PsFleet fleet(2, kDims);
  const auto client = Connect(fleet.ClientOptions());
  ASSERT_NE(client, nullptr);
  fleet.core(0).Break(true);
  const auto keys = Keys(100, 4);
  auto push =
      std::async(std::launch::async, [&] { return PushTable(*client, 1, keys, Values(100, 1)); });
  while (fleet.core(0).met_broken() < 2) std::this_thread::yield();
  fleet.core(0).Break(false);
  EXPECT_EQ(push.get(), OkStatus());
  EXPECT_EQ(fleet.core(0).pushes(), 1u);
  EXPECT_EQ(fleet.core(1).pushes(), 1u);
}

TEST(GrpcPsClient, AbsentServerIsNamed) {
  PsFleet fleet(2, kDims);
  auto options = fleet.ClientOptions();
  fleet.Kill(1);
  options.first_connect = milliseconds(1500);
  const auto client = MakeGrpcPsClient(options);
  EXPECT_EQ(client.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(client.status().message(), HasSubstr(StrCat("ps 1 at ", options.addresses[1])));
  EXPECT_THAT(client.status().message(), HasSubstr("no connection for 1.5 s"));
  EXPECT_THAT(client.status().message(), HasSubstr("refused"));
}

TEST(GrpcPsClient, ListenerThatNeverAnswersIsNamed) {
  const std::string path = StrCat("/tmp/cairn_silent_", ::getpid(), ".sock");
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  path.copy(name.sun_path, sizeof name.sun_path - 1);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ::unlink(path.c_str());
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&name), sizeof name), 0);
  ASSERT_EQ(::listen(fd, 8), 0);
  GrpcPsClientOptions options;
  options.addresses = {"unix:" + path};
  options.first_connect = milliseconds(300);
  const auto client = MakeGrpcPsClient(options);
  EXPECT_EQ(client.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(client.status().message(), HasSubstr("ps 0 at unix:" + path));
  EXPECT_THAT(client.status().message(), HasSubstr("no answer"));
  ::close(fd);
  ::unlink(path.c_str());
}

TEST(GrpcPsClient, LostServerIsNamedAfterTheReconnectTime) {
  PsFleet fleet(2, kDims);
  auto options = fleet.ClientOptions();
  options.reconnect = milliseconds(300);
  const auto client = Connect(options);
  ASSERT_NE(client, nullptr);
  fleet.Kill(1);
  const auto keys = Keys(100, 8);
  const Status status = PushTable(*client, 1, keys, Values(100, 1));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr(StrCat("ps 1 at ", options.addresses[1])));
  // Whether the push was applied is unknown: there must be no other after it.
  fleet.Restart(1);
  EXPECT_THAT(PushTable(*client, 1, keys, Values(100, 1)).message(),
              HasSubstr("an earlier push failed"));
  EXPECT_EQ(PullTable(*client, 1, keys).size(), 100u);
}

TEST(GrpcPsClient, ServerThatDoesNotAnswerMeetsTheDeadline) {
  PsFleet fleet(2, kDims);
  auto options = fleet.ClientOptions();
  options.request = milliseconds(300);
  const auto client = Connect(options);
  ASSERT_NE(client, nullptr);
  fleet.core(0).HoldPulls(true);
  const auto keys = Keys(100, 8);
  std::vector<float> values(100);
  const TablePull pull{1, keys, values.data()};
  const Status status = client->Pull({PullMode::kTrain, {&pull, 1}, {}});
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(status.message(), HasSubstr(StrCat("ps 0 at ", options.addresses[0])));
  fleet.core(0).HoldPulls(false);
  EXPECT_EQ(PullTable(*client, 1, keys).size(), 100u);
}

TEST(GrpcPsClient, CancelEndsCallsThatWaitForAServer) {
  PsFleet fleet(2, kDims);
  const auto client = Connect(fleet.ClientOptions());
  ASSERT_NE(client, nullptr);
  fleet.Kill(1);
  const auto keys = Keys(100, 8);
  std::vector<float> values(100);
  const auto pull = [&] {
    const TablePull table{1, keys, values.data()};
    return client->Pull({PullMode::kTrain, {&table, 1}, {}});
  };
  auto waiting = std::async(std::launch::async, pull);
  auto cancelling = std::async(std::launch::async, [&] { client->Cancel(); });
  client->Cancel();
  cancelling.get();
  EXPECT_EQ(waiting.get().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(pull().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(PushTable(*client, 1, keys, values).code(), absl::StatusCode::kCancelled);
}

TEST(GrpcPsClient, RefusalsCarryServerAndReasonAndChangeNothing) {
  PsFleet fleet(2, kDims);
  const auto client = Connect(fleet.ClientOptions());
  ASSERT_NE(client, nullptr);
  const auto keys = Keys(100, 9);
  std::vector<float> gradients(100, 1.0f);
  gradients[17] = std::nanf("");
  const Status status = PushTable(*client, 1, keys, gradients);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(),
              HasSubstr(StrCat("non-finite gradient of table 1, key ", keys[17])));
  // The refused push's number is used again.
  EXPECT_EQ(PushTable(*client, 1, keys, std::vector<float>(100, 1.0f)), OkStatus());

  EXPECT_EQ(PushTable(*client, 1, keys, gradients).code(), absl::StatusCode::kInvalidArgument);
  std::vector<float> values(16);
  const TablePull unknown{9, {}, values.data()};
  EXPECT_EQ(client->Pull({PullMode::kTrain, {&unknown, 1}, {}}).code(),
            absl::StatusCode::kInvalidArgument);
  std::vector<float> dense(5);
  EXPECT_EQ(client->Pull({PullMode::kTrain, {}, dense}).code(), absl::StatusCode::kInvalidArgument);
}

TEST(GrpcPsClient, OtherEpochIsAbortedAndOtherTablesAreRefused) {
  PsFleet fleet(1, kDims);
  auto options = fleet.ClientOptions();
  options.job_epoch = 6;
  EXPECT_EQ(MakeGrpcPsClient(options).status().code(), absl::StatusCode::kAborted);
  options = fleet.ClientOptions();
  options.table_dims = {16, 1, 4};
  EXPECT_EQ(MakeGrpcPsClient(options).status().code(), absl::StatusCode::kFailedPrecondition);
  options = fleet.ClientOptions();
  options.addresses.push_back(options.addresses[0]);
  EXPECT_EQ(MakeGrpcPsClient(options).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(GrpcPsClient, EarlierIncarnationIsRefusedOnceALaterOneCame) {
  PsFleet fleet(1, kDims);
  auto options = fleet.ClientOptions();
  const auto first = Connect(options);
  options.incarnation = 2;
  const auto second = Connect(options);
  ASSERT_NE(second, nullptr);
  const auto keys = Keys(10, 1);
  const Status status = PushTable(*first, 1, keys, Values(10, 1));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("worker 0 was replaced"));
  EXPECT_EQ(PushTable(*second, 1, keys, Values(10, 1)), OkStatus());
}

TEST(GrpcPsClient, ManyWorkersAndThreadsAtOnce) {
  PsFleet fleet(2, kDims);
  constexpr int kWorkers = 3, kSteps = 10;
  std::vector<std::thread> threads;
  for (std::uint32_t w = 0; w < kWorkers; ++w) {
    threads.emplace_back([&fleet, w] {
      const auto client = Connect(fleet.ClientOptions(w));
      ASSERT_NE(client, nullptr);
      ASSERT_EQ(client->RegisterDense(Layout(), Values(kDenseFloats, 99)), OkStatus());
      const auto keys = Keys(3000, w);
      std::thread puller([&] {
        for (int i = 0; i < kSteps; ++i) PullTable(*client, 0, keys);
      });
      for (int i = 0; i < kSteps; ++i) {
        EXPECT_EQ(PushTable(*client, 0, keys, Values(keys.size() * 16, w)), OkStatus());
      }
      puller.join();
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(fleet.core(0).pushes(), static_cast<std::uint64_t>(kWorkers * kSteps));
}

}  // namespace
}  // namespace cairn::worker
