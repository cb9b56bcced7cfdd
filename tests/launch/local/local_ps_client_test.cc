#include "launch/local/local_ps_client.h"

#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "common/math/rng.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "launch/local/local_control.h"
#include "proto/config.pb.h"
#include "proto/ps_service.pb.h"
#include "ps/server/ps_core.h"
#include "tests/launch/coordinator/fake_cluster.h"

namespace cairn::launch {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using testing::ScratchFolder;

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
          initializer { normal { stddev: 0.1 } }
        }
        dense { optimizer { sgd { learning_rate: 0.5 } } }
      )pb",
      &job));
  return job;
}

// "w" spans four chunks.
worker::DenseLayout Layout() {
  worker::DenseLayout layout(2);
  layout[0].name = "w";
  layout[0].dims = {500, 100};
  layout[0].is_weight = true;
  layout[1].name = "b";
  layout[1].dims = {7};
  return layout;
}

// Parameter servers in this process with a client.
struct Servers {
  Servers(std::uint32_t count, const std::string& folder, const proto::JobConfig& job = Job()) {
    for (std::uint32_t i = 0; i < count; ++i) {
      ps::PsOptions options;
      options.ps = i;
      options.ps_count = count;
      options.folder = StrCat(folder, "/", count, "-", i);
      auto core = ps::PsCore::Make(job, options);
      EXPECT_TRUE(core.ok()) << core.status();
      cores.push_back(*std::move(core));
      pointers.push_back(cores.back().get());
      admins.push_back(MakeLocalPsAdmin(pointers.back()));
      proto::RestoreReply reply;
      EXPECT_TRUE(admins.back()->Restore("", 1, &reply).ok());
    }
    client = MakeLocalPsClient(job, pointers, 10);
    std::vector<float> initial(50007);
    std::iota(initial.begin(), initial.end(), 0.0f);
    const Status status = client->RegisterDense(Layout(), initial);
    EXPECT_TRUE(status.ok()) << status;
  }

  std::vector<std::unique_ptr<ps::PsCore>> cores;
  std::vector<ps::PsCore*> pointers;
  std::vector<std::unique_ptr<PsAdmin>> admins;
  std::unique_ptr<worker::PsClient> client;
};

// A step reaches servers that it has nothing for: their rows take part in it.
TEST(LocalPsClient, StepsOfAllRowsDoNotDependOnTheNumberOfServers) {
  proto::JobConfig job = Job();
  for (proto::TableConfig& table : *job.mutable_table()) {
    table.set_l2(0.1);
    table.set_l2_rows(proto::TableConfig::ALL);
  }
  std::vector<std::vector<float>> results;
  for (const std::uint32_t count : {1u, 3u}) {
    ScratchFolder folder;
    Servers servers(count, folder.path(), job);
    Rng rng(5, 5);
    std::vector<std::uint64_t> users(40);
    for (std::uint64_t& user : users) user = rng.NextU64();
    for (int step = 0; step < 30; ++step) {
      const std::size_t n = step == 0 ? users.size() : 1;
      std::vector<float> gradients(n * 8);
      for (float& g : gradients) g = static_cast<float>(rng.NextBelow(100)) / 50 - 1;
      const worker::TablePush push[] = {{0, std::span(users).first(n), gradients.data()}};
      worker::PushRequest request;
      request.tables = push;
      ASSERT_TRUE(servers.client->Push(request).ok());
    }
    results.emplace_back(users.size() * 8);
    const worker::TablePull pull[] = {{0, users, results.back().data()}};
    worker::PullRequest request;
    request.mode = worker::PullMode::kScore;
    request.tables = pull;
    ASSERT_TRUE(servers.client->Pull(request).ok());
  }
  EXPECT_EQ(results[0], results[1]);
}

struct Rows {
  std::vector<std::uint64_t> users;
  std::vector<std::uint64_t> items;
  std::vector<float> user_values;
  std::vector<float> item_values;
  std::vector<float> dense;
};

Rows RandomKeys(std::uint64_t seed, std::size_t users, std::size_t items) {
  Rng rng(seed, 0);
  Rows rows;
  for (std::size_t i = 0; i < users; ++i) rows.users.push_back(rng.NextU64());
  for (std::size_t i = 0; i < items; ++i) rows.items.push_back(rng.NextU64());
  rows.user_values.resize(users * 8);
  rows.item_values.resize(items * 3);
  rows.dense.resize(50007);
  return rows;
}

Status Pull(worker::PsClient& client, worker::PullMode mode, Rows& rows) {
  const worker::TablePull tables[] = {{0, rows.users, rows.user_values.data()},
                                      {1, rows.items, rows.item_values.data()}};
  worker::PullRequest request;
  request.mode = mode;
  request.tables = tables;
  request.dense = rows.dense;
  return client.Pull(request);
}

