#include "ps/dense/dense_parameters.h"

#include <atomic>
#include <limits>
#include <thread>

#include <gtest/gtest.h>

#include "google/protobuf/text_format.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"

namespace cairn::ps {
namespace {

std::unique_ptr<DenseParameters> Make(const std::string& text, const SlotRange& slots = {}) {
  proto::DenseConfig config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &config)) << text;
  return DenseParameters::Make(config, slots).value();
}

class DenseParametersTest : public testing::Test {
 protected:
  void SetUp() override {
    dense_ = Make("l2: 0.5 optimizer { sgd { learning_rate: 0.1 } }");
    ASSERT_EQ(dense_->Register(layout_), OkStatus());
  }
  Status Init(std::uint32_t tensor, std::vector<float> values) {
    const DenseChunkUpdate update{tensor, 0, values};
    return dense_->Init({&update, 1});
  }
  std::vector<float> Pull(std::uint32_t tensor, std::size_t floats) {
    std::vector<float> values(floats);
    const DenseChunkRead read{tensor, 0, values};
    EXPECT_EQ(dense_->Pull({&read, 1}), OkStatus());
    return values;
  }
  void Apply(std::uint32_t tensor, std::vector<float> gradient, float scale = 1) {
    const DenseChunkUpdate update{tensor, 0, gradient};
    ASSERT_EQ(dense_->Check({&update, 1}), OkStatus());
    dense_->Apply({&update, 1}, scale, 1);
  }

  const std::vector<DenseTensorSpec> layout_ = {
      {.name = "w", .dims = {2}, .is_weight = true},
      {.name = "b", .dims = {2}},
      {.name = "mean", .dims = {2}, .is_statistic = true, .momentum = 0.25f}};
  std::unique_ptr<DenseParameters> dense_;
};

TEST_F(DenseParametersTest, OnlyWeightsAreRegularised) {
  ASSERT_EQ(Init(0, {1, 2}), OkStatus());
  ASSERT_EQ(Init(1, {1, 2}), OkStatus());
  Apply(0, {1, 1});
  Apply(1, {1, 1});
  EXPECT_EQ(Pull(0, 2), (std::vector<float>{1 - 0.1f * 1.5f, 2 - 0.1f * 2}));
  EXPECT_EQ(Pull(1, 2), (std::vector<float>{1 - 0.1f, 2 - 0.1f}));
}

TEST_F(DenseParametersTest, StatisticsMoveTowardsWhatIsPushedWhateverTheRate) {
  ASSERT_EQ(Init(2, {0, 8}), OkStatus());
  Apply(2, {4, 0}, 0.001f);
  EXPECT_EQ(Pull(2, 2), (std::vector<float>{1, 6}));
}

TEST_F(DenseParametersTest, InitGivesValuesOnlyOnce) {
  EXPECT_EQ(Init(0, {1, 2}), OkStatus());
  EXPECT_EQ(Init(0, {7, 7}), OkStatus());
  EXPECT_EQ(Pull(0, 2), (std::vector<float>{1, 2}));
  EXPECT_EQ(dense_->ChunkCount(), 1u);
  EXPECT_EQ(dense_->FloatCount(), 2u);
}

TEST_F(DenseParametersTest, AChunkWithoutValuesIsNotFound) {
  std::vector<float> values(2);
  const DenseChunkRead read{0, 0, values};
  EXPECT_EQ(dense_->Pull({&read, 1}).code(), absl::StatusCode::kNotFound);
  const DenseChunkUpdate update{0, 0, values};
  EXPECT_EQ(dense_->Check({&update, 1}).code(), absl::StatusCode::kNotFound);
}

TEST_F(DenseParametersTest, BadRequestsAreRefusedAndName) {
  ASSERT_EQ(Init(0, {1, 2}), OkStatus());
  const std::vector<float> two(2), three(3);
  const std::vector<float> nan = {0, std::numeric_limits<float>::quiet_NaN()};
  const auto code = [&](std::vector<DenseChunkUpdate> updates) {
    return dense_->Check(updates).code();
  };
  const auto bad = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(code({{3, 0, two}}), bad);
  EXPECT_EQ(code({{0, 1, two}}), bad);
  EXPECT_EQ(code({{0, 0, three}}), bad);
  EXPECT_EQ(code({{0, 0, nan}}), bad);
  EXPECT_EQ(code({{0, 0, two}, {0, 0, two}}), bad);
  EXPECT_EQ(code({{0, 0, two}}), absl::StatusCode::kOk);
  EXPECT_EQ(Init(1, nan).code(), bad);
}

TEST_F(DenseParametersTest, TheSameLayoutAgainIsFineAndAnotherIsNot) {
  EXPECT_EQ(dense_->Register(layout_), OkStatus());
  auto other = layout_;
  other[1].dims = {3};
  EXPECT_EQ(dense_->Register(other).code(), absl::StatusCode::kFailedPrecondition);
  other = layout_;
  other.pop_back();
  EXPECT_EQ(dense_->Register(other).code(), absl::StatusCode::kFailedPrecondition);
}

