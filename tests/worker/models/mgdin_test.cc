// MGDIN: parameter counts, the model against plain loops under every schedule, gradients of every
// option, field orders, masks, errors.
#include <algorithm>
#include <cmath>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/worker/models/mgdin_reference.h"
#include "tests/worker/models/model_testing.h"
#include "worker/models/mgdin_groups.h"

namespace cairn::worker {
namespace {

using testing::AllOf;
using testing::DoubleNear;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::Pointwise;

proto::ModelConfig Mgdin(const std::string& options) { return Model("mgdin { " + options + " }"); }
proto::ModelConfig Small(const std::string& options) {
  return Mgdin(
      "granularity: 1 granularity: 2 granularity: 3 layers: 3 width: 6 attention_width: 4 "
      "ffn_factor: 2 head { hidden: 7 hidden: 5 } " +
      options);
}

// Seven fields, neither sorted by density nor without a tie; three and two do not divide them.
std::vector<FieldSpec> Fields() { return DenseFields({3, 5, 1, 5, 8, 2, 4}, 4, 3); }
const std::vector<std::size_t> kByDensity = {4, 1, 3, 6, 0, 5, 2};

std::vector<FieldSpec> Many(int count, std::uint32_t dim) {
  return DenseFields(std::vector<double>(count, 1), dim, count);
}

TEST(Mgdin, ParameterCounts) {
  EXPECT_EQ(TrainedFloats(Mgdin("shared_ffn: true"), Many(39, 16)), 500'481u);
  EXPECT_EQ(TrainedFloats(Mgdin(""), Many(39, 16)), 7'051'905u);
  EXPECT_EQ(TrainedFloats(Mgdin("shared_ffn: true"), Many(22, 16)), 500'481u);
  EXPECT_EQ(TrainedFloats(Mgdin(""), Many(22, 16)), 4'073'985u);
}

TEST(Mgdin, InitialValues) {
  nn::GraphBuilder graph(3);
  ASSERT_TRUE(Builder(Mgdin("layers: 1"))(graph, Many(8, 16)).ok());
  const std::vector<float> values = graph.InitialValues();
  std::size_t offset = 0;
  int checked = 0;
  for (const DenseTensor& tensor : graph.layout()) {
    double square = 0;
    for (std::size_t i = offset; i < offset + tensor.Floats(); ++i) square += values[i] * values[i];
    const double deviation = std::sqrt(square / static_cast<double>(tensor.Floats()));
    double expected = -1;
    if (tensor.name == "branch2.layer1.query.weight") expected = std::sqrt(2.0 / (64 + 64));
    if (tensor.name == "branch2.layer1.ffn.0.weight") expected = std::sqrt(2.0 / (64 + 256));
    if (tensor.name == "branch4.project.weight") expected = std::sqrt(2.0 / (64 + 64));
    if (tensor.name.ends_with(".bias") || tensor.name.ends_with(".beta")) expected = 0;
    if (tensor.name.ends_with(".gamma")) expected = 1;
    if (expected >= 0) {
      EXPECT_NEAR(deviation, expected, 0.04 * expected) << tensor.name;
      ++checked;
    }
    offset += tensor.Floats();
  }
  EXPECT_GT(checked, 20);
}

// ------------------------------------------------------------------------- against plain loops

// Tokens i, j of a branch of the small model interact in layer l.
using Active = std::function<bool(int size, int l, const Matrix& scores, int i, int j)>;

bool All(int, int, const Matrix&, int, int) { return true; }

// Among the floor(l / 3 M^2) largest scores; of equal ones the earlier.
bool Largest(int, int l, const Matrix& scores, int i, int j) {
  const int m = static_cast<int>(scores.size());
  int before = 0;
  for (int a = 0; a < m; ++a)
    for (int b = 0; b < m; ++b)
      before +=
          scores[a][b] > scores[i][j] || (scores[a][b] == scores[i][j] && a * m + b < i * m + j);
  return before < std::max(l * m * m / 3, 1);
}

bool Smallest(int size, int l, const Matrix& scores, int i, int j) {
  Matrix turned = scores;
  for (Vector& row : turned)
    for (double& v : row) v = -v;
  return Largest(size, l, turned, i, j);
}

// Windows lie by density, so that the densest have the lowest numbers.
bool FirstGroups(int, int l, const Matrix& scores, int i, int j) {
  const int m = static_cast<int>(scores.size());
  const int visible = static_cast<int>(std::ceil(l * m / 3.0));
  return i == j || (i < visible && j < visible);
}

Active OrDiagonal(const Active& active) {
  return [active](int size, int l, const Matrix& scores, int i, int j) {
    return i == j || active(size, l, scores, i, j);
  };
}

void ExpectAsReference(const std::string& options, const Active& active,
                       const std::vector<std::size_t>& order = kByDensity) {
  SCOPED_TRACE(options);
  const nn::Problem problem{.fields = Fields(), .rows = 21};
  const proto::ModelConfig config = Small(options);
  SmallModel model(config, problem);
  MgdinReference reference{
      .sizes = {1, 2, 3},
      .layers = 3,
      .width = 6,
      .softmax = config.mgdin().attention() == proto::MgdinConfig::SOFTMAX,
      .shared_ffn = config.mgdin().shared_ffn(),
      .flatten = config.mgdin().pooling() == proto::MgdinConfig::FLATTEN,
      .dummies_first = config.mgdin().order() == proto::MgdinConfig::DENSITY_REVERSED,
      .head_layers = 2,
      .active = active};
  for (const std::string& name : ParameterNames(model.builder())) {
    const auto values = model.Values(name);
    reference.parameters[name] = Vector(values.begin(), values.end());
  }
  const std::vector<double> scores = model.Score();
  const auto& data = model.data();
  for (std::uint32_t r = 0; r < problem.rows; ++r) {
    Matrix embeddings;
    for (std::size_t f : order) {
      const double* row = &data.values[problem.fields[f].table][data.batch.fields[f].index[r] * 4];
      embeddings.emplace_back(row, row + 4);
    }
    EXPECT_NEAR(scores[r], reference.Logit(embeddings), 1e-9) << "row " << r;
  }
  EXPECT_THAT(scores, Not(Each(DoubleNear(scores[0], 1e-3))));
}

TEST(Mgdin, WithoutDeferralIsAPlainTransformer) {
  ExpectAsReference("schedule: ALL", &All);
  ExpectAsReference("schedule: ALL shared_ffn: true", &All);
  ExpectAsReference("schedule: ALL pooling: FLATTEN", &All);
  ExpectAsReference("schedule: ALL attention: LINEAR", &All);
  ExpectAsReference("schedule: ALL order: FILE", &All, {0, 1, 2, 3, 4, 5, 6});
  ExpectAsReference("schedule: ALL order: DENSITY_REVERSED", &All, {2, 5, 0, 6, 1, 3, 4});
}

TEST(Mgdin, PairsAreRevealedByTheirInitialScores) {
  ExpectAsReference("", &Largest);
  ExpectAsReference("attention: LINEAR shared_ffn: true", &Largest);
  ExpectAsReference("schedule: PAIR_REVERSED", &Smallest);
  ExpectAsReference("force_diagonal: true", OrDiagonal(&Largest));
  ExpectAsReference("schedule: PAIR_REVERSED force_diagonal: true", OrDiagonal(&Smallest));
}

TEST(Mgdin, GroupsAreRevealedByTheirDensity) {
  ExpectAsReference("schedule: GROUP", &FirstGroups);
  ExpectAsReference("schedule: GROUP attention: LINEAR pooling: FLATTEN", &FirstGroups);
}

TEST(Mgdin, RandomPairsAreThoseOfTheSeed) {
  const auto random = [](int size, int l, const Matrix& scores, int i, int j) {
    const auto m = static_cast<std::uint32_t>(scores.size());
    const mgdin::Windows windows{.size = static_cast<std::uint32_t>(size), .count = m};
    return mgdin::RandomMask(windows, mgdin::ActivePairs(l, 3, m), 1)[i * m + j] != 0;
  };
  ExpectAsReference("schedule: PAIR_RANDOM", random);
  ExpectAsReference("schedule: PAIR_RANDOM force_diagonal: true", OrDiagonal(random));
}

TEST(Mgdin, OneLayerSeesAllPairsWhateverTheSchedule) {
  const nn::Problem problem{.fields = Fields(), .rows = 9};
  SmallModel all(Small("layers: 1 schedule: ALL"), problem);
  for (const char* schedule : {"PAIR", "GROUP", "PAIR_REVERSED", "PAIR_RANDOM"})
    EXPECT_EQ(SmallModel(Small(StrCat("layers: 1 schedule: ", schedule)), problem).Score(),
              all.Score())
        << schedule;
}

// ------------------------------------------------------------------------------------- gradients

class MgdinOptions : public testing::TestWithParam<const char*> {};

TEST_P(MgdinOptions, GradientsAgreeWithCentralDifferences) {
  nn::Problem problem{.fields = Fields(), .rows = 37};
  problem.fields[3].kind = FieldSpec::Kind::kNumeric;
  problem.fields[3].table = -1;
  problem.fields[5].kind = FieldSpec::Kind::kSequence;
  nn::CheckGradients(Builder(Small(GetParam())), problem,
                     {.threads = 2,
                      .block_rows = 16,
                      .samples = 2,
                      .step = 1e-6,
                      .tolerance = 1e-4,
                      .float_tolerance = 5e-3});
}

TEST_P(MgdinOptions, TheSameSeedGivesTheSameNumbers) {
  const nn::Problem problem{.fields = Fields(), .rows = 19};
  SmallModel first(Small(GetParam()), problem), second(Small(GetParam()), problem);
  EXPECT_EQ(first.builder().InitialValues(), second.builder().InitialValues());
  EXPECT_EQ(first.Train(), second.Train());
  EXPECT_EQ(first.data().dense_gradients, second.data().dense_gradients);
  EXPECT_EQ(first.Score(), second.Score());
}

INSTANTIATE_TEST_SUITE_P(
    All, MgdinOptions,
    testing::Values("", "schedule: GROUP", "schedule: ALL", "schedule: PAIR_REVERSED",
                    "schedule: PAIR_RANDOM", "attention: LINEAR", "shared_ffn: true",
                    "force_diagonal: true", "dropout: 0.2", "pooling: FLATTEN",
                    "order: DENSITY_REVERSED", "order: FILE", "order: RANDOM",
                    "head { batch_norm: true dropout: 0.1 activation: GELU }",
                    "schedule: GROUP attention: LINEAR shared_ffn: true pooling: FLATTEN"));

TEST(Mgdin, OneRowAndManyBlocks) {
  for (const auto& [rows, threads] : {std::pair{1u, 1}, {16u, 1}, {100u, 3}})
    nn::CheckGradients(Builder(Small("")), {.fields = Fields(), .rows = rows},
                       {.threads = threads,
                        .block_rows = 16,
                        .samples = 1,
                        .step = 1e-6,
                        .tolerance = 1e-4,
                        .float_tolerance = 5e-3});
}

TEST(Mgdin, DropoutIsAFunctionOfTheStepAndOnlyInTraining) {
  const nn::Problem problem{.fields = Fields(), .rows = 9};
  SmallModel with(Small("dropout: 0.3"), problem), without(Small(""), problem);
  EXPECT_EQ(with.Score(), without.Score());
  const std::vector<double> first = with.Train();
  EXPECT_EQ(with.Train(), first);
  ++with.data().step;
  EXPECT_NE(with.Train(), first);
  EXPECT_NE(without.Train(), first);
}

// ------------------------------------------------------------------------- orders, windows, masks

std::vector<std::string> Order(const std::string& options, const std::vector<FieldSpec>& fields,
                               std::uint64_t seed = 1) {
  const auto ordered = mgdin::OrderFields(Mgdin(options).mgdin(), fields, seed);
  EXPECT_TRUE(ordered.ok()) << ordered.status();
  std::vector<std::string> names;
  for (const FieldSpec& field : *ordered) names.push_back(field.name);
  return names;
}

TEST(MgdinGroups, FieldsAreOrdered) {
  EXPECT_THAT(Order("", Fields()), ElementsAre("f4", "f1", "f3", "f6", "f0", "f5", "f2"));
  EXPECT_THAT(Order("order: DENSITY_REVERSED", Fields()),
              ElementsAre("f2", "f5", "f0", "f6", "f1", "f3", "f4"));
  EXPECT_THAT(Order("order: FILE", Fields()),
              ElementsAre("f0", "f1", "f2", "f3", "f4", "f5", "f6"));
  const auto random = Order("order: RANDOM", Fields(), 5);
  EXPECT_EQ(Order("order: RANDOM", Fields(), 5), random);
  EXPECT_NE(Order("order: RANDOM", Fields(), 6), random);
  EXPECT_THAT(random, testing::UnorderedElementsAreArray(Order("order: FILE", Fields())));
}

TEST(MgdinGroups, WithoutDensitiesOrdersThatNeedThemAreRefusedByField) {
  auto fields = Fields();
  fields[3].density.reset();
  for (const char* order : {"DENSITY", "DENSITY_REVERSED"}) {
    const Status status = BuildError(Small(StrCat("order: ", order)), fields);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("model.mgdin.order"), HasSubstr("feature.f3.density")));
  }
  for (const char* order : {"FILE", "RANDOM"})
    EXPECT_TRUE(BuildError(Small(StrCat("order: ", order)), fields).ok());
}

mgdin::Windows Cut(const std::string& options, const std::vector<FieldSpec>& fields,
                   std::uint32_t size) {
  const proto::MgdinConfig config = Mgdin(options).mgdin();
  return mgdin::CutWindows(config, *mgdin::OrderFields(config, fields, 1), size);
}

TEST(MgdinGroups, WindowsArePaddedAtTheSparseEndAndRankedByDensity) {
  const mgdin::Windows sorted = Cut("", Fields(), 3);
  EXPECT_EQ(sorted.count, 3u);
  EXPECT_EQ(sorted.dummies, 2u);
  EXPECT_FALSE(sorted.dummies_first);
  EXPECT_THAT(sorted.rank, ElementsAre(0, 1, 2));
  const mgdin::Windows reversed = Cut("order: DENSITY_REVERSED", Fields(), 3);
  EXPECT_TRUE(reversed.dummies_first);
  EXPECT_THAT(reversed.rank, ElementsAre(2, 1, 0));
  // File order, means 4, 3, 5, 4 (the dummy does not count): the third window, then the first.
  EXPECT_THAT(Cut("order: FILE", Fields(), 2).rank, ElementsAre(1, 3, 0, 2));
  auto uncounted = Fields();
  uncounted[0].density.reset();
  EXPECT_THAT(Cut("order: FILE", uncounted, 2).rank, ElementsAre(0, 1, 2, 3));
  const mgdin::Windows whole = Cut("", Fields(), 7);
  EXPECT_EQ(whole.count, 1u);
  EXPECT_EQ(whole.dummies, 0u);
}

bool IsSubset(const std::vector<std::uint8_t>& a, const std::vector<std::uint8_t>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), [](int x, int y) { return x <= y; });
}

