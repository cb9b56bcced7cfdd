// The vector exponential on every instruction set that this CPU can run, against std::exp.
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "tests/worker/nn/gradient_check.h"
#include "worker/nn/kernels/kernels.h"

namespace cairn::worker::nn {
namespace {

class ExpTest : public testing::TestWithParam<Isa> {
 protected:
  std::vector<float> Exp(std::vector<float> x) const {
    const std::size_t n = x.size();
    x.resize(RoundUp(n, kLanes));
    FindKernels<float>(GetParam())->exp(x.data(), x.size(), x.data());
    x.resize(n);
    return x;
  }
};

// Every 997th float of both signs: over four million of them.
TEST_P(ExpTest, RelativeErrorIsBelowTheBoundOverAllFloats) {
  std::vector<float> x;
  for (std::uint64_t bits = 0; bits < 1ull << 32; bits += 997) {
    const float value = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    if (std::isfinite(value)) x.push_back(value);
  }
  for (float value = -87.4f; value < 88.8f; value += 3e-4f) x.push_back(value);
  const std::vector<float> y = Exp(x);
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double expected = std::exp(static_cast<double>(x[i]));
    if (expected > std::numeric_limits<float>::max()) {
      ASSERT_EQ(y[i], std::numeric_limits<float>::infinity()) << x[i];
    } else if (expected < std::numeric_limits<float>::min()) {
      ASSERT_LE(y[i], std::numeric_limits<float>::min() * (1 + 1e-6)) << x[i];
    } else if (y[i] == 0) {  // the last float whose exponential is a normal number
      ASSERT_LT(expected, std::numeric_limits<float>::min() * (1 + 1e-5)) << x[i];
    } else {
      worst = std::max(worst, std::abs(y[i] - expected) / expected);
    }
  }
  EXPECT_LT(worst, 1e-7);
  RecordProperty("worst", std::to_string(worst * 1e9) + "e-9");
}

TEST_P(ExpTest, SpecialValues) {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> y = Exp({0.f, -0.f, inf, -inf, -1e30f, 1e30f, -std::nanf(""), -90.f});
  EXPECT_EQ(y[0], 1.f);
  EXPECT_EQ(y[1], 1.f);
  EXPECT_EQ(y[2], inf);
  EXPECT_EQ(y[3], 0.f);
  EXPECT_EQ(y[4], 0.f);
  EXPECT_EQ(y[5], inf);
  EXPECT_TRUE(std::isnan(y[6]));
  EXPECT_EQ(y[7], 0.f);
}

std::string NameOf(const testing::TestParamInfo<Isa>& test) {
  return FindKernels<float>(test.param)->name;
}
INSTANTIATE_TEST_SUITE_P(AllSets, ExpTest, testing::ValuesIn(RunnableIsas()), NameOf);

TEST(Exp, OfDoublesIsThatOfTheStandardLibrary) {
  std::vector<double> x(kLanes), y(kLanes);
  for (std::size_t i = 0; i < kLanes; ++i) x[i] = 0.37 * static_cast<double>(i) - 3;
  FindKernels<double>(Isa::kBest)->exp(x.data(), kLanes, y.data());
  for (std::size_t i = 0; i < kLanes; ++i) EXPECT_EQ(y[i], std::exp(x[i]));
}

}  // namespace
}  // namespace cairn::worker::nn
