// Runs over the whole catalogue of initializers.
#include "ps/table/initializer.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "google/protobuf/text_format.h"
#include "proto/config.pb.h"
#include "ps/table/random_rows.h"

namespace cairn::ps {
namespace {

proto::InitializerConfig Config(const std::string& text) {
  proto::InitializerConfig config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &config)) << text;
  return config;
}

// Rows of the keys, one behind the other.
std::vector<float> Rows(const RowInitializer& initializer, const std::vector<std::uint64_t>& keys,
                        std::size_t dim) {
  std::vector<float> out(keys.size() * dim, 99.0f);
  std::vector<float*> rows;
  for (std::size_t i = 0; i < keys.size(); ++i) rows.push_back(out.data() + i * dim);
  initializer.Fill(keys, dim, rows.data());
  return out;
}

std::vector<std::uint64_t> CountingKeys(std::size_t n) {
  std::vector<std::uint64_t> keys(n);
  for (std::size_t i = 0; i < n; ++i) keys[i] = i * 0x9e3779b97f4a7c15ull;
  return keys;
}

class InitializerTest : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<RowInitializer> Make(std::uint64_t seed, std::uint64_t salt) {
    return MakeInitializer(Config(GetParam() + " {}"), seed, salt).value();
  }
};

TEST_P(InitializerTest, ARowDoesNotDependOnItsNeighbours) {
  const auto initializer = Make(1, 2);
  const auto keys = CountingKeys(150);
  for (const std::size_t dim : {1, 3, 4, 16, 17, 100, 4096}) {
    const auto together = Rows(*initializer, keys, dim);
    for (std::size_t i = 0; i < keys.size(); i += 7) {
      const std::vector<float> row(together.begin() + static_cast<std::ptrdiff_t>(i * dim),
                                   together.begin() + static_cast<std::ptrdiff_t>((i + 1) * dim));
      EXPECT_EQ(Rows(*initializer, {keys[i]}, dim), row) << "dim " << dim << " key " << keys[i];
    }
  }
}

TEST_P(InitializerTest, SeedAndSaltMatterUnlessAllIsZero) {
  const auto keys = CountingKeys(10);
  const auto first = Rows(*Make(1, 2), keys, 16);
  EXPECT_EQ(first, Rows(*Make(1, 2), keys, 16));
  if (GetParam() == "zero") {
    EXPECT_EQ(first, std::vector<float>(160));
    return;
  }
  EXPECT_NE(first, Rows(*Make(2, 2), keys, 16));
  EXPECT_NE(first, Rows(*Make(1, 3), keys, 16));
}

std::vector<std::string> AllNames() {
  std::vector<std::string> names;
  for (const InitializerEntry& entry : Initializers()) names.emplace_back(entry.name);
  return names;
}
INSTANTIATE_TEST_SUITE_P(Catalogue, InitializerTest, testing::ValuesIn(AllNames()),
                         [](const auto& param_info) { return param_info.param; });

TEST(Initializers, CatalogueIsSorted) {
  const auto names = AllNames();
  EXPECT_TRUE(std::ranges::is_sorted(names));
}

