#include "worker/data/statistics.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "common/math/hash.h"
#include "proto/config.pb.h"
#include "proto/control.pb.h"
#include "worker/data/dataset.h"
#include "worker/features/field_specs.h"

namespace cairn::worker {
namespace {

using proto::FeatureConfig;

constexpr std::uint64_t kBatchRows = 16384;

// How often each key occurs: open addressing, at most half full. Keys are hashes already.
class KeyCounts {
 public:
  void Add(std::uint64_t key, std::uint64_t count) {
    if (2 * (size_ + 1) > entries_.size()) Grow();
    Entry& entry = Find(key);
    if (entry.count == 0) {
      entry.key = key;
      ++size_;
    }
    entry.count += count;
  }
  std::uint64_t Of(std::uint64_t key) { return Find(key).count; }

  template <typename Visit>
  void ForEach(Visit visit) const {
    for (const Entry& entry : entries_)
      if (entry.count > 0) visit(entry.key, entry.count);
  }

 private:
  struct Entry {
    std::uint64_t key = 0;
    std::uint64_t count = 0;  // 0: empty
  };
  Entry& Find(std::uint64_t key) {
    const std::size_t mask = entries_.size() - 1;
    std::size_t at = key & mask;
    while (entries_[at].count != 0 && entries_[at].key != key) at = (at + 1) & mask;
    return entries_[at];
  }
  void Grow() {
    std::vector<Entry> old(2 * entries_.size());
    old.swap(entries_);
    for (const Entry& entry : old)
      if (entry.count > 0) Find(entry.key) = entry;
  }

  std::vector<Entry> entries_ = std::vector<Entry>(1 << 10);  // a power of two
  std::size_t size_ = 0;
};

// H of the values with these counts. Sums over equal counts together, so that the order of the
// values does not matter.
double Entropy(const std::map<std::uint64_t, std::uint64_t>& values_of_count) {
  double total = 0;
  double sum = 0;
  for (const auto& [count, values] : values_of_count) {
    const auto c = static_cast<double>(count);
    total += c * static_cast<double>(values);
    sum += static_cast<double>(values) * c * std::log(c);
  }
  return total > 0 ? std::log(total) - sum / total : 0;
}

class Counter {
 public:
  explicit Counter(const proto::JobConfig& job) : job_(job), counts_(Features()) {
    const bool needs_density = NeedsDensity(job);
    std::set<std::string> tables;  // whose features' values are counted together
    for (const FeatureConfig& feature : job.feature())
      if (feature.min_count() > 1) tables.insert(feature.table());
    for (const FeatureConfig& feature : job.feature()) {
      wants_density_.push_back(needs_density && feature.role() == FeatureConfig::INPUT &&
                               !feature.has_density());
      is_counted_.push_back(!IsNumeric(feature) &&
                            (wants_density_.back() || tables.count(feature.table()) > 0));
      tables_.push_back(IsNumeric(feature) ? 0 : TableIndex(job, feature.table()));
    }
  }

  void Add(const Batch& batch) {
    for (std::size_t f = 0; f < Features(); ++f) {
      if (!is_counted_[f]) continue;
      const std::vector<std::uint64_t>& keys = batch.unique_keys[tables_[f]];
      scratch_.assign(keys.size(), 0);
      for (const std::uint32_t index : batch.fields[f].index) ++scratch_[index];
      for (std::size_t i = 0; i < keys.size(); ++i)
        if (scratch_[i] > 0) counts_[f].Add(keys[i], scratch_[i]);
    }
  }

  void Finish(Statistics* statistics) {
    CountTables();
    for (std::size_t f = 0; f < Features(); ++f) {
      const FeatureConfig& feature = FeatureOf(f);
      if (feature.min_count() > 1 &&
          statistics->vocabulary.Find(feature.table(), feature.min_count()) == nullptr)
        statistics->vocabulary.Add(feature.table(), feature.min_count(), FrequentKeys(f));
      statistics->density.push_back(
          wants_density_[f] ? std::log(static_cast<double>(statistics->rows)) - EntropyOf(f)
                            : std::numeric_limits<double>::quiet_NaN());
    }
  }

