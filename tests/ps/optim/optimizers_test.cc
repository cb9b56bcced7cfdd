// The catalogue, and what single optimizers have of their own; the rest is in conformance_test.cc.
#include "ps/optim/optimizers.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "common/math/rng.h"
#include "proto/config.pb.h"
#include "tests/ps/optim/reference.h"

namespace cairn::ps {
namespace {

TEST(Optimizers, CatalogueIsSortedAndNamesItsEntries) {
  std::vector<std::string> names;
  for (const OptimizerEntry& entry : Optimizers()) names.emplace_back(entry.name);
  EXPECT_TRUE(std::ranges::is_sorted(names));
  for (const std::string& name : names) {
    EXPECT_EQ(MakeOptimizer(ConfigOf(name + " {}")).value()->name(), name);
  }
}

TEST(Optimizers, CatalogueHasEveryKindOfTheConfig) {
  const auto* kind = proto::OptimizerConfig::descriptor()->FindOneofByName("kind");
  ASSERT_EQ(static_cast<std::size_t>(kind->field_count()), Optimizers().size());
  for (int i = 0; i < kind->field_count(); ++i) {
    EXPECT_EQ(std::ranges::count(Optimizers(), kind->field(i)->name(), &OptimizerEntry::name), 1)
        << kind->field(i)->name();
  }
}

TEST(Optimizers, UnsetIsAdam) { EXPECT_EQ(MakeOptimizer({}).value()->name(), "adam"); }

// A row of given values through some gradients.
std::vector<float> StepsOf(const std::string& text, std::vector<float> value,
                           const std::vector<std::vector<float>>& gradients) {
  const auto optimizer = MakeOptimizer(ConfigOf(text)).value();
  std::vector<float> state(optimizer->StateSize(value.size()));
  optimizer->InitState(state);
  std::uint32_t t = 0;
  for (const auto& grad : gradients) optimizer->Apply({value, state}, grad, {1, 0, ++t});
  return value;
}

// w = 1, g = 0.5: one step by hand.
TEST(Optimizers, GoldenFirstSteps) {
  const auto step = [](const std::string& text) { return StepsOf(text, {1}, {{0.5f}})[0]; };
  EXPECT_FLOAT_EQ(step("sgd { learning_rate: 0.1 }"), 0.95f);
  EXPECT_FLOAT_EQ(step("adagrad { learning_rate: 0.1 epsilon: 1e-7 }"), 0.9f);
  EXPECT_FLOAT_EQ(step("adagrad { learning_rate: 0.1 epsilon: 1e-7 initial_accumulator: 0.75 }"),
                  0.95f);
  EXPECT_FLOAT_EQ(step("adam { learning_rate: 0.1 }"), 0.9f);
  EXPECT_FLOAT_EQ(step("adamw { learning_rate: 0.1 weight_decay: 0.2 }"), 0.88f);
  EXPECT_FLOAT_EQ(step("momentum { learning_rate: 0.1 }"), 0.95f);
  EXPECT_FLOAT_EQ(step("momentum { learning_rate: 0.1 nesterov: true }"), 1 - 0.1f * 0.95f);
  EXPECT_FLOAT_EQ(step("rowwise_adagrad { learning_rate: 0.1 epsilon: 1e-7 }"), 0.9f);
  // The rate is 0.3 / (1 + 0.5).
  EXPECT_FLOAT_EQ(step("ftrl { alpha: 0.3 beta: 1 }"), 0.9f);
  // z = -(1 * (1/0.3 + 2) + 0.1) + 0.5 - 0.5/0.3 * 1; w = (-z - 0.1) / (1.5/0.3 + 2).
  EXPECT_FLOAT_EQ(step("ftrl { alpha: 0.3 beta: 1 lambda1: 0.1 lambda2: 2 }"), 6.5f / 7);
}

TEST(Momentum, GoldenSecondSteps) {
  // v = 1, then 0.9 * 1 + 2 = 2.9.
  EXPECT_FLOAT_EQ(StepsOf("momentum { learning_rate: 0.1 }", {0}, {{1}, {2}})[0], -0.39f);
  // 1 + 0.9, then 2 + 0.9 * 2.9.
  EXPECT_FLOAT_EQ(StepsOf("momentum { learning_rate: 0.1 nesterov: true }", {0}, {{1}, {2}})[0],
                  -0.19f - 0.461f);
}

TEST(RowwiseAdagrad, SharesOneAccumulatorOfTheMeanSquare) {
  // Mean of squares: 25 / 2.
  const auto w = StepsOf("rowwise_adagrad { learning_rate: 1 epsilon: 1e-7 }", {0, 0}, {{3, -4}});
  EXPECT_FLOAT_EQ(w[0], -3 / std::sqrt(12.5f));
  EXPECT_FLOAT_EQ(w[1], 4 / std::sqrt(12.5f));
}

TEST(RowwiseAdagrad, IsAdagradForOneElement) {
  const std::vector<std::vector<float>> gradients = {{0.5f}, {-2}, {0.125f}};
  EXPECT_EQ(StepsOf("rowwise_adagrad {}", {1}, gradients), StepsOf("adagrad {}", {1}, gradients));
}

TEST(Adamw, IsAdamWithoutDecay) {
  const std::vector<std::vector<float>> gradients = {{0.5f, 1}, {-2, 1e-3f}, {0.125f, 0}};
  EXPECT_EQ(StepsOf("adamw { weight_decay: 0 }", {1, 0.3f}, gradients),
            StepsOf("adam {}", {1, 0.3f}, gradients));
}

TEST(Adamw, TheScheduleScalesTheDecay) {
  const auto optimizer = MakeOptimizer(ConfigOf("adamw { learning_rate: 0.1 weight_decay: 1 }"));
  std::vector<float> value{1}, state(2);
  (*optimizer)->Apply({value, state}, std::vector<float>{0}, {0.5f, 0, 1});
  EXPECT_FLOAT_EQ(value[0], 0.95f);
}

// Bias corrections come from a table that ends; both sides of its end must agree with the formula.
TEST(Adam, CorrectsBiasForAnyNumberOfUpdates) {
  for (const char* text : {"adam { learning_rate: 1 }", "adam { learning_rate: 1 beta2: 0.99999 }",
                           "adam { learning_rate: 1 beta1: 0 beta2: 0 }"}) {
    const auto config = ConfigOf(text);
    const auto optimizer = MakeOptimizer(config).value();
    for (std::uint32_t t : {1u, 2u, 10u, 1000u, 16000u, 17000u, 65535u, 65536u, 5000000u,
                            std::numeric_limits<std::uint32_t>::max()}) {
      std::vector<float> value{0}, state{0.25f, 0.5f};
      optimizer->Apply({value, state}, std::vector<float>{0.1f}, {1, 0, t});
      const auto& c = config.adam();
      const double mean =
          (c.beta1() * 0.25 + (1 - c.beta1()) * 0.1f) / (1 - std::pow(c.beta1(), t));
      const double square =
          (c.beta2() * 0.5 + (1 - c.beta2()) * 0.1f * 0.1f) / (1 - std::pow(c.beta2(), t));
      const double expected = -mean / (std::sqrt(square) + c.epsilon());
      EXPECT_NEAR(value[0] / expected, 1, 2e-5) << text << " t " << t;
    }
  }
}

// 64 weights from 0, of which the gradients' mean is above 0 for the first 16 alone.
TEST(Ftrl, Lambda1KeepsWeightsWithoutSignalAtExactlyZero) {
  std::vector<std::vector<float>> gradients;
  for (std::uint64_t t = 0; t < 400; ++t) {
    std::vector<float>& grad = gradients.emplace_back(64);
    FillUniform(3, t, -0.1f, 0.1f, grad);
    for (std::size_t i = 0; i < 16; ++i) grad[i] -= 0.05f;
  }
  const auto sparse = StepsOf("ftrl { lambda1: 6 }", std::vector<float>(64), gradients);
  const auto dense = StepsOf("ftrl {}", std::vector<float>(64), gradients);
  for (std::size_t i = 0; i < 64; ++i) {
    EXPECT_NE(dense[i], 0) << i;
    if (i < 16) {
      EXPECT_GT(sparse[i], 0.01f) << i;
      EXPECT_LT(sparse[i], dense[i]) << i;
    } else {
      EXPECT_EQ(sparse[i], 0) << i;
    }
  }
}

TEST(Ftrl, AFreshRowStartsFromItsInitialValueWhateverThePenalties) {
  const std::vector<float> initial = {1, -0.25f, 1e-3f, -1e-4f, 0};
  for (const char* text : {"ftrl {}", "ftrl { alpha: 1 beta: 1e-3 }",
                           "ftrl { alpha: 0.1 lambda1: 0.5 lambda2: 10 }"}) {
    const auto after = StepsOf(text, initial, {std::vector<float>(5, 1e-12f)});
    for (std::size_t i = 0; i < 5; ++i) EXPECT_NEAR(after[i], initial[i], 1e-7) << text;
  }
}

TEST(Ftrl, AChangeOfTheScheduleMovesNoWeightByItself) {
  const auto optimizer = MakeOptimizer(ConfigOf("ftrl { lambda1: 0.01 lambda2: 0.1 }")).value();
  std::vector<float> value{0.5f, -1, 0.25f}, state(6);
  for (std::uint32_t t = 1; t <= 100; ++t) {
    std::vector<float> grad(3);
    FillUniform(7, t, -1, 1, grad);
    optimizer->Apply({value, state}, grad, {1, 0, t});
  }
  const auto before = value;
  optimizer->Apply({value, state}, std::vector<float>(3, 1e-6f), {0.01f, 0, 101});
  for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(value[i], before[i], 1e-6);
}

}  // namespace
}  // namespace cairn::ps
