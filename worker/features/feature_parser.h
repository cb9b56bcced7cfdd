// From the raw texts of a row to a batch's fields: numbers, keys, unique keys.
//
//   CATEGORICAL  key = KeyOf(text, TableSalt(table)); missing: KeyOf("", ...)
//   NUMERIC      x = (T(number) - mean) / stddev with T(x) = x or sign(x) ln(1 + |x|); missing:
//                missing_value. With bucket_width w > 0 it is categorical, of the text of the
//                integer floor(x / w), and missing as above.
//   SEQUENCE     one key per value between separators, the last max_length of them; a value that is
//                missing (empty, or listed) has the key of ""; a field that is missing has no
//                values
//
// Missing is the empty text and each text in feature.missing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "worker/data/batch.h"
#include "worker/features/key_dedup.h"

namespace cairn::proto {
class FeatureConfig;
class JobConfig;
}  // namespace cairn::proto

namespace cairn::worker {

// Not thread-safe. Use: Begin, AddRow for each row, Finish.
class FeatureParser {
 public:
  // Features and tables of an effective job (see FieldSpecs).
  explicit FeatureParser(const proto::JobConfig& job);

  std::size_t features() const { return plans_.size(); }

  // Starts a batch of at most `max_rows` rows. `batch` is borrowed until Finish; its memory is
  // kept.
  void Begin(std::size_t max_rows, Batch* batch);

  // Adds a row from one text per feature. False if a text cannot be read: the row leaves no trace
  // and bad_feature() and bad_reason() ("is not a number") tell why.
  bool AddRow(std::span<const std::string_view> texts);
  std::size_t bad_feature() const { return bad_feature_; }
  std::string_view bad_reason() const { return bad_reason_; }

  // Removes duplicate keys: fills batch->fields[].index and batch->unique_keys. Sets batch->rows.
  void Finish();

 private:
  enum class Kind { kCategorical, kNumeric, kBucket, kSequence };
  struct Plan {
    Kind kind;
    std::size_t table;  // unless kNumeric
    std::uint64_t salt;
    std::uint64_t missing_key;
    std::vector<std::string> missing;
    bool log1p;
    double mean;
    double inverse_stddev;
    float missing_number;
    double bucket_width;
    std::string separator;
    std::size_t max_length;  // 0: no limit
  };
  static Plan MakePlan(const proto::JobConfig& job, const proto::FeatureConfig& feature);
  static bool IsMissing(const Plan& plan, std::string_view text);
  bool AddValue(std::size_t feature, std::string_view text);
  // The transformed number, or false with bad_reason_ set.
  bool Number(const Plan& plan, std::string_view text, double* x);
  bool BucketKey(const Plan& plan, std::string_view text, std::uint64_t* key);
  void AddSequence(const Plan& plan, std::string_view text, std::vector<std::uint64_t>* keys);

  std::vector<Plan> plans_;
  std::size_t tables_ = 0;
  std::vector<std::vector<std::size_t>> fields_of_table_;  // [tables][features that use it]
  Batch* batch_ = nullptr;
  std::size_t rows_ = 0;
  // Per feature: keys of the values, [rows] or for a sequence [offsets.back()].
  std::vector<std::vector<std::uint64_t>> keys_;
  KeyDedup dedup_;
  std::size_t bad_feature_ = 0;
  std::string_view bad_reason_;
};

}  // namespace cairn::worker
