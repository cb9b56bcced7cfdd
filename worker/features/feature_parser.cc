#include "worker/features/feature_parser.h"

#include <glog/logging.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "common/math/hash.h"
#include "proto/config.pb.h"
#include "worker/features/field_specs.h"
#include "worker/features/number.h"

namespace cairn::worker {
namespace {

// Buckets are integers of 63 bits; beyond them floor() has no fraction left anyway.
constexpr double kMaxBucket = 9.2e18;

// Where the last `count` > 0 values of a sequence begin.
std::size_t LastValues(std::string_view text, std::string_view separator, std::size_t count) {
  for (std::size_t end = text.size();;) {
    const std::size_t at = end < separator.size() ? std::string_view::npos
                                                  : text.rfind(separator, end - separator.size());
    if (at == std::string_view::npos) return 0;
    if (--count == 0) return at + separator.size();
    end = at;
  }
}

std::size_t FeatureIndex(const proto::JobConfig& job, const std::string& name) {
  for (int f = 0; f < job.feature_size(); ++f)
    if (job.feature(f).name() == name) return static_cast<std::size_t>(f);
  LOG(FATAL) << "feature '" << name << "' is not in the job: it is not an effective one";
}

}  // namespace

FeatureParser::Plan FeatureParser::MakePlan(const proto::JobConfig& job,
                                            const proto::FeatureConfig& feature) const {
  Plan plan{};
  plan.missing.assign(feature.missing().begin(), feature.missing().end());
  const proto::NumericConfig& numeric = feature.numeric();
  plan.transform = numeric.transform() == proto::NumericConfig::LOG1P   ? Transform::kLog1p
                   : numeric.transform() == proto::NumericConfig::LOG2P ? Transform::kLog2p
                                                                        : Transform::kNone;
  plan.mean = numeric.mean();
  plan.inverse_stddev = 1 / numeric.stddev();
  plan.missing_number = static_cast<float>(numeric.missing_value());
  plan.bucket_width = numeric.bucket_width();
  plan.separator = feature.sequence().separator();
  plan.max_length = feature.sequence().max_length();
  plan.is_history = feature.sequence().pooling() == proto::SequenceConfig::HISTORY;
  plan.kind = Kind::kCategorical;
  if (feature.type() == proto::FeatureConfig::SEQUENCE) plan.kind = Kind::kSequence;
  if (feature.type() == proto::FeatureConfig::NUMERIC) plan.kind = Kind::kBucket;
  if (feature.type() == proto::FeatureConfig::CROSS) plan.kind = Kind::kCross;
  if (IsNumeric(feature)) {
    plan.kind = Kind::kNumeric;
    return plan;
  }
  plan.table = TableIndex(job, feature.table());
  plan.salt = TableSalt(feature.table());
  plan.missing_key = KeyOf("", plan.salt);
  plan.rare_key = RareKey(plan.salt);
  if (vocabulary_ != nullptr && feature.min_count() > 1) {
    plan.known = vocabulary_->Find(feature.table(), feature.min_count());
    CHECK(plan.known != nullptr) << "no vocabulary of feature " << feature.name();
  }
  if (plan.kind == Kind::kSequence)
    CHECK(!plan.separator.empty()) << "feature " << feature.name() << " has an empty separator";
  for (const std::string& part : feature.of()) plan.parts.push_back(FeatureIndex(job, part));
  return plan;
}

FeatureParser::FeatureParser(const proto::JobConfig& job,
                             std::shared_ptr<const Vocabulary> vocabulary)
    : vocabulary_(std::move(vocabulary)), tables_(static_cast<std::size_t>(job.table_size())) {
  for (const proto::FeatureConfig& feature : job.feature())
    plans_.push_back(MakePlan(job, feature));
  inputs_ = plans_.size();
  fields_of_table_.resize(tables_);
  for (std::size_t f = 0; f < plans_.size(); ++f) {
    Plan& plan = plans_[f];
    if (!job.feature(static_cast<int>(f)).numeric().until().empty()) plan.until = inputs_++;
    if (plan.kind != Kind::kNumeric) fields_of_table_[plan.table].push_back(f);
    if (plan.kind != Kind::kCross) continue;
    crosses_.push_back(f);
    for (const std::size_t part : plan.parts)
      CHECK(plans_[part].kind == Kind::kCategorical || plans_[part].kind == Kind::kBucket)
          << "feature " << job.feature(static_cast<int>(part)).name() << " cannot be crossed";
  }
  keys_.resize(plans_.size());
}

void FeatureParser::Begin(std::size_t max_rows, Batch* batch) {
  batch_ = batch;
  rows_ = 0;
  batch->fields.resize(plans_.size());
  for (std::size_t f = 0; f < plans_.size(); ++f) {
    FieldColumn& column = batch->fields[f];
    switch (plans_[f].kind) {
      case Kind::kNumeric:
        column.number.resize(max_rows);
        break;
      case Kind::kCategorical:
      case Kind::kBucket:
      case Kind::kCross:
        keys_[f].resize(max_rows);
        break;
      case Kind::kSequence:
        keys_[f].clear();
        column.offsets.resize(max_rows + 1);
        column.offsets[0] = 0;
        break;
    }
  }
}

bool FeatureParser::IsMissing(const Plan& plan, std::string_view text) {
  if (text.empty()) return true;
  return std::ranges::any_of(plan.missing, [text](const std::string& m) { return m == text; });
}

bool FeatureParser::Bad(std::size_t input, std::string_view text, std::string_view reason) {
  bad_input_ = input;
  bad_text_ = text;
  bad_reason_ = reason;
  return false;
}

bool FeatureParser::Read(std::size_t input, std::string_view text, double* number) {
  const NumberError error = ParseNumber(text, number);
  if (error == NumberError::kNone) return true;
  return Bad(input, text,
             error == NumberError::kNotANumber ? "is not a number" : "is out of range");
}

bool FeatureParser::ReadUntil(const Plan& plan, std::span<const std::string_view> texts,
                              double* until, bool* missing) {
  *until = 0;
  *missing = false;
  if (plan.until == 0) return true;
  *missing = IsMissing(plan, texts[plan.until]);
  return *missing || Read(plan.until, texts[plan.until], until);
}

bool FeatureParser::Number(std::size_t feature, std::string_view text, double until, double* x) {
  const Plan& plan = plans_[feature];
  if (!Read(feature, text, x)) return false;
  if (plan.until != 0) *x = until - *x;
  if (plan.transform == Transform::kLog1p) *x = std::copysign(std::log1p(std::fabs(*x)), *x);
  if (plan.transform == Transform::kLog2p) *x = std::copysign(std::log2(1 + std::fabs(*x)), *x);
  *x = (*x - plan.mean) * plan.inverse_stddev;
  return true;
}

bool FeatureParser::BucketKey(std::size_t feature, std::string_view text, double until,
                              std::uint64_t* key) {
  const Plan& plan = plans_[feature];
  double x = 0;
  if (!Number(feature, text, until, &x)) return false;
  const double bucket = std::floor(x / plan.bucket_width);
  if (!(std::fabs(bucket) < kMaxBucket)) return Bad(feature, text, "is out of range");
  char digits[24];
  const char* end = std::to_chars(digits, digits + sizeof digits, std::llrint(bucket)).ptr;
  *key = KeyOf({digits, static_cast<std::size_t>(end - digits)}, plan.salt);
  return true;
}

// Of a number, plain or as a bucket.
bool FeatureParser::AddNumber(std::size_t feature, std::span<const std::string_view> texts) {
  const Plan& plan = plans_[feature];
  const std::string_view text = texts[feature];
  double until = 0;
  bool missing = false;
  if (!ReadUntil(plan, texts, &until, &missing)) return false;
  missing = missing || IsMissing(plan, text);
  if (plan.kind == Kind::kBucket) {
    keys_[feature][rows_] = plan.missing_key;
    return missing || BucketKey(feature, text, until, &keys_[feature][rows_]);
  }
  float& number = batch_->fields[feature].number[rows_];
  number = plan.missing_number;
  if (missing) return true;
  double x = 0;
  if (!Number(feature, text, until, &x)) return false;
  number = static_cast<float>(x);
  return std::isfinite(number) || Bad(feature, text, "is out of range");
}

bool FeatureParser::AddSequence(std::size_t feature, std::span<const std::string_view> texts) {
  const Plan& plan = plans_[feature];
  FieldColumn& column = batch_->fields[feature];
  std::vector<std::uint64_t>& keys = keys_[feature];
  keys.resize(column.offsets[rows_]);  // drops what a bad row left behind
  std::string_view text = texts[feature];
  column.offsets[rows_ + 1] = column.offsets[rows_];
  if (plan.is_history ? text.empty() : IsMissing(plan, text)) return true;
  double until = 0;
  bool until_missing = false;
  if (!ReadUntil(plan, texts, &until, &until_missing)) return false;
  const std::string_view separator = plan.separator;
  if (plan.max_length > 0) text.remove_prefix(LastValues(text, separator, plan.max_length));
  for (;;) {
    const std::size_t end = text.find(separator);
    const std::string_view value = text.substr(0, end);
    keys.push_back(plan.missing_key);
    if (!until_missing && !IsMissing(plan, value)) {
      if (plan.bucket_width == 0) {
        keys.back() = KeyOf(value, plan.salt);
      } else if (!BucketKey(feature, value, until, &keys.back())) {
        return false;
      }
    }
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + separator.size());
  }
  column.offsets[rows_ + 1] = static_cast<std::uint32_t>(keys.size());
  return true;
}

