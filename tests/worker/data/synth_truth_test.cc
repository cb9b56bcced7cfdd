#include "worker/data/synth_truth.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "common/math/rng.h"
#include "worker/data/synth_stats.h"

namespace cairn::worker {
namespace {

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// AUC of scores against labels, ties half; by counting all pairs.
double PairwiseAuc(const std::vector<double>& scores, const std::vector<int>& labels) {
  double ordered = 0;
  double pairs = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    for (std::size_t j = 0; j < scores.size(); ++j) {
      if (labels[i] != 1 || labels[j] != 0) continue;
      pairs += 1;
      ordered += scores[i] > scores[j] ? 1 : scores[i] == scores[j] ? 0.5 : 0;
    }
  }
  return ordered / pairs;
}

std::vector<double> RandomLogits(std::size_t n, std::uint64_t seed, bool ties) {
  Rng rng(seed, 1);
  std::vector<double> logits(n);
  for (double& s : logits) {
    s = 1.5 * rng.NextNormal() - 1;
    if (ties) s = std::round(2 * s) / 2;
  }
  return logits;
}

TEST(BayesAuc, AgreesWithTheDefinition) {
  for (const bool ties : {false, true}) {
    const std::vector<double> s = RandomLogits(300, 7, ties);
    double ordered = 0;
    double pairs = 0;
    for (std::size_t i = 0; i < s.size(); ++i) {
      for (std::size_t j = 0; j < s.size(); ++j) {
        if (i == j) continue;
        const double weight = Sigmoid(s[i]) * (1 - Sigmoid(s[j]));
        pairs += weight;
        ordered += weight * (s[i] > s[j] ? 1 : s[i] == s[j] ? 0.5 : 0);
      }
    }
    EXPECT_NEAR(BayesAuc(s), ordered / pairs, 1e-12);
  }
  EXPECT_DOUBLE_EQ(BayesAuc({}), 0.5);
  EXPECT_DOUBLE_EQ(BayesAuc(std::vector<double>(9, 0.3)), 0.5);
}

TEST(BayesAuc, IsWhatDrawnLabelsGiveOnAverage) {
  const std::vector<double> s = RandomLogits(400, 11, false);
  Rng rng(13, 2);
  double auc = 0;
  double loss = 0;
  constexpr int kRounds = 200;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<int> labels;
    for (const double x : s) {
      labels.push_back(rng.NextDouble() < Sigmoid(x) ? 1 : 0);
      loss -= std::log(labels.back() == 1 ? Sigmoid(x) : 1 - Sigmoid(x)) /
              static_cast<double>(s.size()) / kRounds;
    }
    auc += PairwiseAuc(s, labels) / kRounds;
  }
  EXPECT_NEAR(BayesAuc(s), auc, 0.006) << "five standard errors";
  EXPECT_NEAR(BayesLogLoss(s), loss, 0.01);
}

TEST(BayesLogLoss, IsTheMeanEntropyAlsoAtTheEnds) {
  EXPECT_DOUBLE_EQ(BayesLogLoss(std::vector<double>{0}), std::log(2));
  EXPECT_NEAR(BayesLogLoss(std::vector<double>{800, -800}), 0, 1e-300);
}

TEST(OffsetForRate, GivesTheRate) {
  const std::vector<double> s = RandomLogits(1000, 17, false);
  for (const double rate : {0.001, 0.25, 0.5, 0.999}) {
    const double offset = OffsetForRate(s, 1.7, rate);
    double mean = 0;
    for (const double x : s) mean += Sigmoid(offset + 1.7 * x) / 1000;
    EXPECT_NEAR(mean, rate, 1e-6);
  }
}

class Truth : public testing::Test {
 protected:
  static SynthTruth MakeOrDie(const SynthTruthConfig& config) {
    auto truth = SynthTruth::Make(config);
    EXPECT_TRUE(truth.ok()) << truth.status();
    return *std::move(truth);
  }
  struct Sample {
    std::vector<double> logits;
    double click_rate = 0;
  };
  static Sample Draw(const SynthTruth& truth, std::uint64_t rows) {
    Sample sample;
    SynthRow row;
    for (std::uint64_t i = 0; i < rows; ++i) {
      truth.Draw(SynthSplit::kTest, i, &row);
      sample.logits.push_back(row.logit);
      sample.click_rate += row.label / static_cast<double>(rows);
    }
    return sample;
  }
};

