// fm, deepfm, dcnv2, autoint, din, finalmlp: gradients over their options, parameter counts worked
// out from the papers' formulas, identities, errors.
#include <algorithm>
#include <map>

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "proto/config.pb.h"
#include "tests/worker/nn/gradient_check.h"
#include "worker/models/model.h"

namespace cairn::worker {
namespace {

using Kind = FieldSpec::Kind;
using testing::AllOf;
using testing::HasSubstr;

proto::ModelConfig Job(const std::string& text) {
  proto::ModelConfig config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &config)) << text;
  return config;
}

nn::BuildGraph BuilderOf(const std::string& text) {
  return [config = Job(text)](nn::GraphBuilder& graph, const std::vector<FieldSpec>& fields) {
    return (*FindModel(config))->build(config, {.fields = fields}, graph);
  };
}

// For each field a first-order weight beside it; all in table `table` but those of numbers.
std::vector<FieldSpec> WithLinear(std::vector<FieldSpec> fields, int table) {
  const std::size_t count = fields.size();
  for (std::size_t i = 0; i < count; ++i) {
    FieldSpec linear = fields[i];
    linear.name += ".linear";
    linear.field = static_cast<int>(fields.size());
    if (linear.table >= 0) linear.table = table;
    linear.dim = 1;
    linear.linear = true;
    fields.push_back(linear);
  }
  return fields;
}

// Three categorical fields, a number and a pooled sequence.
std::vector<FieldSpec> StaticFields(std::uint32_t dim) {
  std::vector<FieldSpec> fields = nn::CategoricalFields(3, dim, 2);
  fields.push_back({.name = "n", .kind = Kind::kNumeric, .field = 3, .dim = dim});
  fields.push_back({.name = "s", .kind = Kind::kSequence, .field = 4, .table = 1, .dim = dim});
  return fields;
}

FieldSpec History(std::string name, int field, int table, std::uint32_t dim, int target) {
  return {.name = std::move(name),
          .kind = Kind::kSequence,
          .field = field,
          .table = table,
          .dim = dim,
          .pooling = FieldSpec::Pooling::kHistory,
          .max_length = 4,
          .target = target};
}

// user, item and its category, their histories, and the age of each event, which has no target.
std::vector<FieldSpec> SequenceFields(std::uint32_t dim) {
  return {{.name = "user", .field = 0, .table = 2, .dim = dim},
          History("items", 1, 0, dim, 2),
          {.name = "item", .field = 2, .table = 0, .dim = dim},
          {.name = "category", .field = 3, .table = 1, .dim = dim},
          History("categories", 4, 1, dim, 3),
          History("ages", 5, 3, 2, -1)};
}

struct ModelCase {
  std::string name;
  std::string model;
  std::vector<FieldSpec> fields;
};

std::vector<ModelCase> Cases() {
  const std::string mlp = "mlp { hidden: 6 hidden: 5 } ";
  const std::string mlps = "mlp1 { hidden: 6 hidden: 4 } mlp2 { hidden: 8 activation: SWISH } ";
  const auto fields = StaticFields(3), both = WithLinear(fields, 2);
  const auto sequences = SequenceFields(3);
  return {
      {"fm", "fm {}", both},
      {"fm_of_one_field", "fm {}", WithLinear(nn::CategoricalFields(1, 3, 1), 1)},
      {"deepfm", "deepfm { " + mlp + "}", both},
      {"deepfm_dice_norm_dropout",
       "deepfm { mlp { hidden: 6 activation: DICE batch_norm: true dropout: 0.2 } }", both},
      {"dcnv2_parallel", "dcnv2 { cross_layers: 2 " + mlp + "}", fields},
      {"dcnv2_stacked", "dcnv2 { structure: STACKED " + mlp + "}", fields},
      {"dcnv2_cross_only", "dcnv2 { structure: CROSS_ONLY }", fields},
      {"dcnv2_low_rank", "dcnv2 { cross_layers: 2 low_rank: 2 " + mlp + "}", fields},
      {"autoint", "autoint { layers: 2 width: 6 }", fields},
      {"autoint_scaled_of_equal_width", "autoint { layers: 2 heads: 3 width: 3 scale: true }",
       fields},
      {"autoint_without_residual", "autoint { heads: 1 width: 4 residual: false }", fields},
      {"autoint_plus", "autoint { layers: 1 width: 4 linear: true " + mlp + "}", both},
      {"din", "din { attention { hidden: 5 hidden: 4 } mlp { hidden: 6 } }", sequences},
      {"din_softmax", "din { softmax: true }", sequences},
      {"din_dice_attention",
       "din { attention { hidden: 5 activation: DICE batch_norm: true } mlp { hidden: 6 } }",
       sequences},
      {"finalmlp", "finalmlp { " + mlps + "gate { hidden: 5 } }", fields},
      {"finalmlp_without_gates", "finalmlp { " + mlps + "gating: false heads: 4 }", fields},
  };
}