 private:
  std::size_t Features() const { return static_cast<std::size_t>(job_.feature_size()); }
  const FeatureConfig& FeatureOf(std::size_t f) const { return job_.feature(static_cast<int>(f)); }
  std::uint64_t MissingKey(std::size_t f) const {
    return KeyOf("", TableSalt(FeatureOf(f).table()));
  }

  void CountTables() {
    for (std::size_t f = 0; f < Features(); ++f) {
      if (FeatureOf(f).min_count() <= 1 || counts_of_table_.count(tables_[f]) > 0) continue;
      KeyCounts& sum = counts_of_table_[tables_[f]];
      for (std::size_t g = 0; g < Features(); ++g) {
        if (!is_counted_[g] || tables_[g] != tables_[f]) continue;
        counts_[g].ForEach([&](std::uint64_t key, std::uint64_t count) { sum.Add(key, count); });
      }
    }
  }

  std::vector<std::uint64_t> FrequentKeys(std::size_t f) {
    const std::uint64_t missing = MissingKey(f);
    std::vector<std::uint64_t> keys;
    counts_of_table_[tables_[f]].ForEach([&](std::uint64_t key, std::uint64_t count) {
      if (count >= FeatureOf(f).min_count() && key != missing) keys.push_back(key);
    });
    std::ranges::sort(keys);
    return keys;
  }

  double EntropyOf(std::size_t f) {
    if (!is_counted_[f]) return 0;
    const std::uint32_t min_count = FeatureOf(f).min_count();
    const std::uint64_t missing = MissingKey(f);
    std::map<std::uint64_t, std::uint64_t> values_of_count;
    std::uint64_t rare = 0;
    counts_[f].ForEach([&](std::uint64_t key, std::uint64_t count) {
      const bool is_rare =
          min_count > 1 && key != missing && counts_of_table_[tables_[f]].Of(key) < min_count;
      if (is_rare) {
        rare += count;
      } else {
        ++values_of_count[count];
      }
    });
    if (rare > 0) ++values_of_count[rare];
    return Entropy(values_of_count);
  }

  const proto::JobConfig& job_;
  std::vector<bool> wants_density_;  // [features]
  std::vector<bool> is_counted_;     // [features]
  std::vector<std::size_t> tables_;  // [features]
  std::vector<KeyCounts> counts_;    // [features]
  std::map<std::size_t, KeyCounts> counts_of_table_;
  std::vector<std::uint64_t> scratch_;
};

}  // namespace

bool NeedsDensity(const proto::JobConfig& job) {
  if (!job.model().has_mgdin()) return false;
  const proto::MgdinConfig& model = job.model().mgdin();
  if (model.order() != proto::MgdinConfig::DENSITY &&
      model.order() != proto::MgdinConfig::DENSITY_REVERSED &&
      model.schedule() != proto::MgdinConfig::GROUP)
    return false;
  return std::ranges::any_of(job.feature(), [](const FeatureConfig& feature) {
    return feature.role() == FeatureConfig::INPUT && !feature.has_density();
  });
}

Result<Statistics> CountStatistics(const proto::JobConfig& job) {
  proto::JobConfig in_order = job;
  in_order.mutable_data()->set_shuffle(false);
  in_order.mutable_data()->clear_group();
  ASSIGN_OR_RETURN(const std::unique_ptr<Dataset> data, Dataset::Make(in_order, proto::TRAIN));
  Statistics statistics;
  Counter counter(in_order);
  Batch batch;
  for (std::uint64_t window = 0;; ++window) {
    ASSIGN_OR_RETURN(const WindowInfo info, data->OpenWindow(0, window));
    for (std::uint64_t begin = 0; begin < info.rows; begin += kBatchRows) {
      std::uint64_t bad_rows = 0;
      RETURN_IF_ERROR(data->ReadBatch(begin, begin + kBatchRows, &batch, &bad_rows));
      counter.Add(batch);
      statistics.rows += batch.rows;
      statistics.bad_rows += bad_rows;
    }
    if (info.last) break;
  }
  if (statistics.rows == 0)
    return absl::InvalidArgumentError("data.train: the files hold no row to train on");
  counter.Finish(&statistics);
  return statistics;
}

}  // namespace cairn::worker