// Pushes the rows' values as gradients.
Status Push(worker::PsClient& client, const Rows& rows, double scale) {
  const worker::TablePush tables[] = {{0, rows.users, rows.user_values.data()},
                                      {1, rows.items, rows.item_values.data()}};
  worker::PushRequest request;
  request.tables = tables;
  request.dense = rows.dense;
  request.learning_rate_scale = scale;
  return client.Push(request);
}

TEST(LocalPsClient, SeveralServersGiveTheNumbersOfOne) {
  ScratchFolder folder;
  Servers one(1, folder.path());
  Servers three(3, folder.path());
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    Rows a = RandomKeys(seed % 3, 300, 77);
    Rows b = a;
    ASSERT_TRUE(Pull(*one.client, worker::PullMode::kTrain, a).ok());
    ASSERT_TRUE(Pull(*three.client, worker::PullMode::kTrain, b).ok());
    EXPECT_EQ(a.user_values, b.user_values);
    EXPECT_EQ(a.item_values, b.item_values);
    EXPECT_EQ(a.dense, b.dense);
    ASSERT_TRUE(Push(*one.client, a, 0.5).ok());
    ASSERT_TRUE(Push(*three.client, b, 0.5).ok());
  }
}

TEST(LocalPsClient, DenseParametersStartWithTheirInitialValuesAndMove) {
  for (const std::uint32_t count : {1u, 3u}) {
    ScratchFolder folder;
    Servers servers(count, folder.path());
    Rows rows = RandomKeys(1, 0, 0);
    ASSERT_TRUE(Pull(*servers.client, worker::PullMode::kTrain, rows).ok());
    for (std::size_t i = 0; i < rows.dense.size(); i += 999) {
      EXPECT_EQ(rows.dense[i], static_cast<float>(i));
    }
    rows.dense.assign(rows.dense.size(), 2.0f);
    ASSERT_TRUE(Push(*servers.client, rows, 0.25).ok());
    ASSERT_TRUE(Pull(*servers.client, worker::PullMode::kTrain, rows).ok());
    for (std::size_t i = 0; i < rows.dense.size(); i += 999) {
      EXPECT_EQ(rows.dense[i], static_cast<float>(i) - 0.25f) << "sgd at 0.5 * 0.25";
    }
    // A second registration keeps the values.
    ASSERT_TRUE(servers.client->RegisterDense(Layout(), std::vector<float>(50007)).ok());
    Rows again = RandomKeys(1, 0, 0);
    ASSERT_TRUE(Pull(*servers.client, worker::PullMode::kTrain, again).ok());
    EXPECT_EQ(again.dense, rows.dense);
  }
}

TEST(LocalPsClient, ScoringReadsZerosForUnseenKeysAndMakesNoRows) {
  ScratchFolder folder;
  Servers servers(2, folder.path());
  Rows rows = RandomKeys(3, 50, 50);
  ASSERT_TRUE(Pull(*servers.client, worker::PullMode::kScore, rows).ok());
  EXPECT_THAT(rows.user_values, Each(0.0f));
  EXPECT_THAT(rows.item_values, Each(0.0f));
  for (const auto& admin : servers.admins) {
    proto::PsStatsReply stats;
    ASSERT_TRUE(admin->Stats(&stats).ok());
    EXPECT_EQ(stats.table(0).rows(), 0u);
  }
}

TEST(LocalPsClient, WrongTablesAndSizesAreRefused) {
  ScratchFolder folder;
  Servers servers(2, folder.path());
  const std::vector<std::uint64_t> keys = {1};
  std::vector<float> values(8);
  const worker::TablePull tables[] = {{2, keys, values.data()}};
  worker::PullRequest pull;
  pull.tables = tables;
  EXPECT_TRUE(absl::IsInvalidArgument(servers.client->Pull(pull)));
  worker::PushRequest push;
  push.dense = values;
  EXPECT_TRUE(absl::IsInvalidArgument(servers.client->Push(push)));
  EXPECT_TRUE(absl::IsInvalidArgument(servers.client->RegisterDense(Layout(), values)));
}

TEST(LocalPsClient, ErrorsNameTheServer) {
  ScratchFolder folder;
  Servers servers(3, folder.path());
  Rows rows = RandomKeys(1, 20, 0);
  rows.user_values.back() = std::numeric_limits<float>::quiet_NaN();
  const Status status = Push(*servers.client, rows, 1);
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("ps "));
}

}  // namespace
}  // namespace cairn::launch