class BaselineGradient : public testing::TestWithParam<std::tuple<ModelCase, std::uint32_t>> {};

TEST_P(BaselineGradient, AgreesWithCentralDifferences) {
  const auto& [model_case, rows] = GetParam();
  nn::CheckGradients(BuilderOf(model_case.model), {.fields = model_case.fields, .rows = rows},
                     {.threads = rows > 16 ? 3 : 1,
                      .block_rows = 16,
                      .samples = 4,
                      .step = 1e-6,
                      .tolerance = 1e-4,
                      .float_tolerance = 5e-3});
}

std::string NameOf(const testing::TestParamInfo<std::tuple<ModelCase, std::uint32_t>>& parameter) {
  const auto& [model_case, rows] = parameter.param;
  return StrCat(model_case.name, "_rows", rows);
}

INSTANTIATE_TEST_SUITE_P(Models, BaselineGradient,
                         testing::Combine(testing::ValuesIn(Cases()), testing::Values(5u, 53u)),
                         NameOf);

// Wide layers, which run on a whole block at once, between narrow ones that take a few panels.
TEST(Din, OfItsFullSizeHasTheGradientsOfCentralDifferences) {
  nn::CheckGradients(BuilderOf("din {}"),
                     {.fields = SequenceFields(32), .rows = 100, .unique_rows = 40},
                     {.samples = 2, .step = 1e-6, .tolerance = 1e-4, .float_tolerance = 5e-3});
}

std::size_t TrainedFloats(const std::string& model, const std::vector<FieldSpec>& fields) {
  nn::GraphBuilder graph(1);
  const auto logit = BuilderOf(model)(graph, fields);
  EXPECT_TRUE(logit.ok()) << logit.status();
  return graph.TrainedFloats();
}

// A Linear from `in` to `out`.
constexpr std::size_t Fc(std::size_t in, std::size_t out) { return in * out + out; }

TEST(ParameterCounts, AreThoseOfThePapersFormulas) {  // 39 fields, d = 16: n = 624 values
  const auto fields = nn::CategoricalFields(39, 16, 39), both = WithLinear(fields, 39);
  constexpr std::size_t n = 39 * 16;
  EXPECT_EQ(TrainedFloats("fm {}", both), 1u);
  EXPECT_EQ(TrainedFloats("deepfm {}", both),
            1 + Fc(n, 300) + Fc(300, 300) + Fc(300, 300) + Fc(300, 1));
  constexpr std::size_t deep = Fc(n, 500) + Fc(500, 500) + Fc(500, 500);
  EXPECT_EQ(TrainedFloats("dcnv2 {}", fields), 3 * (n * n + n) + deep + Fc(n + 500, 1));
  EXPECT_EQ(TrainedFloats("dcnv2 { structure: STACKED }", fields),
            3 * (n * n + n) + deep + Fc(500, 1));
  EXPECT_EQ(TrainedFloats("dcnv2 { structure: CROSS_ONLY low_rank: 32 }", fields),
            3 * (2 * n * 32 + n) + Fc(n, 1));
  // Query, key, value and residual of the first layer; the next ones need no residual matrix.
  EXPECT_EQ(TrainedFloats("autoint {}", fields), 4 * 16 * 64 + 2 * 3 * 64 * 64 + Fc(39 * 64, 1));
  EXPECT_EQ(TrainedFloats("autoint { linear: true mlp { hidden: 400 } }", both),
            4 * 16 * 64 + 2 * 3 * 64 * 64 + Fc(39 * 64, 1) + Fc(n, 400) + Fc(400, 1));
  // Two contexts, two gates, two MLPs, two Linears, the bilinear matrices of two heads.
  EXPECT_EQ(TrainedFloats("finalmlp {}", fields),
            2 * (16 + Fc(16, 800) + Fc(800, n) + Fc(n, 400) + 2 * Fc(400, 400) + Fc(400, 1)) +
                2 * 200 * 200);
  EXPECT_EQ(TrainedFloats("finalmlp { gating: false heads: 50 }", fields),
            2 * (Fc(n, 400) + 2 * Fc(400, 400) + Fc(400, 1)) + 50 * 8 * 8);
}