TEST(MgdinGroups, MasksAreNestedAndTheLastIsAllOnes) {
  for (std::uint32_t m : {1u, 2u, 3u, 7u, 39u})
    for (std::uint32_t layers : {1u, 2u, 3u, 5u, 64u}) {
      mgdin::Windows windows{.size = 1, .count = m};
      windows.rank.resize(m);
      std::iota(windows.rank.rbegin(), windows.rank.rend(), 0u);
      std::vector<std::uint8_t> group(m * m, 0), random(m * m, 0);
      for (std::uint32_t l = 1; l <= layers; ++l) {
        const std::uint32_t active = mgdin::ActivePairs(l, layers, m);
        EXPECT_EQ(active, std::max(1u, l * m * m / layers));
        auto next_group = mgdin::GroupMask(windows, l, layers);
        auto next_random = mgdin::RandomMask(windows, active, 3);
        EXPECT_TRUE(IsSubset(group, next_group)) << m << " " << layers << " " << l;
        EXPECT_TRUE(IsSubset(random, next_random)) << m << " " << layers << " " << l;
        EXPECT_EQ(std::accumulate(next_random.begin(), next_random.end(), 0u), active);
        group = std::move(next_group), random = std::move(next_random);
      }
      EXPECT_THAT(group, Each(1));
      EXPECT_THAT(random, Each(1));
    }
}