TEST(Initializers, NormalHasItsMomentsAndTails) {
  const auto rows = Rows(*MakeInitializer(Config("normal { stddev: 0.5 }"), 1, 2).value(),
                         CountingKeys(60'000), 16);
  double sum = 0, squares = 0, fourth = 0, products = 0;
  float largest = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const double x = rows[i] / 0.5;
    sum += x;
    squares += x * x;
    fourth += x * x * x * x;
    if (i % 2 == 1) products += x * (rows[i - 1] / 0.5);
    largest = std::max(largest, std::abs(rows[i]));
  }
  const auto n = static_cast<double>(rows.size());
  EXPECT_NEAR(sum / n, 0, 0.005);
  EXPECT_NEAR(squares / n, 1, 0.01);
  EXPECT_NEAR(fourth / n, 3, 0.06);
  EXPECT_NEAR(products / n, 0, 0.005);
  EXPECT_GT(largest, 0.5f * 4.2f);
  EXPECT_LT(largest, 0.5f * 5.8f);
}

TEST(Initializers, UniformFillsItsIntervalEvenly) {
  const auto rows = Rows(*MakeInitializer(Config("uniform { bound: 0.25 }"), 1, 2).value(),
                         CountingKeys(10'000), 10);
  std::vector<int> bins(10);
  for (const float x : rows) {
    ASSERT_GE(x, -0.25f);
    ASSERT_LT(x, 0.25f);
    ++bins[static_cast<std::size_t>((x + 0.25f) * 20)];
  }
  for (const int count : bins) EXPECT_NEAR(count, 10'000, 500);
}

// Box and Muller in double, from the same random words.
TEST(RandomRows, NormalsFollowTheFormula) {
  std::vector<float> normal(4096), uniform(4096);
  float* normal_row = normal.data();
  float* uniform_row = uniform.data();
  const std::uint64_t key = 5;
  FillRandomRows(BestIsa(), RandomKind::kNormal, 1, 9, {&key, 1}, 4096, &normal_row);
  FillRandomRows(BestIsa(), RandomKind::kUniform, 1, 9, {&key, 1}, 4096, &uniform_row);
  for (std::size_t i = 0; i < 4096; i += 2) {
    // uniform = words mapped to [-1, 1): back to the words' upper 24 bits.
    const double a = (uniform[i] + 1.0) * 0x1p23, b = (uniform[i + 1] + 1.0) * 0x1p23;
    const double radius = std::sqrt(-2 * std::log((a + 1) * 0x1p-24));
    const double angle = 2 * 3.14159265358979323846 * b * 0x1p-24;
    EXPECT_NEAR(normal[i], radius * std::cos(angle), 3e-6) << i;
    EXPECT_NEAR(normal[i + 1], radius * std::sin(angle), 3e-6) << i;
  }
}

TEST(RandomRows, EveryInstructionSetGivesTheSameBits) {
  const auto keys = CountingKeys(500);
  for (const RandomKind kind : {RandomKind::kNormal, RandomKind::kUniform}) {
    std::vector<std::vector<float>> results;
    for (const Isa isa : {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512}) {
      if (isa > BestIsa()) continue;
      std::vector<float>& out = results.emplace_back(keys.size() * 18);
      std::vector<float*> rows;
      for (std::size_t i = 0; i < keys.size(); ++i) rows.push_back(out.data() + i * 18);
      FillRandomRows(isa, kind, 0.1f, 77, keys, 18, rows.data());
    }
    for (const auto& result : results) EXPECT_EQ(result, results.front());
  }
}

// Frozen: initial values are part of the checkpoint format.
TEST(RandomRows, ValuesAreFrozen) {
  std::vector<float> row(4);
  float* rows = row.data();
  const std::uint64_t key = 0x123456789abcdefull;
  FillRandomRows(BestIsa(), RandomKind::kNormal, 1, 42, {&key, 1}, 4, &rows);
  EXPECT_EQ(row,
            (std::vector<float>{0x1.af8f98p-1f, 0x1.52ffep-1f, -0x1.6066dap-4f, 0x1.ecb9acp-1f}));
  FillRandomRows(BestIsa(), RandomKind::kUniform, 1, 42, {&key, 1}, 4, &rows);
  EXPECT_EQ(row,
            (std::vector<float>{0x1.0228ap-3f, -0x1.937bc8p-1f, 0x1.042758p-2f, -0x1.e2efep-2f}));
}

TEST(Initializers, RefusesBadParameters) {
  for (const char* text :
       {"normal { stddev: -1 }", "normal { stddev: nan }", "uniform { bound: inf }"}) {
    EXPECT_EQ(MakeInitializer(Config(text), 1, 2).status().code(),
              absl::StatusCode::kInvalidArgument)
        << text;
  }
}

}  // namespace
}  // namespace cairn::ps