TEST(ParameterCounts, AreTheFiguresOfTheModelsPages) {  // docs/models/*.md
  const auto fields = nn::CategoricalFields(39, 16, 39), both = WithLinear(fields, 39);
  EXPECT_EQ(TrainedFloats("deepfm {}", both), 368'402u);
  EXPECT_EQ(TrainedFloats("dcnv2 {}", fields), 1'984'625u);
  EXPECT_EQ(TrainedFloats("dcnv2 { structure: CROSS_ONLY }", fields), 1'170'625u);
  EXPECT_EQ(TrainedFloats("dcnv2 { structure: CROSS_ONLY low_rank: 32 }", fields), 122'305u);
  EXPECT_EQ(TrainedFloats("autoint {}", fields), 31'169u);
  EXPECT_EQ(TrainedFloats("finalmlp {}", fields), 2'249'282u);
}

TEST(ParameterCounts, OfDinFollowTheWidthsOfItsHistories) {
  // Keys: 64 + 64 + 2; the age's constant query: 2. Fields: 3 * 64.
  constexpr std::size_t keys = 130, input = 3 * 64 + keys;
  constexpr std::size_t attention = Fc(4 * keys, 80) + Fc(80, 40) + Fc(40, 1);
  // Each hidden layer has gamma, beta and Dice's alpha.
  constexpr std::size_t head = Fc(input, 200) + 3 * 200 + Fc(200, 80) + 3 * 80 + Fc(80, 1);
  EXPECT_EQ(TrainedFloats("din {}", SequenceFields(64)), 2 + attention + head);
  EXPECT_EQ(TrainedFloats("din { mlp { hidden: 50 } }", SequenceFields(64)),
            2 + attention + Fc(input, 50) + Fc(50, 1));
}

// A model with random rows and parameters, in double.
struct Scorer {
  nn::GraphBuilder builder{1};
  std::unique_ptr<nn::BasicGraph<double>> graph;
  std::unique_ptr<nn::StepData<double>> data;

  Scorer(const std::string& model, const nn::Problem& problem) {
    const auto logit = BuilderOf(model)(builder, problem.fields);
    EXPECT_TRUE(logit.ok()) << logit.status();
    graph = *nn::BasicGraph<double>::Make(builder, *logit, {});
    data = std::make_unique<nn::StepData<double>>(problem, builder);
  }
  // Values of the parameters whose name begins with `prefix`.
  void Fill(const std::string& prefix, double value) {
    std::size_t offset = 0;
    for (const DenseTensor& tensor : builder.layout()) {
      if (tensor.name.starts_with(prefix))
        std::fill_n(data->dense.begin() + offset, tensor.Floats(), value);
      offset += tensor.Floats();
    }
  }
  // Takes over the values of parameters that both have.
  void CopyFrom(const Scorer& other) {
    std::map<std::string, std::vector<double>> values;
    auto from = other.data->dense.begin();
    for (const DenseTensor& tensor : other.builder.layout()) {
      values[tensor.name].assign(from, from + tensor.Floats());
      from += tensor.Floats();
    }
    auto to = data->dense.begin();
    for (const DenseTensor& tensor : builder.layout()) {
      if (const auto it = values.find(tensor.name); it != values.end())
        std::copy(it->second.begin(), it->second.end(), to);
      to += tensor.Floats();
    }
  }
  std::vector<double> Score() { return data->Score(*graph); }
};

void ExpectEqualScores(Scorer& a, Scorer& b) {
  const std::vector<double> x = a.Score(), y = b.Score();
  for (std::size_t r = 0; r < x.size(); ++r) EXPECT_NEAR(x[r], y[r], 1e-10) << "row " << r;
}

TEST(DeepFm, WithASilentMlpIsTheFactorizationMachine) {
  const nn::Problem problem{.fields = WithLinear(StaticFields(3), 2), .rows = 20};
  Scorer fm("fm {}", problem), deep("deepfm { mlp { hidden: 4 } }", problem);
  deep.CopyFrom(fm);
  deep.Fill("mlp.1", 0);
  ExpectEqualScores(deep, fm);
}

TEST(Dcnv2, WithFullRankFactorsIsTheFullMatrix) {
  const nn::Problem problem{.fields = nn::CategoricalFields(2, 2, 1), .rows = 20};
  Scorer full("dcnv2 { structure: CROSS_ONLY cross_layers: 1 }", problem);
  Scorer low("dcnv2 { structure: CROSS_ONLY cross_layers: 1 low_rank: 4 }", problem);
  // cross0.weight [4, 4], cross0.bias [4], ... and cross0.v.weight [4, 4], cross0.u.weight, bias.
  low.Fill("cross0.v.weight", 0);
  for (int i = 0; i < 4; ++i) low.data->dense[i * 4 + i] = 1;  // V = I
  std::copy(full.data->dense.begin(), full.data->dense.end(), low.data->dense.begin() + 16);
  ExpectEqualScores(low, full);
}

TEST(FinalMlp, WithGatesAtTheirMiddleIsTheModelWithoutGates) {
  const nn::Problem problem{.fields = StaticFields(3), .rows = 20};
  const std::string mlps = "mlp1 { hidden: 6 } mlp2 { hidden: 4 }";
  Scorer gated("finalmlp { " + mlps + " gate { hidden: 5 } }", problem);
  Scorer plain("finalmlp { " + mlps + " gating: false }", problem);
  gated.CopyFrom(plain);
  gated.Fill("gate1.1", 0);  // 2 sigmoid(0) = 1
  gated.Fill("gate2.1", 0);
  ExpectEqualScores(gated, plain);
}

TEST(Din, ReadsTheLastEventsOnly) {
  for (const std::string model : {"din { softmax: true }", "din {}"}) {
    const nn::Problem problem{.fields = SequenceFields(3), .rows = 40};
    Scorer din(model, problem);
    const std::vector<double> scores = din.Score();
    Batch& batch = din.data->batch;
    for (int field : {1, 4, 5}) {  // drops what is cut off anyway
      FieldColumn& column = batch.fields[field];
      FieldColumn kept;
      kept.offsets.push_back(0);
      for (std::size_t r = 0; r < batch.rows; ++r) {
        const std::size_t begin = column.offsets[r], end = column.offsets[r + 1];
        for (std::size_t i = end - std::min<std::size_t>(end - begin, 4); i < end; ++i)
          kept.index.push_back(column.index[i]);
        kept.offsets.push_back(static_cast<std::uint32_t>(kept.index.size()));
      }
      ASSERT_LT(kept.index.size(), column.index.size());
      column = kept;
    }
    EXPECT_EQ(din.Score(), scores);
    // And the last event counts: another category there changes the rows that have one.
    FieldColumn& categories = batch.fields[4];
    std::size_t with_events = 0, changed = 0;
    for (std::size_t r = 0; r < batch.rows; ++r) {
      if (categories.offsets[r + 1] == categories.offsets[r]) continue;
      ++with_events;
      std::uint32_t& last = categories.index[categories.offsets[r + 1] - 1];
      last = (last + 1) % problem.unique_rows;
    }
    const std::vector<double> others = din.Score();
    for (std::size_t r = 0; r < batch.rows; ++r) changed += others[r] != scores[r];
    EXPECT_EQ(changed, with_events);
  }
}

std::string ErrorOf(const std::string& model, const std::vector<FieldSpec>& fields) {
  nn::GraphBuilder graph(1);
  const auto logit = BuilderOf(model)(graph, fields);
  EXPECT_EQ(logit.status().code(), absl::StatusCode::kInvalidArgument) << model;
  return std::string(logit.status().message());
}

TEST(Errors, HeadsMustDivideWidths) {
  EXPECT_THAT(ErrorOf("autoint { heads: 3 width: 64 }", StaticFields(3)),
              AllOf(HasSubstr("model.autoint.heads: 3"), HasSubstr("64")));
  EXPECT_THAT(
      ErrorOf("finalmlp { heads: 3 mlp1 { hidden: 9 } mlp2 { hidden: 8 } }", StaticFields(3)),
      AllOf(HasSubstr("model.finalmlp.heads: 3"), HasSubstr("8 of mlp2")));
}

TEST(Errors, AnMlpOfAutointWithoutLayersIsRefused) {
  EXPECT_THAT(ErrorOf("autoint { mlp { dropout: 0.3 } }", StaticFields(3)),
              HasSubstr("model.autoint.mlp: needs hidden layers"));
}

TEST(Errors, ARankAboveTheWidthIsRefused) {
  EXPECT_THAT(ErrorOf("dcnv2 { low_rank: 16 }", StaticFields(3)),
              AllOf(HasSubstr("model.dcnv2.low_rank: 16"), HasSubstr("15")));
}

TEST(Errors, HistoriesAreRefusedByModelsWithoutSequences) {
  for (const std::string model :
       {"fm {}", "deepfm {}", "dcnv2 {}", "autoint {}", "finalmlp {}", "dlf {}", "mgdin {}"})
    EXPECT_THAT(ErrorOf(model, SequenceFields(3)),
                AllOf(HasSubstr("feature.items.sequence.pooling"), HasSubstr("MEAN or SUM"),
                      HasSubstr("model " + model.substr(0, model.find(' ')))));
  EXPECT_THAT(ErrorOf("lr {}", {History("h", 0, 0, 1, -1)}), HasSubstr("model lr"));
}

TEST(Errors, FirstOrderWeightsAreRefusedOrDemanded) {
  const auto both = WithLinear(StaticFields(3), 2);
  for (const std::string model : {"dcnv2 {}", "autoint {}", "finalmlp {}"})
    EXPECT_THAT(ErrorOf(model, both), HasSubstr("feature.f0.linear.role: LINEAR"));
  for (const std::string model : {"fm {}", "deepfm {}", "autoint { linear: true }"})
    EXPECT_THAT(ErrorOf(model, StaticFields(3)), HasSubstr("role: LINEAR"));
  EXPECT_THAT(ErrorOf("fm {}", {both.begin() + 5, both.end()}), HasSubstr("at least one feature"));
  auto wide = both;
  wide.back().dim = 2;
  EXPECT_THAT(ErrorOf("fm {}", wide), AllOf(HasSubstr("s.linear"), HasSubstr("not 2")));
}

TEST(Errors, DinNeedsAHistoryAndTargetsThatFit) {
  EXPECT_THAT(ErrorOf("din {}", StaticFields(3)),
              AllOf(HasSubstr("model din"), HasSubstr("sequence.pooling: HISTORY")));
  auto fields = SequenceFields(3);
  fields[1].dim = 5, fields[1].table = 4;
  EXPECT_THAT(ErrorOf("din {}", fields), HasSubstr("feature.items.sequence.target: dim 3"));
  fields = SequenceFields(3);
  fields[1].target = 4;
  EXPECT_THAT(ErrorOf("din {}", fields), AllOf(HasSubstr("'categories'"), HasSubstr("vector")));
  fields = SequenceFields(3);
  fields[4].max_length = 9;
  EXPECT_THAT(ErrorOf("din {}", fields), AllOf(HasSubstr("'categories'"), HasSubstr("4 and 9")));
}

}  // namespace
}  // namespace cairn::worker
