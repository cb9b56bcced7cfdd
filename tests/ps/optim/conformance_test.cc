// Runs over the whole catalogue: a listed optimizer is tested here.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "common/math/rng.h"
#include "proto/config.pb.h"
#include "ps/optim/gradient.h"
#include "ps/optim/optimizers.h"
#include "tests/ps/optim/reference.h"

namespace cairn::ps {
namespace {

// Blocks of hyper-parameters that are tried, the defaults first.
std::vector<std::string> SettingsOf(const std::string& name) {
  static const std::map<std::string, std::vector<std::string>> settings = {
      {"sgd", {"", "learning_rate: 0.3"}},
      {"adagrad", {"", "learning_rate: 0.2 epsilon: 1e-3 initial_accumulator: 0.1"}},
      {"rowwise_adagrad", {"", "learning_rate: 0.2 epsilon: 1e-3 initial_accumulator: 0.1"}},
      {"adam",
       {"", "learning_rate: 0.02 beta1: 0.5 beta2: 0.9 epsilon: 1e-3", "beta1: 0 beta2: 0.5"}},
      {"adamw",
       {"", "learning_rate: 0.02 beta1: 0.5 beta2: 0.9 epsilon: 1e-3 weight_decay: 0.5",
        "learning_rate: 0.1 weight_decay: 0"}},
      {"momentum",
       {"", "learning_rate: 0.05 nesterov: true", "momentum: 0", "momentum: 0.5 nesterov: true"}},
      {"ftrl",
       {"", "alpha: 0.3 beta: 0.1", "lambda1: 0.4", "alpha: 0.1 beta: 2 lambda1: 0.1 lambda2: 3"}},
  };
  const auto found = settings.find(name);
  if (found != settings.end()) return found->second;
  ADD_FAILURE() << "no settings of " << name << ": add them here and its equation in reference.h";
  return {};
}

std::vector<Isa> IsasHere() {
  std::vector<Isa> isas = {Isa::kBaseline};
  if (BestIsa() != Isa::kBaseline) isas.push_back(Isa::kAvx2);
  if (BestIsa() == Isa::kAvx512) isas.push_back(Isa::kAvx512);
  return isas;
}

struct Row {
  Row(const RowOptimizer& optimizer, std::size_t dim)
      : value(dim), state(optimizer.StateSize(dim), std::numeric_limits<float>::quiet_NaN()) {
    FillUniform(11, dim, -1, 1, value);
    optimizer.InitState(state);
  }
  std::vector<float> value, state;
};

// Every seventh element is 0.
std::vector<float> Gradient(std::uint64_t step, std::size_t dim) {
  std::vector<float> grad(dim);
  FillUniform(5, step, -0.5f, 0.5f, grad);
  for (std::size_t i = step % 7; i < dim; i += 7) grad[i] = 0;
  return grad;
}

StepInfo Step(std::uint32_t t) {
  return {t % 3 == 0 ? 0.25f : 1.0f, t % 4 == 0 ? 0.125f : 0.0f, t};
}

std::vector<std::uint32_t> Bits(const std::vector<float>& floats) {
  std::vector<std::uint32_t> bits;
  for (const float x : floats) bits.push_back(std::bit_cast<std::uint32_t>(x));
  return bits;
}

bool AllFinite(const std::vector<float>& floats) {
  return std::ranges::all_of(floats, [](float x) { return std::isfinite(x); });
}

class OptimizerConformance : public testing::TestWithParam<std::string> {
 protected:
  std::vector<proto::OptimizerConfig> Configs() const {
    std::vector<proto::OptimizerConfig> configs;
    for (const std::string& text : SettingsOf(GetParam())) {
      configs.push_back(ConfigOf(GetParam() + " { " + text + " }"));
    }
    return configs;
  }
};

TEST_P(OptimizerConformance, FollowsTheDoublePrecisionReferenceForEveryWidth) {
  std::vector<std::size_t> dims = {1000, 16384};
  for (std::size_t dim = 1; dim <= 130; ++dim) dims.push_back(dim);
  for (const auto& config : Configs()) {
    const auto optimizer = MakeOptimizer(config).value();
    for (const std::size_t dim : dims) {
      SCOPED_TRACE(config.ShortDebugString() + " dim " + std::to_string(dim));
      Row row(*optimizer, dim);
      ReferenceRow reference(config, row.value);
      for (std::uint32_t t = 1; t <= 12; ++t) {
        const StepInfo step = Step(t);
        optimizer->Apply({row.value, row.state}, Gradient(t, dim), step);
        reference.Step(Gradient(t, dim), step.learning_rate_scale, step.l2);
      }
      for (std::size_t i = 0; i < dim; ++i) {
        ASSERT_NEAR(row.value[i], reference.value()[i], 3e-6) << "element " << i;
      }
      const auto state = reference.State();
      ASSERT_EQ(row.state.size(), state.size());
      ASSERT_EQ(optimizer->StateSize(dim), state.size());
      for (std::size_t i = 0; i < state.size(); ++i) {
        ASSERT_NEAR(row.state[i], state[i], 3e-6 * std::max(1.0, std::abs(state[i])))
            << "float " << i << " of the state";
      }
    }
  }
}

TEST_P(OptimizerConformance, EveryInstructionSetGivesTheSameBits) {
  const float special[] = {0.0f, -0.0f, 1e-45f, -1e-39f, 1e-20f, 3e38f, -1e15f, 1e7f};
  for (const auto& config : Configs()) {
    for (std::size_t dim = 1; dim <= 130; ++dim) {
      std::vector<std::uint32_t> expected;
      for (const Isa isa : IsasHere()) {
        const auto optimizer = MakeOptimizer(config, isa).value();
        Row row(*optimizer, dim);
        for (std::uint32_t t = 1; t <= 6; ++t) {
          auto grad = Gradient(t, dim);
          if (t > 3) {
            for (std::size_t i = t; i < dim; i += 5) grad[i] = special[(i + t) % 8];
          }
          optimizer->Apply({row.value, row.state}, grad, Step(t));
        }
        auto bits = Bits(row.value);
        for (const std::uint32_t b : Bits(row.state)) bits.push_back(b);
        if (isa == Isa::kBaseline) {
          expected = bits;
        } else {
          ASSERT_EQ(bits, expected) << config.ShortDebugString() << " dim " << dim
                                    << " instruction set " << static_cast<int>(isa);
        }
      }
    }
  }
}

// Rows that lie side by side, [value | state] at any offset of 4 bytes, as in a table.
TEST_P(OptimizerConformance, AStepChangesItsOwnRowAlone) {
  constexpr float kGuard = 1234.5f;
  for (const std::size_t dim : {1, 5, 16, 17, 33, 130}) {
    const auto optimizer = MakeOptimizer(Configs()[0]).value();
    const std::size_t state_floats = optimizer->StateSize(dim);
    std::vector<float> memory(1 + dim + 1 + state_floats + 1, kGuard);
    const std::span<float> value(memory.data() + 1, dim);
    const std::span<float> state(memory.data() + 2 + dim, state_floats);
    Row alone(*optimizer, dim);
    std::ranges::copy(alone.value, value.begin());
    optimizer->InitState(state);
    for (std::uint32_t t = 1; t <= 3; ++t) {
      const auto grad = Gradient(t, dim);
      optimizer->Apply({value, state}, grad, Step(t));
      optimizer->Apply({alone.value, alone.state}, grad, Step(t));
      // Another row in between: the optimizer holds nothing of a row.
      Row other(*optimizer, dim);
      optimizer->Apply({other.value, other.state}, Gradient(100 + t, dim), Step(1));
      EXPECT_EQ(grad, Gradient(t, dim)) << "the gradient is only read";
    }
    EXPECT_TRUE(std::ranges::equal(value, alone.value)) << "dim " << dim;
    EXPECT_TRUE(std::ranges::equal(state, alone.state)) << "dim " << dim;
    for (const std::size_t guard : {std::size_t{0}, dim + 1, memory.size() - 1}) {
      EXPECT_EQ(memory[guard], kGuard) << "dim " << dim << " float " << guard;
    }
  }
}

TEST_P(OptimizerConformance, InitStateFillsAllOfItAndDependsOnNothing) {
  for (const auto& config : Configs()) {
    const auto optimizer = MakeOptimizer(config).value();
    const Row row(*optimizer, 37);
    EXPECT_TRUE(AllFinite(row.state));
    std::vector<float> again(row.state.size(), 7);
    MakeOptimizer(config).value()->InitState(again);
    EXPECT_EQ(row.state, again);
    const auto initial = ReferenceRow(config, row.value).State();
    EXPECT_TRUE(std::ranges::equal(row.state, initial,
                                   [](float a, double b) { return a == static_cast<float>(b); }));
  }
}

TEST_P(OptimizerConformance, OneMoreStepAfterSaveAndRestoreAgreesBitForBit) {
  for (const auto& config : Configs()) {
    const auto first = MakeOptimizer(config).value();
    Row row(*first, 37);
    for (std::uint32_t t = 1; t <= 5; ++t) {
      first->Apply({row.value, row.state}, Gradient(t, 37), Step(t));
    }
    Row restored = row;
    first->Apply({row.value, row.state}, Gradient(6, 37), Step(6));
    const auto second = MakeOptimizer(config).value();
    second->Apply({restored.value, restored.state}, Gradient(6, 37), Step(6));
    EXPECT_EQ(Bits(row.value), Bits(restored.value));
    EXPECT_EQ(Bits(row.state), Bits(restored.state));
  }
}

// Only weight decay, which is no part of the gradient, moves such a row.
TEST_P(OptimizerConformance, AZeroGradientLeavesAFreshRowAsItIs) {
  for (const auto& config : Configs()) {
    const auto optimizer = MakeOptimizer(config).value();
    Row row(*optimizer, 21);
    auto expected = row.value;
    if (config.has_adamw()) {
      const double decay = config.adamw().learning_rate() * config.adamw().weight_decay();
      for (float& w : expected) w *= static_cast<float>(1 - decay);
    }
    const auto state = row.state;
    optimizer->Apply({row.value, row.state}, std::vector<float>(21), {1, 0, 1});
    EXPECT_EQ(Bits(row.value), Bits(expected)) << config.ShortDebugString();
    // The z of ftrl takes the initial value.
    if (!config.has_ftrl()) {
      EXPECT_EQ(row.state, state);
    }
  }
}

// The learning rate's scale is exact at 1 and stops the row at 0.
TEST_P(OptimizerConformance, AScaleOfZeroMovesNoValue) {
  for (const auto& config : Configs()) {
    const auto optimizer = MakeOptimizer(config).value();
    Row row(*optimizer, 33);
    for (std::uint32_t t = 1; t <= 3; ++t) {
      const auto before = row.value;
      optimizer->Apply({row.value, row.state}, Gradient(t, 33), {0, 0, t});
      for (std::size_t i = 0; i < before.size(); ++i) {
        EXPECT_NEAR(row.value[i], before[i], 4e-7) << config.ShortDebugString();
      }
    }
  }
}

TEST_P(OptimizerConformance, HugeAndTinyGradientsStayFinite) {
  const float sizes[] = {
      std::numeric_limits<float>::max(), 1e30f, 1e18f, 1e10f, 1, 1e-10f, 1e-20f, 1e-38f, 1e-45f};
  for (const auto& config : Configs()) {
    const auto optimizer = MakeOptimizer(config).value();
    for (const float size : sizes) {
      Row row(*optimizer, 19);
      const auto initial = row.value;
      for (std::uint32_t t = 1; t <= 200; ++t) {
        std::vector<float> grad(19, t % 16 < 8 ? size : -size);
        for (std::size_t i = t % 4; i < 19; i += 4) grad[i] = 0;
        optimizer->Apply({row.value, row.state}, grad, {1, 0, t});
        ASSERT_TRUE(AllFinite(row.value) && AllFinite(row.state))
            << config.ShortDebugString() << " gradient " << size << " step " << t;
      }
      if (size > 1e-5f) {
        EXPECT_NE(row.value, initial) << config.ShortDebugString();
      }
    }
  }
}

TEST_P(OptimizerConformance, CutsTheGradientAtTheLimit) {
  const auto optimizer = MakeOptimizer(Configs()[0]).value();
  Row huge(*optimizer, 3), limit(*optimizer, 3);
  optimizer->Apply({huge.value, huge.state}, std::vector<float>{3e38f, -1e20f, 1}, {1, 0, 1});
  optimizer->Apply({limit.value, limit.state}, std::vector<float>{kMaxGradient, -kMaxGradient, 1},
                   {1, 0, 1});
  EXPECT_EQ(huge.value, limit.value);
  EXPECT_EQ(huge.state, limit.state);
}

// The factory's ranges are those that config.proto states, and finite as a float.
TEST_P(OptimizerConformance, RefusesEachHyperParameterOutOfRangeByName) {
  const auto* const block = proto::OptimizerConfig::descriptor()->FindFieldByName(GetParam());
  ASSERT_NE(block, nullptr) << "the catalogue's name is the field's";
  const auto make = [&](const google::protobuf::FieldDescriptor* field, double value) {
    proto::OptimizerConfig config;
    auto* const message = config.GetReflection()->MutableMessage(&config, block);
    message->GetReflection()->SetDouble(message, field, value);
    return MakeOptimizer(config).status();
  };
  int checked = 0;
  for (int f = 0; f < block->message_type()->field_count(); ++f) {
    const auto* const field = block->message_type()->field(f);
    if (field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_DOUBLE) continue;
    const proto::Range& range = field->options().GetExtension(proto::range);
    ASSERT_TRUE(range.has_min()) << field->full_name();
    std::vector<double> bad = {-1e-3, -INFINITY, INFINITY, std::nan(""), 1e300};
    if (range.exclusive_min()) bad.push_back(range.min());
    if (range.has_max()) bad.insert(bad.end(), {range.max() + 0.5, range.max() - 1e-12});
    if (range.has_max() && range.exclusive_max()) bad.push_back(range.max());
    for (const double value : bad) {
      const Status status = make(field, value);
      ASSERT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field->name() << " " << value;
      EXPECT_TRUE(
          std::string(status.message()).starts_with(GetParam() + "." + field->name() + " is"))
          << status;
    }
    if (!range.exclusive_min()) {
      EXPECT_TRUE(make(field, range.min()).ok()) << field->name();
    }
    EXPECT_TRUE(make(field, 0.5).ok()) << field->name();
    ++checked;
  }
  EXPECT_GT(checked, 0);
}

std::vector<std::string> AllNames() {
  std::vector<std::string> names;
  for (const OptimizerEntry& entry : Optimizers()) names.emplace_back(entry.name);
  return names;
}
INSTANTIATE_TEST_SUITE_P(Catalogue, OptimizerConformance, testing::ValuesIn(AllNames()),
                         [](const auto& param_info) { return param_info.param; });

}  // namespace
}  // namespace cairn::ps
