// What one feature's settings say about each other.
#include "common/config/effective_parts.h"
#include "proto/config.pb.h"

namespace cairn {
namespace {

using proto::FeatureConfig;
using proto::NumericConfig;
using proto::SequenceConfig;

// Longest history. Each row of a batch has room for so many events.
constexpr std::uint32_t kMaxHistory = 65536;

class FeatureRules {
 public:
  FeatureRules(const FeatureConfig& feature, const OriginTree& node, ProblemList* problems)
      : feature_(feature),
        node_(node),
        problems_(problems),
        who_(StrCat("feature \"", feature.name(), "\"")),
        type_(FeatureConfig::Type_Name(feature.type())) {}

  void Check() const {
    CheckType();
    CheckNumeric();
    CheckSequence();
    CheckCross();
    CheckRest();
  }

 private:
  void Problem(int field, std::string message) const {
    problems_->Add(node_.At(field).origin, std::move(message));
  }
  // At a field of `numeric` or `sequence`.
  void Problem(int block, int field, std::string message) const {
    problems_->Add(node_.At(block).At(field).origin, std::move(message));
  }

  void CheckType() const {
    const bool is_sequence = feature_.type() == FeatureConfig::SEQUENCE;
    if (feature_.has_numeric() && feature_.type() != FeatureConfig::NUMERIC && !is_sequence) {
      Problem(FeatureConfig::kNumericFieldNumber,
              StrCat(who_, " has settings for NUMERIC but is ", type_));
    }
    if (feature_.has_sequence() && !is_sequence) {
      Problem(FeatureConfig::kSequenceFieldNumber,
              StrCat(who_, " has settings for SEQUENCE but is ", type_));
    }
    if (feature_.has_table() && IsPlainNumber(feature_) && !node_.damaged) {
      Problem(FeatureConfig::kTableFieldNumber,
              StrCat(who_, " is NUMERIC and has no table; ",
                     "numeric.bucket_width makes it categorical"));
    }
  }

  void CheckNumeric() const {
    if (!feature_.has_numeric()) return;
    const NumericConfig& numeric = feature_.numeric();
    if (feature_.type() == FeatureConfig::SEQUENCE && numeric.bucket_width() == 0 &&
        !node_.damaged) {
      Problem(FeatureConfig::kNumericFieldNumber,
              StrCat(who_, " is a SEQUENCE of numbers, which needs numeric.bucket_width"));
    }
    if (numeric.has_until() && numeric.until().empty()) {
      Problem(FeatureConfig::kNumericFieldNumber, NumericConfig::kUntilFieldNumber,
              "numeric.until must not be empty");
    }
  }

  void CheckSequence() const {
    const SequenceConfig& sequence = feature_.sequence();
    if (sequence.separator().size() != 1) {
      Problem(FeatureConfig::kSequenceFieldNumber, SequenceConfig::kSeparatorFieldNumber,
              StrCat("the separator of a sequence is one character, got \"", sequence.separator(),
                     "\""));
    }
    if (sequence.pooling() == SequenceConfig::HISTORY) {
      const std::uint32_t length = sequence.max_length();
      if ((length == 0 || length > kMaxHistory) && !node_.damaged) {
        Problem(FeatureConfig::kSequenceFieldNumber, SequenceConfig::kMaxLengthFieldNumber,
                StrCat(who_, " is a HISTORY, which needs sequence.max_length of at least 1 and at ",
                       "most ", kMaxHistory, length == 0 ? "" : StrCat(", got ", length)));
      }
    } else if (sequence.has_target()) {
      Problem(FeatureConfig::kSequenceFieldNumber, SequenceConfig::kTargetFieldNumber,
              StrCat(who_, " has a sequence.target, which only pooling: HISTORY has"));
    }
  }

  void CheckCross() const {
    const bool is_cross = feature_.type() == FeatureConfig::CROSS;
    if (!is_cross && feature_.of_size() > 0) {
      Problem(FeatureConfig::kOfFieldNumber,
              StrCat(who_, " names parts (of) but is ", type_, ", not CROSS"));
    }
    if (!is_cross) return;
    if (feature_.of_size() < 2 && !node_.damaged) {
      Problem(FeatureConfig::kOfFieldNumber,
              StrCat(who_, " is a CROSS, which needs two or more features in `of`"));
    }
    if (feature_.has_column()) {
      Problem(FeatureConfig::kColumnFieldNumber, StrCat(who_, " is a CROSS and has no column"));
    }
    if (feature_.missing_size() > 0) {
      Problem(FeatureConfig::kMissingFieldNumber,
              StrCat(who_, " is a CROSS; what counts as missing is said at its parts"));
    }
  }

  void CheckRest() const {
    if (feature_.min_count() > 1 && IsPlainNumber(feature_)) {
      Problem(FeatureConfig::kMinCountFieldNumber,
              StrCat(who_, " is NUMERIC without numeric.bucket_width: it has no rare values"));
    }
    if (feature_.role() == FeatureConfig::LINEAR &&
        feature_.sequence().pooling() == SequenceConfig::HISTORY) {
      Problem(FeatureConfig::kRoleFieldNumber,
              StrCat(who_, " is a HISTORY, which cannot be a first-order weight"));
    }
    if (feature_.has_column() && feature_.column().empty()) {
      Problem(FeatureConfig::kColumnFieldNumber, "column must not be empty");
    }
    if (feature_.has_table() && feature_.table().empty()) {
      Problem(FeatureConfig::kTableFieldNumber, "table must not be empty");
    }
  }

  const FeatureConfig& feature_;
  const OriginTree& node_;
  ProblemList* const problems_;
  const std::string who_;
  const std::string type_;
};

}  // namespace

bool IsPlainNumber(const FeatureConfig& feature) {
  return feature.type() == FeatureConfig::NUMERIC && feature.numeric().bucket_width() == 0;
}

void CheckFeatureRules(const FeatureConfig& feature, const OriginTree& node,
                       ProblemList* problems) {
  FeatureRules(feature, node, problems).Check();
}

}  // namespace cairn
