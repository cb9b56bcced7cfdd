#include "worker/data/synth_truth.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "common/math/hash.h"
#include "common/math/rng.h"
#include "worker/data/synth_stats.h"

namespace cairn::worker {
namespace {

// Shares of the logit's variance: main, interactions, numbers, history (taken from the rest in
// proportion where there is none).
constexpr std::array<double, 4> kShares = {0.57, 0.15, 0.13, 0.15};
constexpr double kLearnable = 0.03;  // probability of a value below which its effect fades
constexpr std::size_t kTraitFields = 12;
constexpr std::uint32_t kTabulatedValues = 1 << 16;
constexpr std::int32_t kTabulatedNumbers = 1 << 10;
constexpr std::uint64_t kCalibrationRows = 1 << 14;
constexpr std::uint32_t kClusters = 8;
constexpr double kSameCluster = 0.7;  // share of a history that is drawn from the user's cluster

// counter_hi of Philox blocks; the split or field sits above bit 32.
constexpr std::uint64_t kHistoryBlock = 1u << 16;
constexpr std::uint64_t kMainStream = 1;
constexpr std::uint64_t kTraitStream = 2;
constexpr std::uint64_t kCurveStream = 3;

// x = floor(exp(mu + sigma * z)), missing with probability p: shapes like Criteo's I1..I13.
struct NumberShape {
  double mu, sigma, missing;
};
constexpr std::array<NumberShape, kSynthNumbers> kShapes = {{{0.5, 1.2, 0.40},
                                                             {2.0, 1.8, 0.00},
                                                             {1.8, 1.3, 0.20},
                                                             {1.6, 0.9, 0.20},
                                                             {7.5, 1.6, 0.03},
                                                             {3.4, 1.5, 0.20},
                                                             {1.2, 1.2, 0.04},
                                                             {2.0, 1.0, 0.00},
                                                             {3.6, 1.3, 0.04},
                                                             {0.2, 0.6, 0.40},
                                                             {0.5, 0.9, 0.04},
                                                             {0.0, 0.9, 0.70},
                                                             {1.5, 1.0, 0.20}}};

using Words = std::array<std::uint32_t, 4>;

double Unit(std::uint32_t word) { return (static_cast<double>(word) + 0.5) * 0x1.0p-32; }

// Sum of four uniforms, of mean 0 and variance 1: close to normal within 3.4 deviations.
double NearNormal(const Words& words) {
  const double sum = Unit(words[0]) + Unit(words[1]) + Unit(words[2]) + Unit(words[3]);
  return (sum - 2) * std::numbers::sqrt3;
}
double NearNormal(std::uint32_t a, std::uint32_t b) {
  const std::uint32_t sum = (a & 0xffff) + (a >> 16) + (b & 0xffff) + (b >> 16);
  return (static_cast<double>(sum) * 0x1.0p-16 - 2) * std::numbers::sqrt3;
}

// The words of one row's or one effect's stream, block by block.
class WordStream {
 public:
  WordStream(std::uint64_t key, std::uint64_t counter, std::uint64_t high)
      : key_(key), counter_(counter), high_(high) {}
  std::uint32_t Next() {
    if (used_ == 4) {
      words_ = Philox4x32(key_, counter_, high_++);
      used_ = 0;
    }
    return words_[used_++];
  }

