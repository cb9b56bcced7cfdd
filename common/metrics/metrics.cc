#include "common/metrics/metrics.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "common/base/str_cat.h"

namespace cairn {
namespace {

constexpr int kBucketsPerDoubling = 8;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Lowers or raises `target` to `value` where `better` says so.
template <typename Better>
void Improve(std::atomic<double>& target, double value, Better better) {
  double seen = target.load(std::memory_order_relaxed);
  while (better(value, seen) &&
         !target.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

std::string Number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return StrCat(value);
}

bool AreBounds(double lowest, double highest) {
  return lowest > 0 && lowest < highest && std::isfinite(highest);
}

double Bound(double lowest, int i) {
  return std::ldexp(
      lowest * std::exp2((i % kBucketsPerDoubling) / static_cast<double>(kBucketsPerDoubling)),
      i / kBucketsPerDoubling);
}

std::vector<double> BoundsOf(double lowest, double highest) {
  CHECK(AreBounds(lowest, highest)) << lowest << " " << highest;
  std::vector<double> bounds;
  for (int i = 0;; ++i) {
    bounds.push_back(Bound(lowest, i));
    if (bounds.back() >= highest && i % kBucketsPerDoubling == 0) return bounds;
  }
}

// Backslash, line feed and, in label values, the double quote are escaped.
std::string Escaped(std::string_view text, bool is_label) {
  std::string out;
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '\\' || (is_label && c == '"')) out += '\\';
    out += c;
  }
  return out;
}

// `{ps="0",le="1"}`, or nothing without labels.
std::string LabelText(const MetricLabels& labels, std::string_view extra = "") {
  std::string text;
  for (const auto& [name, value] : labels) {
    StrAppend(text, text.empty() ? "" : ",", name, "=\"", Escaped(value, /*is_label=*/true), "\"");
  }
  if (!extra.empty()) StrAppend(text, text.empty() ? "" : ",", extra);
  return text.empty() ? "" : StrCat("{", text, "}");
}

}  // namespace

Histogram::Histogram(double lowest, double highest)
    : lowest_(lowest),
      highest_(highest),
      bounds_(BoundsOf(lowest, highest)),
      buckets_(bounds_.size() + 1),
      smallest_(kInfinity),
      largest_(-kInfinity) {}

void Histogram::Record(double value) {
  if (std::isnan(value)) return;
  const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  buckets_[static_cast<std::size_t>(bucket)].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
  Improve(smallest_, value, [](double a, double b) { return a < b; });
  Improve(largest_, value, [](double a, double b) { return a > b; });
}

std::uint64_t Histogram::count() const {
  std::uint64_t count = 0;
  for (const auto& bucket : buckets_) count += bucket.load(std::memory_order_relaxed);
  return count;
}

double Histogram::largest() const {
  const double value = largest_.load(std::memory_order_relaxed);
  return value == -kInfinity ? 0 : value;
}

double Histogram::smallest() const {
  const double value = smallest_.load(std::memory_order_relaxed);
  return value == kInfinity ? 0 : value;
}

Distribution Histogram::Read() const {
  Distribution result{lowest_, highest_, {}, sum(), smallest(), largest()};
  result.buckets.reserve(buckets_.size());
  for (const auto& bucket : buckets_) {
    result.buckets.push_back(bucket.load(std::memory_order_relaxed));
  }
  return result;
}

std::vector<std::pair<double, std::uint64_t>> Histogram::Cumulative() const {
  std::vector<std::pair<double, std::uint64_t>> result;
  std::uint64_t count = 0;
  for (std::size_t i = 0; i < bounds_.size(); ++i) {
    count += buckets_[i].load(std::memory_order_relaxed);
    if (i % kBucketsPerDoubling == 0) result.emplace_back(bounds_[i], count);
  }
  result.emplace_back(kInfinity, count + buckets_.back().load(std::memory_order_relaxed));
  return result;
}

std::uint64_t Distribution::count() const {
  return std::accumulate(buckets.begin(), buckets.end(), std::uint64_t{0});
}

double Distribution::Percentile(double share) const {
  const std::uint64_t total = count();
  if (total == 0) return 0;
  const double wanted = std::clamp(share, 0.0, 1.0) * static_cast<double>(total);
  double before = 0;
  for (std::size_t i = 0; i < buckets.size(); ++i) {
    const double here = static_cast<double>(buckets[i]);
    if (here == 0 || before + here < wanted) {
      before += here;
      continue;
    }
    const double low = i == 0 ? smallest : Bound(lowest, static_cast<int>(i) - 1);
    const double high = i + 1 < buckets.size() ? Bound(lowest, static_cast<int>(i)) : largest;
    const double value = low + (high - low) * std::max(0.0, wanted - before) / here;
    return std::clamp(value, smallest, std::max(smallest, largest));
  }
  return largest;
}

