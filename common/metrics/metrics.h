// Counters, gauges and histograms, each declared once with name, unit and help.
//
//   MetricRegistry registry;
//   Counter& rows = registry.AddCounter({"rows", "", "Rows trained."});
//   Histogram& pull = registry.AddHistogram({"pull", "seconds", "Time of a pull."}, 1e-6, 1e3);
//   rows.Add(4096);  pull.Record(0.0031);
//   registry.RenderPrometheus();   // cairn_rows_total 4096 ...
//
// Thread-safety: everything may be called from any thread. Add, Set and Record take no lock and
// allocate nothing. Reading while others write gives each number as of some moment during the call.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "common/base/status.h"

namespace cairn {

// Only goes up.
class alignas(64) Counter {
 public:
  void Add(std::uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_ = 0;
};

// Goes up and down.
class alignas(64) Gauge {
 public:
  void Set(double value) { value_.store(value, std::memory_order_relaxed); }
  void Add(double change) { value_.fetch_add(change, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_ = 0;
};

// What a histogram held at some moment: may be copied, sent, and added to others of the same
// bounds.
struct Distribution {
  double lowest = 0, highest = 0;      // the histogram's; both 0: nothing, adds up with everything
  std::vector<std::uint64_t> buckets;  // counts; as many as the histogram has
  double sum = 0;
  double smallest = 0, largest = 0;  // 0 if empty

  std::uint64_t count() const;
  // As Histogram::Percentile.
  double Percentile(double share) const;
  // Adds what `other` holds. InvalidArgument, changing nothing, unless bounds and number of buckets
  // are equal and the other's buckets are as many as its bounds ask for.
  Status Merge(const Distribution& other);
};

// Distribution of values above 0 in buckets whose bounds grow by 2^(1/8): a percentile is within 9
// % of the exact one for values between the lowest and highest bound; others fall in the first or
// the overflow bucket, but count fully for sum, smallest and largest. NaN is left out.
class Histogram {
 public:
  // 0 < lowest < highest; the number of buckets is 8 log2(highest / lowest), 4 KiB for 1e-6 ..
  // 1e13.
  Histogram(double lowest, double highest);

  void Record(double value);

  std::uint64_t count() const;
  double sum() const { return sum_.load(std::memory_order_relaxed); }
  double largest() const;   // 0 if empty
  double smallest() const;  // 0 if empty
  // The value below which `share` (0 to 1) of the values lie; 0 if empty.
  double Percentile(double share) const { return Read().Percentile(share); }
  Distribution Read() const;

  // Bounds and cumulative counts as Prometheus shows them: one bound for each doubling.
  std::vector<std::pair<double, std::uint64_t>> Cumulative() const;

 private:
  const double lowest_, highest_;
  std::vector<double> bounds_;  // upper, inclusive; one bucket more for what is above
  std::vector<std::atomic<std::uint64_t>> buckets_;
  std::atomic<double> sum_ = 0;
  std::atomic<double> smallest_;
  std::atomic<double> largest_;
};

struct MetricInfo {
  std::string_view name;  // lower_case words
  std::string_view unit;  // base unit, plural: "seconds", "bytes"; "" for things that are counted
  std::string_view help;  // a sentence
};
using MetricLabels = std::vector<std::pair<std::string, std::string>>;

// Owns metrics; references stay valid as long as it lives. Adding a name with the same labels again
// gives the same metric; with other labels another member of its family. Another kind, unit or help
// for a known name is a programmer's error (CHECK).
class MetricRegistry {
 public:
  MetricRegistry();
  ~MetricRegistry();
  MetricRegistry(const MetricRegistry&) = delete;
  MetricRegistry& operator=(const MetricRegistry&) = delete;

  Counter& AddCounter(const MetricInfo& info, const MetricLabels& labels = {}) EXCLUDES(mu_);
  Gauge& AddGauge(const MetricInfo& info, const MetricLabels& labels = {}) EXCLUDES(mu_);
  // The bounds of the first member hold for the whole family.
  Histogram& AddHistogram(const MetricInfo& info, double lowest, double highest,
                          const MetricLabels& labels = {}) EXCLUDES(mu_);

  // Text exposition format 0.0.4, sorted by name and labels. Names are cairn_<name>[_<unit>], with
  // _total for counters.
  std::string RenderPrometheus() const EXCLUDES(mu_);

 private:
  struct Family;
  enum class Kind { kCounter, kGauge, kHistogram };
  Family& FamilyOf(const MetricInfo& info, Kind kind) REQUIRES(mu_);

  mutable Mutex mu_;
  std::map<std::string, std::unique_ptr<Family>> families_ GUARDED_BY(mu_);
};

}  // namespace cairn
