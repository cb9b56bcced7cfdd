// InterFormer: numbers of parameters, gradients with every option, what flows where, padding,
// errors.
#include <algorithm>
#include <cmath>
#include <functional>

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "common/base/thread_pool.h"
#include "proto/config.pb.h"
#include "tests/worker/nn/gradient_check.h"
#include "worker/models/model.h"

namespace cairn::worker {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Two layers of a size at which every gradient can be checked.
constexpr char kSmall[] =
    "layers: 2 heads: 2 summary_tokens: 2 pma_tokens: 1 recent_tokens: 2 head { hidden: 5 } ";

// Of an option that is given twice the last counts.
proto::ModelConfig Config(const std::string& options) {
  proto::ModelConfig config;
  EXPECT_TRUE(
      google::protobuf::TextFormat::MergeFromString("interformer { " + options + " }", &config))
      << options;
  return config;
}

nn::BuildGraph Builder(const proto::ModelConfig& config) {
  return [config](nn::GraphBuilder& graph, const std::vector<FieldSpec>& fields) {
    return (*FindModel(config))->build(config, {.fields = fields}, graph);
  };
}

struct Counts {
  int histories, others, numbers;
  std::uint32_t dim, length;
};

// Histories read table 0, the other fields table 1.
std::vector<FieldSpec> Fields(const Counts& counts) {
  using Kind = FieldSpec::Kind;
  std::vector<FieldSpec> fields;
  const auto add = [&](std::string name, Kind kind, int table) -> FieldSpec& {
    const int field = static_cast<int>(fields.size());
    return fields.emplace_back(FieldSpec{
        .name = std::move(name), .kind = kind, .field = field, .table = table, .dim = counts.dim});
  };
  for (int i = 0; i < counts.others; ++i) add(StrCat("c", i), Kind::kCategorical, 1);
  for (int i = 0; i < counts.numbers; ++i) add(StrCat("n", i), Kind::kNumeric, -1);
  for (int i = 0; i < counts.histories; ++i) {
    FieldSpec& history = add(StrCat("h", i), Kind::kSequence, 0);
    history.pooling = FieldSpec::Pooling::kHistory;
    history.max_length = counts.length;
  }
  return fields;
}

std::size_t DenseFloats(const std::string& options, const Counts& counts) {
  nn::GraphBuilder graph(1);
  const auto logit = Builder(Config(options))(graph, Fields(counts));
  EXPECT_TRUE(logit.ok()) << logit.status();
  return graph.TrainedFloats();
}

// A graph in double with a batch, and ways to change its parameters.
class Model {
 public:
  Model(const std::string& options, const nn::Problem& problem) : builder_(problem.seed) {
    const auto logit = Builder(Config(options))(builder_, problem.fields);
    EXPECT_TRUE(logit.ok()) << logit.status();
    graph_ = *nn::BasicGraph<double>::Make(builder_, *logit, {});
    data_ = std::make_unique<nn::StepData<double>>(problem, builder_);
  }

  // Sets all values of the parameters whose names end so, from value number `begin` on, to zero.
  void Zero(const std::string& ending, std::size_t begin = 0) {
    std::size_t offset = 0, found = 0;
    for (const DenseTensor& tensor : builder_.layout()) {
      if (tensor.name.ends_with(ending)) {
        ++found;
        std::fill_n(&data_->dense[offset + begin], tensor.Floats() - begin, 0);
      }
      offset += tensor.Floats();
    }
    EXPECT_GT(found, 0u) << ending;
  }
  std::vector<double> Score() { return data_->Score(*graph_); }
  // Largest gradient of a table's rows.
  double TableGradient(int table) {
    data_->Train(*graph_);
    double most = 0;
    for (double g : data_->gradients[table]) most = std::max(most, std::abs(g));
    return most;
  }
  nn::StepData<double>& data() { return *data_; }