TEST_F(Truth, HasTheAucAndTheClickRateAskedFor) {
  std::vector<SynthTruthConfig> configs(7);
  configs[1].seed = 1;
  configs[2].vocabularies = CriteoVocabularies(20000000);
  configs[3].history = 20;
  configs[4].zipf = 1;
  configs[4].auc = 0.7;
  configs[5].zipf = 0;
  configs[5].auc = 0.9;
  configs[5].click_rate = 0.03;
  configs[6].vocabularies.assign(kSynthCategories, 1);
  for (const SynthTruthConfig& config : configs) {
    const Sample sample = Draw(MakeOrDie(config), 30000);
    EXPECT_NEAR(BayesAuc(sample.logits), config.auc, 0.01);
    EXPECT_NEAR(sample.click_rate, config.click_rate, 0.02);
  }
}

TEST_F(Truth, ARowIsAFunctionOfSeedSplitAndNumberAlone) {
  SynthTruthConfig config;
  config.history = 8;
  const SynthTruth truth = MakeOrDie(config);
  const SynthTruth again = MakeOrDie(config);
  config.seed += 1;
  const SynthTruth other = MakeOrDie(config);
  SynthRow a;
  SynthRow b;
  int same_other_split = 0;
  int same_other_seed = 0;
  for (std::uint64_t i = 0; i < 200; ++i) {
    truth.Draw(SynthSplit::kTrain, i, &a);
    again.Draw(SynthSplit::kTrain, 199 - i, &b);  // another order, a used row
    again.Draw(SynthSplit::kTrain, i, &b);
    EXPECT_EQ(a.numbers, b.numbers);
    EXPECT_EQ(a.categories, b.categories);
    EXPECT_EQ(a.history, b.history);
    EXPECT_EQ(a.logit, b.logit);
    EXPECT_EQ(a.label, b.label);
    truth.Draw(SynthSplit::kTest, i, &b);
    same_other_split += a.categories == b.categories;
    other.Draw(SynthSplit::kTrain, i, &b);
    same_other_seed += a.categories == b.categories;
  }
  EXPECT_EQ(same_other_split, 0);
  EXPECT_EQ(same_other_seed, 0);
}

TEST_F(Truth, ValuesFollowTheZipfLaw) {
  for (const double zipf : {0.0, 0.8, 1.0, 1.5}) {
    SynthTruthConfig config;
    config.zipf = zipf;
    config.vocabularies.assign(kSynthCategories, 50);
    const SynthTruth truth = MakeOrDie(config);
    constexpr int kRows = 4000;
    std::vector<double> counts(50);
    SynthRow row;
    for (std::uint64_t i = 0; i < kRows; ++i) {
      truth.Draw(SynthSplit::kTrain, i, &row);
      for (const std::uint32_t v : row.categories) counts.at(v) += 1;
    }
    const auto integral = [zipf](double x) {
      return zipf == 1 ? std::log(x) : std::pow(x, 1 - zipf) / (1 - zipf);
    };
    double chi2 = 0;
    for (int v = 0; v < 50; ++v) {
      const double p = (integral(v + 2) - integral(v + 1)) / (integral(51) - integral(1));
      const double expected = p * kRows * kSynthCategories;
      chi2 += (counts[static_cast<std::size_t>(v)] - expected) *
              (counts[static_cast<std::size_t>(v)] - expected) / expected;
    }
    EXPECT_LT(chi2, 95) << "49 degrees of freedom; zipf " << zipf;
  }
}

TEST_F(Truth, NumbersAreSkewedAndPartlyMissing) {
  const SynthTruth truth = MakeOrDie({});
  SynthRow row;
  std::array<int, kSynthNumbers> missing{};
  std::array<double, kSynthNumbers> sum{};
  std::array<std::vector<int>, kSynthNumbers> values;
  for (std::uint64_t i = 0; i < 4000; ++i) {
    truth.Draw(SynthSplit::kTrain, i, &row);
    for (std::size_t j = 0; j < kSynthNumbers; ++j) {
      if (row.numbers[j] == kSynthMissing) {
        ++missing[j];
      } else {
        EXPECT_GE(row.numbers[j], 0);
        sum[j] += row.numbers[j];
        values[j].push_back(row.numbers[j]);
      }
    }
  }
  EXPECT_NEAR(missing[0], 1600, 200);
  EXPECT_EQ(missing[1], 0);
  for (std::size_t j = 0; j < kSynthNumbers; ++j) {
    std::ranges::sort(values[j]);
    if (values[j][values[j].size() / 2] < 3) continue;  // too coarse to tell
    EXPECT_GT(sum[j] / static_cast<double>(values[j].size()), values[j][values[j].size() / 2])
        << "the mean is above the median: I" << j + 1;
  }
}

