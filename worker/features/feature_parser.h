// From the raw texts of a row to a batch's fields: numbers, keys, unique keys.
//
//   CATEGORICAL  key = KeyOf(text, TableSalt(table)); missing: KeyOf("", ...)
//   NUMERIC      x = (T(number) - mean) / stddev with T(x) = x, sign(x) ln(1 + |x|) or
//                sign(x) log2(1 + |x|); missing: missing_value. With numeric.until, number is the
//                number in that column minus this one; missing if either is. With bucket_width
//                w > 0 it is categorical, of the text of the integer floor(x / w), and missing as
//                above.
//   SEQUENCE     one key per value between separators, the last max_length of them; a value that is
//                missing (empty, or listed) has the key of ""; a field that is missing has no
//                values. Of numbers (bucket_width > 0): the key of each one's bucket.
//   CROSS        key = CrossKey(keys of its parts, TableSalt(table))
//
// A HISTORY is a SEQUENCE whose positions count: only the empty field has no values, a single
// missing value is one. So histories of the same events stay side by side.
//
// Missing is the empty text and each text in feature.missing. With min_count > 1 a key that the
// vocabulary lacks, unless it is that of a missing value, becomes RareKey(TableSalt(table)).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "worker/data/batch.h"
#include "worker/features/key_dedup.h"
#include "worker/features/vocabulary.h"

namespace cairn::proto {
class FeatureConfig;
class JobConfig;
}  // namespace cairn::proto

namespace cairn::worker {

// Not thread-safe. Use: Begin, AddRow for each row, Finish.
class FeatureParser {
 public:
  // Features and tables of an effective job (see FieldSpecs). Without a vocabulary min_count is
  // not heeded: every value has its own key. A vocabulary must pass CheckVocabulary (CHECKed).
  explicit FeatureParser(const proto::JobConfig& job,
                         std::shared_ptr<const Vocabulary> vocabulary = nullptr);

  std::size_t features() const { return plans_.size(); }
  // Texts of a row: those of InputColumns.
  std::size_t inputs() const { return inputs_; }

  // Starts a batch of at most `max_rows` rows. `batch` is borrowed until Finish; its memory is
  // kept.
  void Begin(std::size_t max_rows, Batch* batch);

  // Adds a row from its texts, [inputs()]. False if a text cannot be read: the row leaves no trace
  // and bad_input(), bad_text() (valid as long as `texts`) and bad_reason() ("is not a number")
  // tell why.
  bool AddRow(std::span<const std::string_view> texts);
  std::size_t bad_input() const { return bad_input_; }
  std::string_view bad_text() const { return bad_text_; }
  std::string_view bad_reason() const { return bad_reason_; }

  // Removes duplicate keys: fills batch->fields[].index and batch->unique_keys. Sets batch->rows.
  void Finish();

 private:
  enum class Kind { kCategorical, kNumeric, kBucket, kSequence, kCross };
  enum class Transform { kNone, kLog1p, kLog2p };
  struct Plan {
    Kind kind;
    std::size_t table;  // unless kNumeric
    std::uint64_t salt;
    std::uint64_t missing_key;
    std::uint64_t rare_key;
    const KeySet* known;  // null: all keys
    std::vector<std::string> missing;
    Transform transform;
    double mean;
    double inverse_stddev;
    float missing_number;
    double bucket_width;
    std::size_t until;  // index of the text; 0: none
    std::string separator;
    std::size_t max_length;  // 0: no limit
    bool is_history;
    std::vector<std::size_t> parts;  // of a cross: features
  };
  Plan MakePlan(const proto::JobConfig& job, const proto::FeatureConfig& feature) const;
  static bool IsMissing(const Plan& plan, std::string_view text);
  bool AddValue(std::size_t feature, std::span<const std::string_view> texts);
  bool AddNumber(std::size_t feature, std::span<const std::string_view> texts);
  bool AddSequence(std::size_t feature, std::span<const std::string_view> texts);
  void AddCross(std::size_t feature);
  bool Bad(std::size_t input, std::string_view text, std::string_view reason);
  bool Read(std::size_t input, std::string_view text, double* number);
  // The number that differences are taken from, if the plan has one; *missing if it is missing.
  bool ReadUntil(const Plan& plan, std::span<const std::string_view> texts, double* until,
                 bool* missing);
  // The transformed number of a text that is not missing.
  bool Number(std::size_t feature, std::string_view text, double until, double* x);
  bool BucketKey(std::size_t feature, std::string_view text, double until, std::uint64_t* key);
  void MapRareValues(const Plan& plan, std::span<std::uint64_t> keys) const;

  const std::shared_ptr<const Vocabulary> vocabulary_;
  std::vector<Plan> plans_;
  std::vector<std::size_t> crosses_;  // features that are one
  std::size_t inputs_ = 0;
  std::size_t tables_ = 0;
  std::vector<std::vector<std::size_t>> fields_of_table_;  // [tables][features that use it]
  Batch* batch_ = nullptr;
  std::size_t rows_ = 0;
  // Per feature: keys of the values, [rows] or for a sequence [offsets.back()].
  std::vector<std::vector<std::uint64_t>> keys_;
  std::vector<std::uint64_t> parts_;  // scratch
  KeyDedup dedup_;
  std::size_t bad_input_ = 0;
  std::string_view bad_text_;
  std::string_view bad_reason_;
};

}  // namespace cairn::worker