TEST(DenseParameters, BadLayoutsAreRefused) {
  const auto code = [](std::vector<DenseTensorSpec> layout) {
    return Make("")->Register(layout).code();
  };
  const auto bad = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(code({{.name = "", .dims = {1}}}), bad);
  EXPECT_EQ(code({{.name = "a", .dims = {1}}, {.name = "a", .dims = {1}}}), bad);
  EXPECT_EQ(code({{.name = "a", .dims = {0}}}), bad);
  EXPECT_EQ(code({{.name = "a", .dims = {0xffffffff, 0xffffffff}}}), bad);
  EXPECT_EQ(code({{.name = "a", .dims = {1}, .is_statistic = true, .momentum = 2}}), bad);
}

TEST(DenseParameters, AllServersTogetherOwnEachChunkOnce) {
  const std::vector<DenseTensorSpec> layout = {{.name = "large", .dims = {1000, 1000}},
                                               {.name = "small", .dims = {}}};
  std::vector<std::pair<std::uint32_t, std::uint32_t>> owned;
  for (std::uint32_t p = 0; p < 4; ++p) {
    const auto dense = Make("", {10, p * 256, 256});
    ASSERT_EQ(dense->Register(layout), OkStatus());
    for (const auto& chunk : dense->OwnedChunks()) owned.push_back(chunk);
  }
  std::ranges::sort(owned);
  ASSERT_EQ(owned.size(), 62u + 1u);
  for (std::uint32_t c = 0; c < 62; ++c) EXPECT_EQ(owned[c], std::pair(0u, c));
  EXPECT_EQ(owned[62], std::pair(1u, 0u));
}

TEST(DenseParameters, StoredChunksComeBackWithTheirUpdateCounts) {
  const std::vector<DenseTensorSpec> layout = {{.name = "w", .dims = {3}}};
  const std::vector<float> values = {1, 2, 3};
  const DenseChunkUpdate update{0, 0, values};
  const auto first = Make("optimizer { adam {} }");
  ASSERT_EQ(first->Register(layout), OkStatus());
  ASSERT_EQ(first->Init({&update, 1}), OkStatus());
  for (std::uint64_t step = 1; step <= 3; ++step) first->Apply({&update, 1}, 1, step);

  const auto second = Make("optimizer { adam {} }");
  first->ForEachDirty([&](const std::string& key, const std::string& record) {
    ASSERT_EQ(second->Load(DecodeDenseKey(key).value(), DecodeDenseRecord(record).value(), false),
              OkStatus());
    EXPECT_EQ(
        second->Load(DecodeDenseKey(key).value(), DecodeDenseRecord(record).value(), false).code(),
        absl::StatusCode::kDataLoss);
  });
  EXPECT_EQ(second->LastStep(), 3u);
  ASSERT_EQ(second->Register(layout), OkStatus());
  std::size_t dirty = 0;
  second->ForEachDirty([&](const std::string&, const std::string&) { ++dirty; });
  EXPECT_EQ(dirty, 0u);
  const auto content = [](const DenseParameters& dense) {
    std::string all;
    dense.ForEachDirty(
        [&](const std::string& key, const std::string& record) { all += key + record; });
    return all;
  };
  first->Apply({&update, 1}, 1, 4);
  second->Apply({&update, 1}, 1, 4);
  EXPECT_EQ(content(*first), content(*second));
  EXPECT_FALSE(content(*first).empty());
}

// All floats of the chunk are equal after every step, so a torn read shows.
TEST(DenseParameters, ConcurrentPullsNeverSeeAChunkHalfUpdated) {
  const auto dense = Make("optimizer { sgd { learning_rate: 1 } }");
  const std::vector<DenseTensorSpec> layout = {{.name = "w", .dims = {10000}}};
  ASSERT_EQ(dense->Register(layout), OkStatus());
  const std::vector<float> zeros(10000), ones(10000, -1.0f);
  const DenseChunkUpdate init{0, 0, zeros}, step{0, 0, ones};
  ASSERT_EQ(dense->Init({&init, 1}), OkStatus());
  std::atomic<int> running{2}, torn{0};
  std::vector<std::thread> threads;
  for (int p = 0; p < 2; ++p) {
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) dense->Apply({&step, 1}, 1, 1);
      --running;
    });
  }
  std::vector<float> values(10000);
  const DenseChunkRead read{0, 0, values};
  while (running > 0) {
    ASSERT_EQ(dense->Pull({&read, 1}), OkStatus());
    for (const float v : values) torn += v != values[0];
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(torn, 0);
  ASSERT_EQ(dense->Pull({&read, 1}), OkStatus());
  EXPECT_EQ(values[0], 200.0f);
}

}  // namespace
}  // namespace cairn::ps