void FeatureParser::AddCross(std::size_t feature) {
  const Plan& plan = plans_[feature];
  parts_.clear();
  for (const std::size_t part : plan.parts) parts_.push_back(keys_[part][rows_]);
  keys_[feature][rows_] = CrossKey(parts_, plan.salt);
}

bool FeatureParser::AddValue(std::size_t feature, std::span<const std::string_view> texts) {
  const Plan& plan = plans_[feature];
  switch (plan.kind) {
    case Kind::kCategorical:
      keys_[feature][rows_] =
          IsMissing(plan, texts[feature]) ? plan.missing_key : KeyOf(texts[feature], plan.salt);
      return true;
    case Kind::kNumeric:
    case Kind::kBucket:
      return AddNumber(feature, texts);
    case Kind::kSequence:
      return AddSequence(feature, texts);
    case Kind::kCross:  // once all its parts are there
      return true;
  }
  return false;
}

bool FeatureParser::AddRow(std::span<const std::string_view> texts) {
  DCHECK_EQ(texts.size(), inputs_);
  for (std::size_t f = 0; f < plans_.size(); ++f)
    if (!AddValue(f, texts)) [[unlikely]]
      return false;
  for (const std::size_t f : crosses_) AddCross(f);
  ++rows_;
  return true;
}