TEST(MgdinGroups, GroupMaskShowsTheDensestFirst) {
  const mgdin::Windows windows{.size = 1, .count = 3, .rank = {2, 0, 1}};
  EXPECT_THAT(mgdin::GroupMask(windows, 1, 3), ElementsAre(1, 0, 0, 0, 1, 0, 0, 0, 1));
  EXPECT_THAT(mgdin::GroupMask(windows, 2, 3), ElementsAre(1, 0, 0, 0, 1, 1, 0, 1, 1));
}

TEST(MgdinGroups, RandomMasksDifferBetweenSeedsAndBranches) {
  mgdin::Windows one{.size = 1, .count = 6}, two{.size = 2, .count = 6};
  EXPECT_NE(mgdin::RandomMask(one, 12, 1), mgdin::RandomMask(one, 12, 2));
  EXPECT_NE(mgdin::RandomMask(one, 12, 1), mgdin::RandomMask(two, 12, 1));
}

TEST(MgdinGroups, EqualDensitiesKeepTheOrderOfTheJob) {
  const nn::Problem problem{.fields = DenseFields({1, 1, 1, 1}, 4, 2), .rows = 3};
  SmallModel file(Small("order: FILE"), problem), density(Small(""), problem);
  EXPECT_EQ(file.Score(), density.Score());
}

// ----------------------------------------------------------------------------------------- errors

TEST(Mgdin, WindowsLargerThanTheJobAreRefusedByPath) {
  const Status status = BuildError(Mgdin("granularity: 2 granularity: 8"), Fields());
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("model.mgdin.granularity: 8"), HasSubstr("7 fields")));
  const Status unset = BuildError(Mgdin(""), DenseFields({1, 1, 1}, 4, 1));
  EXPECT_THAT(std::string(unset.message()), HasSubstr("model.mgdin.granularity: 4"));
  EXPECT_TRUE(BuildError(Mgdin("granularity: 7"), Fields()).ok());
}

TEST(Mgdin, AGranularityStandsThereOnce) {
  const Status status = BuildError(Mgdin("granularity: 2 granularity: 2"), Fields());
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("model.mgdin.granularity: 2"));
}

TEST(Mgdin, FirstOrderWeightsAreRefusedByName) {
  auto fields = Fields();
  fields[1].linear = true;
  EXPECT_THAT(std::string(BuildError(Small(""), fields).message()), HasSubstr("feature.f1.role"));
}

}  // namespace
}  // namespace cairn::worker
