#include "worker/features/feature_parser.h"

#include <glog/logging.h>

#include <algorithm>
#include <charconv>
#include <cmath>

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

}  // namespace

FeatureParser::Plan FeatureParser::MakePlan(const proto::JobConfig& job,
                                            const proto::FeatureConfig& feature) {
  Plan plan{};
  plan.missing.assign(feature.missing().begin(), feature.missing().end());
  const proto::NumericConfig& numeric = feature.numeric();
  plan.log1p = numeric.transform() == proto::NumericConfig::LOG1P;
  plan.mean = numeric.mean();
  plan.inverse_stddev = 1 / numeric.stddev();
  plan.missing_number = static_cast<float>(numeric.missing_value());
  plan.bucket_width = numeric.bucket_width();
  plan.separator = feature.sequence().separator();
  plan.max_length = feature.sequence().max_length();
  plan.kind = Kind::kCategorical;
  if (feature.type() == proto::FeatureConfig::SEQUENCE) plan.kind = Kind::kSequence;
  if (feature.type() == proto::FeatureConfig::NUMERIC) plan.kind = Kind::kBucket;
  if (IsNumeric(feature)) {
    plan.kind = Kind::kNumeric;
    return plan;
  }
  plan.table = TableIndex(job, feature.table());
  plan.salt = TableSalt(feature.table());
  plan.missing_key = KeyOf("", plan.salt);
  if (plan.kind == Kind::kSequence)
    CHECK(!plan.separator.empty()) << "feature " << feature.name() << " has an empty separator";
  return plan;
}

FeatureParser::FeatureParser(const proto::JobConfig& job)
    : tables_(static_cast<std::size_t>(job.table_size())) {
  for (const proto::FeatureConfig& feature : job.feature())
    plans_.push_back(MakePlan(job, feature));
  fields_of_table_.resize(tables_);
  for (std::size_t f = 0; f < plans_.size(); ++f)
    if (plans_[f].kind != Kind::kNumeric) fields_of_table_[plans_[f].table].push_back(f);
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

bool FeatureParser::Number(const Plan& plan, std::string_view text, double* x) {
  const NumberError error = ParseNumber(text, x);
  if (error != NumberError::kNone) {
    bad_reason_ = error == NumberError::kNotANumber ? "is not a number" : "is out of range";
    return false;
  }
  if (plan.log1p) *x = std::copysign(std::log1p(std::fabs(*x)), *x);
  *x = (*x - plan.mean) * plan.inverse_stddev;
  return true;
}

bool FeatureParser::BucketKey(const Plan& plan, std::string_view text, std::uint64_t* key) {
  double x = 0;
  if (!Number(plan, text, &x)) return false;
  const double bucket = std::floor(x / plan.bucket_width);
  if (!(std::fabs(bucket) < kMaxBucket)) {
    bad_reason_ = "is out of range";
    return false;
  }
  char digits[24];
  const char* end = std::to_chars(digits, digits + sizeof digits, std::llrint(bucket)).ptr;
  *key = KeyOf({digits, static_cast<std::size_t>(end - digits)}, plan.salt);
  return true;
}

void FeatureParser::AddSequence(const Plan& plan, std::string_view text,
                                std::vector<std::uint64_t>* keys) {
  if (IsMissing(plan, text)) return;
  const std::string_view separator = plan.separator;
  if (plan.max_length > 0) text.remove_prefix(LastValues(text, separator, plan.max_length));
  for (;;) {
    const std::size_t end = text.find(separator);
    const std::string_view value = text.substr(0, end);
    keys->push_back(IsMissing(plan, value) ? plan.missing_key : KeyOf(value, plan.salt));
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + separator.size());
  }
}

bool FeatureParser::AddValue(std::size_t feature, std::string_view text) {
  const Plan& plan = plans_[feature];
  FieldColumn& column = batch_->fields[feature];
  const bool missing = plan.kind != Kind::kSequence && IsMissing(plan, text);
  switch (plan.kind) {
    case Kind::kCategorical:
      keys_[feature][rows_] = missing ? plan.missing_key : KeyOf(text, plan.salt);
      return true;
    case Kind::kBucket:
      keys_[feature][rows_] = plan.missing_key;
      return missing || BucketKey(plan, text, &keys_[feature][rows_]);
    case Kind::kNumeric: {
      column.number[rows_] = plan.missing_number;
      if (missing) return true;
      double x = 0;
      if (!Number(plan, text, &x)) return false;
      column.number[rows_] = static_cast<float>(x);
      if (std::isfinite(column.number[rows_])) return true;
      bad_reason_ = "is out of range";
      return false;
    }
    case Kind::kSequence:
      keys_[feature].resize(column.offsets[rows_]);  // drops what a bad row left behind
      AddSequence(plan, text, &keys_[feature]);
      column.offsets[rows_ + 1] = static_cast<std::uint32_t>(keys_[feature].size());
      return true;
  }
  return false;
}

bool FeatureParser::AddRow(std::span<const std::string_view> texts) {
  DCHECK_EQ(texts.size(), plans_.size());
  for (std::size_t f = 0; f < texts.size(); ++f) {
    if (!AddValue(f, texts[f])) [[unlikely]] {
      bad_feature_ = f;
      return false;
    }
  }
  ++rows_;
  return true;
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
      std::vector<std::uint32_t>& index = batch_->fields[f].index;
      index.resize(values);
      dedup_.Map(std::span(keys_[f]).first(values), index.data());
    }
  }
  batch_ = nullptr;
}

}  // namespace cairn::worker