Status Distribution::Merge(const Distribution& other) {
  if (other.lowest == 0 && other.highest == 0 && other.buckets.empty()) return OkStatus();
  if (!AreBounds(other.lowest, other.highest) ||
      other.buckets.size() != BoundsOf(other.lowest, other.highest).size() + 1) {
    return absl::InvalidArgumentError(StrCat("a histogram from ", other.lowest, " to ",
                                             other.highest, " does not have ", other.buckets.size(),
                                             " buckets"));
  }
  if (lowest == 0 && highest == 0) {
    *this = other;
    return OkStatus();
  }
  if (other.lowest != lowest || other.highest != highest ||
      other.buckets.size() != buckets.size()) {
    return absl::InvalidArgumentError(StrCat("a histogram from ", other.lowest, " to ",
                                             other.highest, " cannot be added to one from ", lowest,
                                             " to ", highest));
  }
  if (other.count() == 0) return OkStatus();
  const bool was_empty = count() == 0;
  for (std::size_t i = 0; i < buckets.size(); ++i) buckets[i] += other.buckets[i];
  sum += other.sum;
  smallest = was_empty ? other.smallest : std::min(smallest, other.smallest);
  largest = was_empty ? other.largest : std::max(largest, other.largest);
  return OkStatus();
}

struct MetricRegistry::Family {
  Kind kind;
  std::string unit;
  std::string help;
  double lowest = 0;
  double highest = 0;
  // Keyed by the text of the labels; one map is used, by kind.
  struct Member {
    MetricLabels labels;
    std::unique_ptr<Counter> counter;
    std::unique_ptr<Gauge> gauge;
    std::unique_ptr<Histogram> histogram;
  };
  std::map<std::string, Member> members;

  Member& MemberOf(const MetricLabels& labels) {
    Member& member = members[LabelText(labels)];
    member.labels = labels;
    return member;
  }
};

MetricRegistry::MetricRegistry() = default;
MetricRegistry::~MetricRegistry() = default;

MetricRegistry::Family& MetricRegistry::FamilyOf(const MetricInfo& info, Kind kind) {
  std::unique_ptr<Family>& family = families_[std::string(info.name)];
  if (family == nullptr) {
    CHECK(!info.name.empty() && info.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz"
                                                            "0123456789_") == std::string::npos)
        << "bad metric name: " << info.name;
    family = std::make_unique<Family>();
    family->kind = kind;
    family->unit = std::string(info.unit);
    family->help = std::string(info.help);
  }
  CHECK(family->kind == kind && family->unit == info.unit && family->help == info.help)
      << "metric " << info.name << " is declared twice, in different ways";
  return *family;
}

Counter& MetricRegistry::AddCounter(const MetricInfo& info, const MetricLabels& labels) {
  MutexLock lock(mu_);
  auto& counter = FamilyOf(info, Kind::kCounter).MemberOf(labels).counter;
  if (counter == nullptr) counter = std::make_unique<Counter>();
  return *counter;
}

Gauge& MetricRegistry::AddGauge(const MetricInfo& info, const MetricLabels& labels) {
  MutexLock lock(mu_);
  auto& gauge = FamilyOf(info, Kind::kGauge).MemberOf(labels).gauge;
  if (gauge == nullptr) gauge = std::make_unique<Gauge>();
  return *gauge;
}

Histogram& MetricRegistry::AddHistogram(const MetricInfo& info, double lowest, double highest,
                                        const MetricLabels& labels) {
  MutexLock lock(mu_);
  Family& family = FamilyOf(info, Kind::kHistogram);
  if (family.members.empty()) {
    family.lowest = lowest;
    family.highest = highest;
  }
  auto& histogram = family.MemberOf(labels).histogram;
  if (histogram == nullptr) {
    histogram = std::make_unique<Histogram>(family.lowest, family.highest);
  }
  return *histogram;
}

std::string MetricRegistry::RenderPrometheus() const {
  MutexLock lock(mu_);
  std::string text;
  for (const auto& [short_name, family] : families_) {
    constexpr std::string_view kTypes[] = {"counter", "gauge", "histogram"};
    const std::string name = StrCat("cairn_", short_name, family->unit.empty() ? "" : "_",
                                    family->unit, family->kind == Kind::kCounter ? "_total" : "");
    StrAppend(text, "# HELP ", name, " ", Escaped(family->help, /*is_label=*/false), "\n# TYPE ",
              name, " ", kTypes[static_cast<std::size_t>(family->kind)], "\n");
    for (const auto& [labels, member] : family->members) {
      if (member.counter != nullptr) {
        StrAppend(text, name, labels, " ", member.counter->value(), "\n");
      } else if (member.gauge != nullptr) {
        StrAppend(text, name, labels, " ", Number(member.gauge->value()), "\n");
      } else {
        const auto buckets = member.histogram->Cumulative();
        for (const auto& [bound, count] : buckets) {
          const std::string le = StrCat("le=\"", Number(bound), "\"");
          StrAppend(text, name, "_bucket", LabelText(member.labels, le), " ", count, "\n");
        }
        StrAppend(text, name, "_sum", labels, " ", Number(member.histogram->sum()), "\n");
        StrAppend(text, name, "_count", labels, " ", buckets.back().second, "\n");
      }
    }
  }
  return text;
}

}  // namespace cairn