 private:
  std::uint64_t key_, counter_, high_;
  Words words_{};
  std::size_t used_ = 4;
};

std::uint64_t High(SynthSplit split) { return static_cast<std::uint64_t>(split) << 32; }

Status CheckRange(std::string_view name, double value, double low, double high) {
  if (value >= low && value <= high) return OkStatus();
  return absl::InvalidArgumentError(StrCat(name, " is ", value, ", not from ", low, " to ", high));
}

}  // namespace

std::vector<std::uint32_t> CriteoVocabularies(std::uint32_t cap) {
  std::vector<std::uint32_t> sizes = {1460,  583,     10131227, 2202608, 305,     24,   12517,
                                      633,   3,       93145,    5683,    8351593, 3194, 27,
                                      14992, 5461306, 10,       5652,    2173,    4,    7046547,
                                      18,    15,      286181,   105,     142572};
  for (std::uint32_t& size : sizes) size = std::min(size, cap);
  return sizes;
}

SynthTruth::SynthTruth(const SynthTruthConfig& config)
    : config_(config),
      row_key_(Mix64(config.seed + 0x726f7773ull)),
      effect_key_(Mix64(config.seed + 0x747275746800ull)) {}

Result<SynthTruth> SynthTruth::Make(const SynthTruthConfig& config) {
  RETURN_IF_ERROR(CheckRange("zipf", config.zipf, 0, 5));
  RETURN_IF_ERROR(CheckRange("auc", config.auc, 0.51, 0.99));
  RETURN_IF_ERROR(CheckRange("click_rate", config.click_rate, 0.001, 0.999));
  RETURN_IF_ERROR(CheckRange("history", config.history, 0, 1000));
  if (config.vocabularies.size() != kSynthCategories)
    return absl::InvalidArgumentError(
        StrCat("there are ", config.vocabularies.size(), " vocabularies, not ", kSynthCategories));
  for (const std::uint32_t size : config.vocabularies)
    RETURN_IF_ERROR(CheckRange("a vocabulary", size, 1, 1e9));
  SynthTruth truth(config);
  truth.MakeFields();
  truth.MakeTraits();
  truth.MakeCurves();
  truth.Calibrate();
  return truth;
}

void SynthTruth::MakeFields() {
  const double zipf = config_.zipf;
  exponent_ = zipf == 1 ? 0 : 1 / (1 - zipf);
  const auto span = [zipf](std::uint32_t size) {
    return zipf == 1 ? std::log(size + 1.0) : std::pow(size + 1.0, 1 - zipf) - 1;
  };
  fields_.resize(kSynthCategories);
  for (std::size_t f = 0; f < kSynthCategories; ++f) {
    Field& field = fields_[f];
    field.vocabulary = config_.vocabularies[f];
    field.span = span(field.vocabulary);
    field.weight = std::pow(1 + std::log10(field.vocabulary), -3);
    std::vector<float> main(std::min(field.vocabulary, kTabulatedValues));
    for (std::uint32_t v = 0; v < main.size(); ++v) main[v] = MainEffect(f, v);
    field.main = std::move(main);
  }
  const std::uint32_t items = fields_[0].vocabulary;
  clusters_ = std::clamp(items / 2, 1u, kClusters);
  cluster_span_ = span(items / clusters_);
}

// The fields with the smallest vocabularies of at least 4 values, so that most combinations of
// their values are frequent.
void SynthTruth::MakeTraits() {
  for (std::size_t f = 0; f < kSynthCategories; ++f)
    if (fields_[f].vocabulary >= 4) trait_fields_.push_back(f);
  std::ranges::stable_sort(trait_fields_, {},
                           [this](std::size_t f) { return fields_[f].vocabulary; });
  trait_fields_.resize(std::min(trait_fields_.size(), kTraitFields));
  for (const std::size_t f : trait_fields_) {
    std::vector<float> traits(std::min(fields_[f].vocabulary, kTabulatedValues));
    for (std::uint32_t v = 0; v < traits.size(); ++v) traits[v] = Trait(f, v);
    fields_[f].traits = std::move(traits);
  }
}

void SynthTruth::MakeCurves() {
  curves_.resize(kSynthNumbers);
  for (std::size_t j = 0; j < kSynthNumbers; ++j) {
    WordStream words(effect_key_, j, kCurveStream << 32);
    Curve& curve = curves_[j];
    curve.linear = 2 * Unit(words.Next()) - 1;
    curve.wave = 0.5 * Unit(words.Next());
    curve.frequency = 0.5 + 0.5 * Unit(words.Next());
    curve.phase = 2 * std::numbers::pi * Unit(words.Next());
    std::vector<float> table(kTabulatedNumbers);
    for (std::int32_t x = 0; x < kTabulatedNumbers; ++x)
      table[static_cast<std::size_t>(x)] = static_cast<float>(CurveAt(j, x));
    curve.table = std::move(table);
  }
}

double SynthTruth::Damping(std::size_t field, std::uint32_t value) const {
  const double low = value + 1.0;
  const double mass = exponent_ == 0
                          ? std::log1p(1 / low)
                          : std::pow(low + 1, 1 - config_.zipf) - std::pow(low, 1 - config_.zipf);
  return std::min(1.0, std::sqrt(mass / fields_[field].span / kLearnable));
}

float SynthTruth::MainEffect(std::size_t field, std::uint32_t value) const {
  const Field& f = fields_[field];
  if (value < f.main.size()) return f.main[value];
  const double e = NearNormal(Philox4x32(effect_key_, value, (kMainStream << 32) + field));
  return static_cast<float>(f.weight * Damping(field, value) * e);
}

float SynthTruth::Trait(std::size_t field, std::uint32_t value) const {
  const Field& f = fields_[field];
  if (value < f.traits.size()) return f.traits[value];
  const Words words = Philox4x32(effect_key_, value, (kTraitStream << 32) + field);
  return static_cast<float>(Damping(field, value) * (Unit(words[0]) - 0.5));
}

double SynthTruth::CurveAt(std::size_t column, std::int32_t x) const {
  const Curve& curve = curves_[column];
  x = std::max(x, 0);  // kSynthMissing counts as 0
  if (static_cast<std::size_t>(x) < curve.table.size())
    return curve.table[static_cast<std::size_t>(x)];
  const double t = (std::log1p(x) - kShapes[column].mu) / kShapes[column].sigma;
  return curve.linear * t + curve.wave * std::cos(curve.frequency * t + curve.phase);
}

std::uint32_t SynthTruth::DrawValue(double span, std::uint32_t vocabulary,
                                    std::uint32_t word) const {
  const double u = Unit(word) * span;
  const double x = exponent_ == 0 ? std::exp(u) : std::pow(1 + u, exponent_);
  return static_cast<std::uint32_t>(std::clamp(x - 1, 0.0, vocabulary - 1.0));
}

void SynthTruth::DrawInputs(SynthSplit split, std::uint64_t row, SynthRow* out,
                            double* label_draw) const {
  WordStream words(row_key_, row, High(split));
  for (std::size_t f = 0; f < kSynthCategories; ++f)
    out->categories[f] = DrawValue(fields_[f].span, fields_[f].vocabulary, words.Next());
  for (std::size_t j = 0; j < kSynthNumbers; ++j) {
    const NumberShape& shape = kShapes[j];
    const std::uint32_t first = words.Next();
    const double z = NearNormal(first, words.Next());
    const bool missing = shape.missing > 0 && Unit(words.Next()) < shape.missing;
    out->numbers[j] =
        missing ? kSynthMissing : static_cast<std::int32_t>(std::exp(shape.mu + shape.sigma * z));
  }
  *label_draw = (Unit(words.Next()) + words.Next()) * 0x1.0p-32;
}

void SynthTruth::DrawHistory(SynthSplit split, std::uint64_t row, SynthRow* out) const {
  out->history.clear();
  if (config_.history == 0) return;
  WordStream words(row_key_, row, High(split) + kHistoryBlock);
  const auto length = static_cast<std::uint32_t>(Unit(words.Next()) * (config_.history + 1.0));
  const std::uint32_t cluster = words.Next() % clusters_;
  const std::uint32_t items = fields_[0].vocabulary;
  for (std::uint32_t i = 0; i < length; ++i) {
    const bool same = Unit(words.Next()) < kSameCluster;
    const std::uint32_t word = words.Next();
    out->history.push_back(same ? clusters_ * DrawValue(cluster_span_, items / clusters_, word) +
                                      cluster
                                : DrawValue(fields_[0].span, items, word));
  }
}

SynthTruth::Parts SynthTruth::ComputeParts(const SynthRow& row) const {
  Parts parts{};
  for (std::size_t f = 0; f < kSynthCategories; ++f)
    parts[0] += static_cast<double>(MainEffect(f, row.categories[f]));
  double sum = 0;
  double squares = 0;
  for (const std::size_t f : trait_fields_) {
    const auto a = static_cast<double>(Trait(f, row.categories[f]));
    sum += a;
    squares += a * a;
  }
  parts[1] = (sum * sum - squares) / 2;
  for (std::size_t j = 0; j < kSynthNumbers; ++j) parts[2] += CurveAt(j, row.numbers[j]);
  if (!row.history.empty()) {
    const std::uint32_t target = row.categories[0];
    const auto near = std::ranges::count_if(
        row.history, [&](std::uint32_t item) { return item % clusters_ == target % clusters_; });
    parts[3] = static_cast<double>(near) / static_cast<double>(row.history.size()) +
               (std::ranges::find(row.history, target) != row.history.end() ? 1 : 0);
  }
  return parts;
}

void SynthTruth::Calibrate() {
  std::vector<Parts> sample(kCalibrationRows);
  SynthRow row;
  double unused = 0;
  for (std::uint64_t i = 0; i < sample.size(); ++i) {
    DrawInputs(SynthSplit::kCalibration, i, &row, &unused);
    DrawHistory(SynthSplit::kCalibration, i, &row);
    sample[i] = ComputeParts(row);
  }
  const auto n = static_cast<double>(sample.size());
  Parts variance{};
  double shares = 0;
  for (std::size_t k = 0; k < kParts; ++k) {
    for (const Parts& parts : sample) mean_[k] += parts[k] / n;
    for (const Parts& parts : sample)
      variance[k] += (parts[k] - mean_[k]) * (parts[k] - mean_[k]) / n;
    if (variance[k] > 1e-12) shares += kShares[k];
  }
  for (std::size_t k = 0; k < kParts; ++k)
    weight_[k] = variance[k] > 1e-12 ? std::sqrt(kShares[k] / shares / variance[k]) : 0;
  std::vector<double> signal(sample.size());
  for (std::size_t i = 0; i < sample.size(); ++i)
    for (std::size_t k = 0; k < kParts; ++k) signal[i] += weight_[k] * (sample[i][k] - mean_[k]);
  double low = 0;
  double high = 64;
  std::vector<double> logits(signal.size());
  for (int round = 0; round < 22; ++round) {
    scale_ = (low + high) / 2;
    bias_ = OffsetForRate(signal, scale_, config_.click_rate);
    for (std::size_t i = 0; i < signal.size(); ++i) logits[i] = bias_ + scale_ * signal[i];
    (BayesAuc(logits) < config_.auc ? low : high) = scale_;
  }
}

void SynthTruth::Draw(SynthSplit split, std::uint64_t row, SynthRow* out) const {
  double label_draw = 0;
  DrawInputs(split, row, out, &label_draw);
  DrawHistory(split, row, out);
  const Parts parts = ComputeParts(*out);
  out->logit = bias_;
  for (std::size_t k = 0; k < kParts; ++k)
    out->logit += scale_ * weight_[k] * (parts[k] - mean_[k]);
  out->label = label_draw < 1 / (1 + std::exp(-out->logit)) ? 1 : 0;
}

}  // namespace cairn::worker