void FeatureParser::MapRareValues(const Plan& plan, std::span<std::uint64_t> keys) const {
  if (plan.known == nullptr) return;
  for (std::uint64_t& key : keys)
    if (key != plan.missing_key && !plan.known->Contains(key)) key = plan.rare_key;
}

void FeatureParser::Finish() {
  batch_->rows = static_cast<std::uint32_t>(rows_);
  batch_->unique_keys.resize(tables_);
  for (std::size_t f = 0; f < plans_.size(); ++f) {
    FieldColumn& column = batch_->fields[f];
    if (plans_[f].kind == Kind::kNumeric) column.number.resize(rows_);
    if (plans_[f].kind != Kind::kSequence) continue;
    column.offsets.resize(rows_ + 1);
    keys_[f].resize(column.offsets.back());
  }
  for (std::size_t table = 0; table < tables_; ++table) {
    dedup_.Begin(&batch_->unique_keys[table]);
    for (const std::size_t f : fields_of_table_[table]) {
      const std::size_t values = plans_[f].kind == Kind::kSequence ? keys_[f].size() : rows_;
      const std::span<std::uint64_t> keys = std::span(keys_[f]).first(values);
      MapRareValues(plans_[f], keys);
      std::vector<std::uint32_t>& index = batch_->fields[f].index;
      index.resize(values);
      dedup_.Map(keys, index.data());
    }
  }
  batch_ = nullptr;
}

}  // namespace cairn::worker