 private:
  nn::GraphBuilder builder_;
  std::unique_ptr<nn::BasicGraph<double>> graph_;
  std::unique_ptr<nn::StepData<double>> data_;
};

// --- Size
// ------------------------------------------------------------------------------------------

// The public data sets as the paper's table of parameters has them: rows of the embedding tables
// are those of the BARS vocabularies.
struct DataSet {
  std::string name;
  Counts counts;
  int heads;
  double tables;  // values, and of KuaiVideo three projections of visual vectors
  double millions[3];
};

TEST(Interformer, TotalsOfThePublicDataSetsAreThoseOfTheDefaultConfiguration) {
  const DataSet sets[] = {
      {"AmazonElectronics", {2, 2, 0, 64, 100}, 4, 4083584, {6.13, 6.62, 7.12}},
      {"TaobaoAds", {3, 16, 1, 32, 50}, 2, 41442400, {43.45, 44.35, 45.24}},
      {"KuaiVideo", {4, 3, 0, 64, 100}, 4, 41114112 + 12288, {43.38, 43.97, 44.56}}};
  for (const DataSet& set : sets)
    for (int layers = 1; layers <= 3; ++layers) {
      const double total =
          set.tables + static_cast<double>(DenseFloats(
                           StrCat("layers: ", layers, " heads: ", set.heads), set.counts));
      EXPECT_NEAR(total / 1e6, set.millions[layers - 1], 0.005) << set.name << " " << layers;
    }
}

// d = 64, n = 2, k = 2: MaskNet 41,280; each cross arch 33,416; sequence arch 17,152; interaction
// arch 443,988; head 1,476,609.
TEST(Interformer, HasTheNumberOfParametersThatItsEquationsGive) {
  const Counts amazon{2, 2, 0, 64, 100};
  EXPECT_EQ(DenseFloats("layers: 1", amazon), 41280u + 2 * 33416 + 17152 + 443988 + 1476609);
  EXPECT_EQ(DenseFloats("layers: 3", amazon), 41280u + 4 * 33416 + 3 * (17152 + 443988) + 1476609);
}

// --- Gradients
// -------------------------------------------------------------------------------------

class InterformerGradients : public testing::TestWithParam<std::string> {};

TEST_P(InterformerGradients, AgreeWithCentralDifferences) {
  for (const auto& [counts, rows, threads] :
       {std::tuple{Counts{2, 2, 2, 4, 3}, 20u, 2}, {Counts{1, 2, 0, 8, 5}, 5u, 1}}) {
    SCOPED_TRACE(StrCat("rows ", rows));
    nn::CheckGradients(Builder(Config(kSmall + GetParam())),
                       {.fields = Fields(counts), .rows = rows},
                       {.threads = threads,
                        .block_rows = 16,
                        .samples = 2,
                        .tolerance = 1e-5,
                        .float_tolerance = 2e-3});
  }
}

const std::string kOptions[] = {"",
                                "gate: LITERAL",
                                "gate: OPEN",
                                "pffn: HYPER",
                                "pffn: NO_PFFN",
                                "attention: false",
                                "pffn: NO_PFFN attention: false",
                                "backbone: DOT",
                                "backbone: DCN",
                                "ensemble: CONCAT",
                                "backbone: DCN ensemble: CONCAT cross_rank: 3",
                                "cross_rank: 2",
                                "flow: N2S",
                                "flow: S2N",
                                "flow: SEP",
                                "flow: SOLE",
                                "flow: SEP pffn: HYPER",
                                "flow: S2N pffn: NO_PFFN",
                                "flow: SOLE gate: OPEN ensemble: CONCAT"};

std::string NameOf(const testing::TestParamInfo<std::string>& test) {
  std::string name = "defaults";
  for (char c : test.param) name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, InterformerGradients, testing::ValuesIn(kOptions), NameOf);

TEST(Interformer, GradientsOfOddSizesAgreeWithCentralDifferences) {
  const std::string options[] = {
      "layers: 1 heads: 1 summary_tokens: 1 pma_tokens: 0 recent_tokens: 0",
      "layers: 1 heads: 1 summary_tokens: 3 pma_tokens: 0 recent_tokens: 1",
      "layers: 3 heads: 3 summary_tokens: 1 pma_tokens: 2 recent_tokens: 0"};
  for (const std::string& option : options)
    for (const auto& [counts, rows] :
         {std::pair{Counts{1, 1, 0, 6, 1}, 1u}, {Counts{3, 0, 3, 6, 2}, 17u}}) {
      SCOPED_TRACE(StrCat(option, " rows ", rows));
      nn::CheckGradients(Builder(Config(option + " head { hidden: 4 dropout: 0.2 }")),
                         {.fields = Fields(counts), .rows = rows},
                         {.samples = 2, .tolerance = 1e-5, .float_tolerance = 2e-3});
    }
}

// --- What flows where
// ------------------------------------------------------------------------------

nn::Problem SmallProblem(std::uint32_t length = 4) {
  return {.fields = Fields({2, 2, 1, 4, length}), .rows = 23};
}

constexpr std::size_t kHeadOfSummary =
    2 * 4 * 5;  // rows of the head's first weight that read X_sum

// Gradients of the other fields' table where the head sees the sequence side only, and of the
// histories' table where it sees the other side only.
struct Flow {
  double to_sequence, to_others;
};
Flow FlowOf(const std::string& options) {
  Model sequence_only(kSmall + options, SmallProblem());
  sequence_only.Zero("final.summary.mix");
  Model others_only(kSmall + options, SmallProblem());
  others_only.Zero("head.0.weight", kHeadOfSummary);
  return {sequence_only.TableGradient(1), others_only.TableGradient(0)};
}

TEST(Interformer, FlowsAreCutWhereTheOptionSaysSo) {
  const Flow both = FlowOf("flow: INT"), n2s = FlowOf("flow: N2S");
  const Flow s2n = FlowOf("flow: S2N"), none = FlowOf("flow: SEP");
  EXPECT_GT(both.to_sequence, 1e-5);
  EXPECT_GT(both.to_others, 1e-5);
  EXPECT_GT(n2s.to_sequence, 1e-5);
  EXPECT_EQ(n2s.to_others, 0);
  EXPECT_EQ(s2n.to_sequence, 0);
  EXPECT_GT(s2n.to_others, 1e-5);
  EXPECT_EQ(none.to_sequence, 0);
  EXPECT_EQ(none.to_others, 0);
}

TEST(Interformer, WithoutASequenceSideHistoriesAreTokensOfTheOtherSide) {
  nn::GraphBuilder graph(1);
  const auto logit =
      Builder(Config(std::string(kSmall) + "flow: SOLE"))(graph, SmallProblem().fields);
  ASSERT_TRUE(logit.ok()) << logit.status();
  for (const DenseTensor& tensor : graph.layout()) {
    EXPECT_THAT(tensor.name,
                testing::Not(testing::ContainsRegex("sequence|masknet|pffn|attention")));
    if (tensor.name == "final.summary.mix") {
      EXPECT_EQ(tensor.dims[0], 1 + 2 + 2u);  // numbers, fields, histories
    }
  }
  Model model(std::string(kSmall) + "flow: SOLE", SmallProblem());
  EXPECT_GT(model.TableGradient(0), 1e-5);
}

// With U = 0 the PFFN gives 0, so X_sum reaches the sequence side as the CLS tokens of layer 1
// only.
TEST(Interformer, WithoutUTheSequenceSideSeesTheOthersThroughTheClsTokensOnly) {
  const auto gradient = [](bool cut_u, bool cut_cls) {
    Model model(kSmall, SmallProblem());
    model.Zero("final.summary.mix");  // the head sees S_sum only
    if (cut_u) model.Zero(".pffn.weight");
    if (cut_cls) model.Zero("layer1.summary.mix");
    return model.TableGradient(1);
  };
  EXPECT_EQ(gradient(true, true), 0);
  EXPECT_GT(gradient(true, false), 1e-6);
  EXPECT_GT(gradient(false, true), 1e-6);
}

// --- Padding
// -----------------------------------------------------------------------------------------

// Between the logits of the same parameters and events, up to three, with two values of max_length.
double LargestDifference(const std::string& options) {
  const std::string text = kSmall + std::string("recent_tokens: 1 ") + options;
  Model source(text, SmallProblem(1));
  std::vector<std::vector<double>> scores;
  for (std::uint32_t length : {4u, 9u}) {
    Model model(text, SmallProblem(length));
    model.data().batch = source.data().batch;
    model.data().values = source.data().values;
    model.data().dense = source.data().dense;
    scores.push_back(model.Score());
  }
  double most = 0;
  for (std::size_t r = 0; r < scores[0].size(); ++r)
    most = std::max(most, std::abs(scores[0][r] - scores[1][r]));
  return most;
}

TEST(Interformer, MorePaddingInFrontChangesThePositionsOfTheClsTokensOnly) {
  // The distance between the CLS tokens and the events grows, and nothing else.
  EXPECT_LT(LargestDifference("attention: false"), 1e-12);
  EXPECT_LT(LargestDifference("attention: false recent_tokens: 0 gate: OPEN"), 1e-12);
  EXPECT_GT(LargestDifference(""), 1e-9);
}

TEST(Interformer, ARowWithoutEventsHasFiniteLogitsAndGradients) {
  nn::Problem problem = SmallProblem();
  Model model(kSmall, problem);
  for (std::size_t f = 0; f < problem.fields.size(); ++f) {
    if (!problem.fields[f].IsHistory()) continue;
    FieldColumn& column = model.data().batch.fields[f];
    column.index.clear();
    std::fill(column.offsets.begin(), column.offsets.end(), 0);
  }
  for (double score : model.Score()) EXPECT_TRUE(std::isfinite(score));
  EXPECT_EQ(model.TableGradient(0), 0);
  EXPECT_GT(model.TableGradient(1), 1e-6);
}

// --- Errors
// ------------------------------------------------------------------------------------------

std::string ErrorOf(const std::string& options, const std::vector<FieldSpec>& fields) {
  nn::GraphBuilder graph(1);
  const Status status = Builder(Config(options))(graph, fields).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

TEST(Interformer, JobsThatDoNotFitAreRefusedByName) {
  EXPECT_THAT(
      ErrorOf("", Fields({0, 3, 1, 8, 4})),
      HasSubstr("model interformer needs a SEQUENCE feature with sequence.pooling: HISTORY"));
  EXPECT_THAT(ErrorOf("", Fields({2, 0, 0, 8, 4})), HasSubstr("not a history"));
  std::vector<FieldSpec> fields = Fields({2, 1, 0, 8, 4});
  fields.push_back({.name = "w", .field = 0, .table = 2, .dim = 1, .linear = true});
  EXPECT_THAT(ErrorOf("", fields), HasSubstr("feature.w.role: LINEAR"));
  fields = Fields({2, 1, 0, 8, 4});
  fields[2].max_length = 7;
  EXPECT_THAT(ErrorOf("", fields), AllOf(HasSubstr("'h0' has 4"), HasSubstr("'h1' 7")));
  fields = Fields({2, 1, 0, 8, 4});
  fields[0].dim = 16;
  EXPECT_THAT(ErrorOf("", fields), AllOf(HasSubstr("'h0' has 8"), HasSubstr("'c0' 16")));
  EXPECT_THAT(ErrorOf("heads: 3", Fields({1, 1, 0, 8, 4})),
              HasSubstr("model.interformer.heads: 3 heads do not divide dim 8"));
  EXPECT_THAT(ErrorOf("heads: 8", Fields({1, 1, 0, 8, 4})),
              AllOf(HasSubstr("model.interformer.heads"), HasSubstr("1 wide")));
  EXPECT_THAT(ErrorOf("recent_tokens: 5", Fields({1, 1, 0, 8, 4})),
              AllOf(HasSubstr("model.interformer.recent_tokens: 5"), HasSubstr("4 of 'h0'")));
  EXPECT_THAT(ErrorOf("flow: SEP", Fields({1, 1, 0, 8, 4})),
              HasSubstr("model.interformer.backbone"));
}

}  // namespace
}  // namespace cairn::worker
