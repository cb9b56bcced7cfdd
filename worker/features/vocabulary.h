// Values that occur often enough to have rows of their own: FeatureConfig.min_count. Found by one
// counting pass (worker/data/statistics.h), kept with the model as the file "vocabulary":
//
//   "CAIRNVOC"  version u32 = 1  sets u32
//   per set     bytes of the table's name u32, name, min_count u32, keys u64, the keys ascending
//   u64
//
// Numbers are little-endian. Keys are those of common/math/hash.h. Features that share a table and
// a min_count share a set.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"

namespace cairn::proto {
class JobConfig;
}  // namespace cairn::proto

namespace cairn::worker {

// A set of keys that is looked up for every value that is read: open addressing, half full.
// Immutable; thread-safe.
class KeySet {
 public:
  KeySet() = default;
  // `keys` are different from each other.
  explicit KeySet(const std::vector<std::uint64_t>& keys);

  bool Contains(std::uint64_t key) const {
    if (key == 0) return has_zero_;
    for (std::size_t at = key & mask_;; at = (at + 1) & mask_) {
      if (slots_[at] == key) return true;
      if (slots_[at] == 0) return false;
    }
  }
  std::size_t size() const { return size_; }
  std::vector<std::uint64_t> Sorted() const;

 private:
  std::vector<std::uint64_t> slots_ = {0};  // 0: empty
  std::size_t mask_ = 0;
  std::size_t size_ = 0;
  bool has_zero_ = false;
};

// Not changed once it is in use: thread-safe then.
class Vocabulary {
 public:
  // The content of the file. DataLoss for bytes that are none.
  static Result<Vocabulary> Parse(std::string_view bytes);
  std::string Serialize() const;

  void Add(const std::string& table, std::uint32_t min_count,
           const std::vector<std::uint64_t>& keys);
  // Null if there is none.
  const KeySet* Find(const std::string& table, std::uint32_t min_count) const;
  std::size_t sets() const { return sets_.size(); }

 private:
  std::map<std::pair<std::string, std::uint32_t>, KeySet> sets_;
};

// Whether any feature of the effective job has a min_count above 1.
bool NeedsVocabulary(const proto::JobConfig& job);

// OK if the vocabulary has a set for each feature that needs one; DataLoss that names one that is
// missing.
Status CheckVocabulary(const Vocabulary& vocabulary, const proto::JobConfig& job);

}  // namespace cairn::worker
