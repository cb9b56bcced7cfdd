// Runs over the whole catalogue: a listed optimizer is tested here.
#include "ps/optim/optimizers.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "common/math/rng.h"
#include "google/protobuf/text_format.h"
#include "proto/config.pb.h"

namespace cairn::ps {
namespace {

proto::OptimizerConfig Config(const std::string& text) {
  proto::OptimizerConfig config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &config)) << text;
  return config;
}

// One row in double precision, written from the papers' equations without a look at the kernels.
struct Reference {
  std::vector<double> w, a, b;  // value; first and second state array

  void Step(const proto::OptimizerConfig& config, const std::vector<float>& grad, double scale,
            double l2, int t) {
    for (std::size_t i = 0; i < w.size(); ++i) {
      const double g = grad[i] + l2 * w[i];
      if (config.has_sgd()) {
        w[i] -= config.sgd().learning_rate() * scale * g;
      } else if (config.has_adagrad()) {
        a[i] += g * g;
        w[i] -= config.adagrad().learning_rate() * scale * g /
                (std::sqrt(a[i]) + config.adagrad().epsilon());
      } else {
        const auto& c = config.adam();
        a[i] = c.beta1() * a[i] + (1 - c.beta1()) * g;
        b[i] = c.beta2() * b[i] + (1 - c.beta2()) * g * g;
        const double mean = a[i] / (1 - std::pow(c.beta1(), t));
        const double square = b[i] / (1 - std::pow(c.beta2(), t));
        w[i] -= c.learning_rate() * scale * mean / (std::sqrt(square) + c.epsilon());
      }
    }
  }
};

class OptimizerTest : public testing::TestWithParam<std::string> {
 protected:
  proto::OptimizerConfig config_ = Config(GetParam() + " { learning_rate: 0.02 }");
};

struct Row {
  Row(const RowOptimizer& optimizer, std::size_t dim)
      : value(dim), state(optimizer.StateSize(dim)) {
    FillUniform(11, dim, -1, 1, value);
    optimizer.InitState(state);
  }
  std::vector<float> value, state;
};

std::vector<float> Gradient(std::uint64_t step, std::size_t dim) {
  std::vector<float> grad(dim);
  FillUniform(5, step, -0.5f, 0.5f, grad);
  return grad;
}

TEST_P(OptimizerTest, FollowsTheDoublePrecisionReferenceForEveryWidth) {
  for (std::size_t dim : {1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 64, 100, 16384}) {
    const auto optimizer = MakeOptimizer(config_).value();
    Row row(*optimizer, dim);
    Reference reference{
        {row.value.begin(), row.value.end()}, std::vector<double>(dim), std::vector<double>(dim)};
    for (std::uint32_t t = 1; t <= 20; ++t) {
      const auto grad = Gradient(t, dim);
      const float scale = t < 10 ? 1.0f : 0.25f;
      optimizer->Apply({row.value, row.state}, grad, {scale, 0.125f, t});
      reference.Step(config_, grad, scale, 0.125, static_cast<int>(t));
    }
    for (std::size_t i = 0; i < dim; ++i) {
      EXPECT_NEAR(row.value[i], reference.w[i], 2e-6) << "dim " << dim << " element " << i;
    }
  }
}

TEST_P(OptimizerTest, OneMoreStepAfterSaveAndRestoreAgreesBitForBit) {
  const auto first = MakeOptimizer(config_).value();
  Row row(*first, 37);
  for (std::uint32_t t = 1; t <= 5; ++t) {
    first->Apply({row.value, row.state}, Gradient(t, 37), {1, 0, t});
  }
  Row restored = row;
  first->Apply({row.value, row.state}, Gradient(6, 37), {1, 0, 6});
  const auto second = MakeOptimizer(config_).value();
  second->Apply({restored.value, restored.state}, Gradient(6, 37), {1, 0, 6});
  EXPECT_EQ(row.value, restored.value);
  EXPECT_EQ(row.state, restored.state);
}

TEST_P(OptimizerTest, AZeroGradientLeavesAFreshRowAsItIs) {
  const auto optimizer = MakeOptimizer(config_).value();
  Row row(*optimizer, 16);
  const auto before = row.value;
  optimizer->Apply({row.value, row.state}, std::vector<float>(16), {1, 0, 1});
  EXPECT_EQ(row.value, before);
}

TEST_P(OptimizerTest, RefusesBadLearningRates) {
  for (const char* rate : {"0", "-0.1", "inf", "nan", "1e300"}) {
    const auto made = MakeOptimizer(Config(GetParam() + " { learning_rate: " + rate + " }"));
    ASSERT_EQ(made.status().code(), absl::StatusCode::kInvalidArgument) << rate;
    EXPECT_NE(made.status().message().find(GetParam() + ".learning_rate"), std::string::npos);
  }
}

std::vector<std::string> AllNames() {
  std::vector<std::string> names;
  for (const OptimizerEntry& entry : Optimizers()) names.emplace_back(entry.name);
  return names;
}
INSTANTIATE_TEST_SUITE_P(Catalogue, OptimizerTest, testing::ValuesIn(AllNames()),
                         [](const auto& param_info) { return param_info.param; });

TEST(Optimizers, CatalogueIsSortedAndNamesItsEntries) {
  const auto names = AllNames();
  EXPECT_TRUE(std::ranges::is_sorted(names));
  for (const std::string& name : names) {
    EXPECT_EQ(MakeOptimizer(Config(name + " {}")).value()->name(), name);
  }
}

TEST(Optimizers, UnsetIsAdam) { EXPECT_EQ(MakeOptimizer({}).value()->name(), "adam"); }

// w = 1, g = 0.5: one step by hand.
TEST(Optimizers, GoldenFirstSteps) {
  const auto step = [](const std::string& text) {
    const auto optimizer = MakeOptimizer(Config(text)).value();
    std::vector<float> value{1}, state(optimizer->StateSize(1));
    optimizer->InitState(state);
    optimizer->Apply({value, state}, std::vector<float>{0.5f}, {1, 0, 1});
    return value[0];
  };
  EXPECT_FLOAT_EQ(step("sgd { learning_rate: 0.1 }"), 0.95f);
  EXPECT_FLOAT_EQ(step("adagrad { learning_rate: 0.1 epsilon: 1e-7 }"), 0.9f);
  EXPECT_FLOAT_EQ(step("adagrad { learning_rate: 0.1 epsilon: 1e-7 initial_accumulator: 0.75 }"),
                  0.95f);
  EXPECT_FLOAT_EQ(step("adam { learning_rate: 0.1 }"), 0.9f);
}

TEST(Optimizers, RefusesOtherHyperParametersOutOfRange) {
  for (const char* text :
       {"adagrad { epsilon: 0 }", "adagrad { initial_accumulator: -1 }", "adam { epsilon: -1 }",
        "adam { beta1: 1 }", "adam { beta2: 1.5 }", "adam { beta1: -0.1 }", "adam { beta2: nan }",
        "adam { beta2: 0.999999999 }"}) {
    EXPECT_EQ(MakeOptimizer(Config(text)).status().code(), absl::StatusCode::kInvalidArgument)
        << text;
  }
}

// Bias corrections come from a table that ends; both sides of its end must agree with the formula.
TEST(Adam, CorrectsBiasForAnyNumberOfUpdates) {
  for (const char* text : {"adam { learning_rate: 1 }", "adam { learning_rate: 1 beta2: 0.99999 }",
                           "adam { learning_rate: 1 beta1: 0 beta2: 0 }"}) {
    const auto config = Config(text);
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

}  // namespace
}  // namespace cairn::ps