TEST_F(Truth, ClicksDependOnTheMatchOfHistoryAndTarget) {
  SynthTruthConfig config;
  config.history = 10;
  const SynthTruth truth = MakeOrDie(config);
  SynthRow row;
  double with[2] = {0, 0};
  double rows[2] = {0, 0};
  std::size_t longest = 0;
  for (std::uint64_t i = 0; i < 20000; ++i) {
    truth.Draw(SynthSplit::kTrain, i, &row);
    longest = std::max(longest, row.history.size());
    for (const std::uint32_t item : row.history) EXPECT_LT(item, config.vocabularies[0]);
    const int seen = std::ranges::find(row.history, row.categories[0]) != row.history.end() ? 1 : 0;
    with[seen] += row.label;
    rows[seen] += 1;
  }
  EXPECT_EQ(longest, 10u);
  EXPECT_GT(with[1] / rows[1], 1.5 * with[0] / rows[0]);
}

// Logistic regression by Adagrad, one weight per value; numbers in quarter steps of ln(1 + x).
double LogisticRegressionAuc(const SynthTruth& truth, const SynthTruthConfig& config) {
  constexpr std::uint32_t kSteps = 64;
  std::vector<std::uint32_t> first(kSynthCategories + kSynthNumbers + 1);
  for (std::size_t f = 0; f < kSynthCategories; ++f)
    first[f + 1] = first[f] + config.vocabularies[f];
  for (std::size_t j = kSynthCategories; j + 1 < first.size(); ++j)
    first[j + 1] = first[j] + kSteps;
  std::vector<double> weight(first.back());
  std::vector<double> square(first.back(), 1);
  const auto indices = [&](const SynthRow& row) {
    std::array<std::uint32_t, kSynthCategories + kSynthNumbers> at{};
    for (std::size_t f = 0; f < kSynthCategories; ++f) at[f] = first[f] + row.categories[f];
    for (std::size_t j = 0; j < kSynthNumbers; ++j) {
      const double step = row.numbers[j] < 0 ? 0 : 1 + 4 * std::log1p(row.numbers[j]);
      at[kSynthCategories + j] =
          first[kSynthCategories + j] + std::min(kSteps - 1, static_cast<std::uint32_t>(step));
    }
    return at;
  };
  double bias = -1;
  SynthRow row;
  for (std::uint64_t i = 0; i < 100000; ++i) {
    truth.Draw(SynthSplit::kTrain, i, &row);
    const auto at = indices(row);
    double z = bias;
    for (const std::uint32_t k : at) z += weight[k];
    const double gradient = Sigmoid(z) - row.label;
    bias -= 0.002 * gradient;
    for (const std::uint32_t k : at) {
      square[k] += gradient * gradient;
      weight[k] -= 0.05 * gradient / std::sqrt(square[k]);
    }
  }
  std::vector<double> scores;
  std::vector<int> labels;
  for (std::uint64_t i = 0; i < 5000; ++i) {
    truth.Draw(SynthSplit::kTest, i, &row);
    double z = bias;
    for (const std::uint32_t k : indices(row)) z += weight[k];
    scores.push_back(z);
    labels.push_back(row.label);
  }
  return PairwiseAuc(scores, labels);
}

TEST_F(Truth, LogisticRegressionFindsMostOfTheSignalButNotTheInteractions) {
  const SynthTruthConfig config;
  const SynthTruth truth = MakeOrDie(config);
  const double auc = LogisticRegressionAuc(truth, config);
  EXPECT_GT(auc, config.auc - 0.05) << "the signal sits in values that are frequent enough";
  EXPECT_LT(auc, config.auc - 0.008) << "there is something left for embeddings";
}

TEST_F(Truth, RefusesSettingsOutOfRange) {
  const auto message = [](auto change) {
    SynthTruthConfig config;
    change(config);
    const auto truth = SynthTruth::Make(config);
    EXPECT_EQ(truth.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(truth.status().message().data(), truth.status().message().size());
  };
  using Config = SynthTruthConfig;
  EXPECT_EQ(message([](Config& c) { c.auc = 1; }), "auc is 1, not from 0.51 to 0.99");
  EXPECT_EQ(message([](Config& c) { c.zipf = -0.5; }), "zipf is -0.5, not from 0 to 5");
  EXPECT_EQ(message([](Config& c) { c.zipf = NAN; }), "zipf is nan, not from 0 to 5");
  EXPECT_EQ(message([](Config& c) { c.click_rate = 0; }),
            "click_rate is 0, not from 0.001 to 0.999");
  EXPECT_EQ(message([](Config& c) { c.history = 1001; }), "history is 1001, not from 0 to 1000");
  EXPECT_EQ(message([](Config& c) { c.vocabularies.pop_back(); }),
            "there are 25 vocabularies, not 26");
  EXPECT_EQ(message([](Config& c) { c.vocabularies[3] = 0; }),
            "a vocabulary is 0, not from 1 to 1e+09");
}

}  // namespace
}  // namespace cairn::worker
