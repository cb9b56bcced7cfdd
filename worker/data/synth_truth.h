// The planted truth of synthetic click data: rows that look like Criteo's display-ad log, each with
// the exact probability of a click.
//
//   logit = bias + scale * sum over parts of sqrt(share) * (part - mean) / stddev
//
// The parts (shares in synth_truth.cc):
//   main          sum over fields f of g_f * d_f(v) * e_f(v), for value v of categorical field f
//   interactions  sum over pairs (f, h) of 12 fields of t_f(v) * t_h(w), t_f(v) = d_f(v) * u_f(v)
//   numbers       sum over columns j of a_j * z + b_j * cos(w_j z + p_j), z = (ln(1+x) - m_j) / s_j
//   history       share of the history's items in the target's cluster, + 1 if the target is in it
//
// e is close to normal and u uniform around 0, pure functions of (seed, field, value); g_f falls
// with the size of the vocabulary; d_f(v) = min(1, sqrt(p(v) / 0.03)) takes the signal out of
// values that are too rare to learn. The interactions are products of hidden traits: a model
// without embeddings sees only their averages. The 12 fields have the smallest vocabularies. A
// missing number counts as 0. Values follow a Zipf law: with u uniform in (0, 1), value = floor(x)
// - 1 where x has the density x^-zipf on [1, vocabulary + 1). Means and deviations, bias and scale
// come from a sample of rows of their own, so that the click rate and the Bayes AUC are about those
// asked for.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace cairn::worker {

inline constexpr std::size_t kSynthNumbers = 13;
inline constexpr std::size_t kSynthCategories = 26;
inline constexpr std::int32_t kSynthMissing = -1;  // of a number

// Vocabularies of Criteo's display advertising challenge (Kaggle 2014), none above `cap`.
std::vector<std::uint32_t> CriteoVocabularies(std::uint32_t cap);

struct SynthTruthConfig {
  std::uint64_t seed = 2026;
  std::vector<std::uint32_t> vocabularies = CriteoVocabularies(200);  // [kSynthCategories]
  double zipf = 1.1;                                                  // exponent, 0 (uniform) to 5
  double click_rate = 0.25;                                           // 0.001 to 0.999
  double auc = 0.80;          // of the truth itself, 0.51 to 0.99
  std::uint32_t history = 0;  // longest history, up to 1000; 0: no such column
};

// Rows of different splits are independent.
enum class SynthSplit : std::uint32_t { kTrain = 0, kValid = 1, kTest = 2, kCalibration = 3 };

struct SynthRow {
  int label = 0;
  double logit = 0;
  std::array<std::int32_t, kSynthNumbers> numbers{};         // >= 0, or kSynthMissing
  std::array<std::uint32_t, kSynthCategories> categories{};  // rank in the vocabulary, from 0
  std::vector<std::uint32_t> history;  // values of category 0, the target item, oldest first
};

// Immutable after Make; any thread may draw.
class SynthTruth {
 public:
  // InvalidArgument: a setting out of range.
  static Result<SynthTruth> Make(const SynthTruthConfig& config);

  // Row `row` of a split: a pure function of (config, split, row).
  void Draw(SynthSplit split, std::uint64_t row, SynthRow* out) const;

  double bias() const { return bias_; }
  double scale() const { return scale_; }

 private:
  static constexpr std::size_t kParts = 4;
  using Parts = std::array<double, kParts>;
  struct Field {
    std::uint32_t vocabulary = 1;
    double span = 0;  // (vocabulary + 1)^(1 - zipf) - 1; for zipf = 1 ln(vocabulary + 1)
    double weight = 0;
    std::vector<float> main;    // g_f * d_f(v) * e_f(v) of the first values
    std::vector<float> traits;  // t_f(v) of the first values
  };
  struct Curve {
    double linear = 0, wave = 0, frequency = 0, phase = 0;
    std::vector<float> table;  // of the first numbers
  };

  explicit SynthTruth(const SynthTruthConfig& config);
  void MakeFields();
  void MakeTraits();
  void MakeCurves();
  void Calibrate();
  std::uint32_t DrawValue(double span, std::uint32_t vocabulary, std::uint32_t word) const;
  double Damping(std::size_t field, std::uint32_t value) const;
  float MainEffect(std::size_t field, std::uint32_t value) const;
  float Trait(std::size_t field, std::uint32_t value) const;
  double CurveAt(std::size_t column, std::int32_t x) const;
  void DrawInputs(SynthSplit split, std::uint64_t row, SynthRow* out, double* label_draw) const;
  void DrawHistory(SynthSplit split, std::uint64_t row, SynthRow* out) const;
  Parts ComputeParts(const SynthRow& row) const;

  SynthTruthConfig config_;
  double exponent_ = 0;  // 1 / (1 - zipf); 0 for zipf = 1
  std::uint64_t row_key_ = 0;
  std::uint64_t effect_key_ = 0;
  std::uint32_t clusters_ = 1;
  double cluster_span_ = 0;
  std::vector<Field> fields_;
  std::vector<std::size_t> trait_fields_;
  std::vector<Curve> curves_;
  Parts mean_{};
  Parts weight_{};  // sqrt(share) / stddev
  double bias_ = 0;
  double scale_ = 1;
};

}  // namespace cairn::worker
