#include "common/metrics/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>
#include <vector>

#include "common/math/rng.h"

namespace cairn {
namespace {

using testing::HasSubstr;

TEST(Metrics, ThreadsLoseNothing) {
  MetricRegistry registry;
  Counter& counter = registry.AddCounter({"events", "", "Events."});
  Gauge& gauge = registry.AddGauge({"level", "", "Level."});
  Histogram& histogram = registry.AddHistogram({"size", "bytes", "Sizes."}, 1, 1024);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 10000; ++i) {
        counter.Add(2);
        gauge.Add(t % 2 == 0 ? 1 : -1);
        histogram.Record(1 + i % 100);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter.value(), 80000u);
  EXPECT_EQ(gauge.value(), 0);
  EXPECT_EQ(histogram.count(), 40000u);
  EXPECT_EQ(histogram.sum(), 4 * 10000 * 50.5);
  EXPECT_EQ(histogram.smallest(), 1);
  EXPECT_EQ(histogram.largest(), 100);
}

TEST(Histogram, PercentilesAreWithinABucket) {
  Histogram histogram(1e-6, 1e3);
  Rng rng(7, 0);
  std::vector<double> values;
  for (int i = 0; i < 20000; ++i) {
    values.push_back(std::exp(rng.NextNormal() * 2 - 3));
    histogram.Record(values.back());
  }
  std::sort(values.begin(), values.end());
  for (const double share : {0.01, 0.1, 0.5, 0.9, 0.99, 0.999}) {
    const double exact = values[static_cast<std::size_t>(share * 20000)];
    EXPECT_NEAR(histogram.Percentile(share) / exact, 1, 0.1) << share;
  }
  EXPECT_EQ(histogram.Percentile(1), values.back());
  EXPECT_NEAR(histogram.Percentile(0), values.front(), values.front() * 0.1);
}

TEST(Histogram, OddValues) {
  Histogram histogram(1, 16);
  EXPECT_EQ(histogram.Percentile(0.5), 0);
  EXPECT_EQ(histogram.smallest(), 0);
  EXPECT_EQ(histogram.largest(), 0);
  histogram.Record(std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(histogram.count(), 0u);
  histogram.Record(0);
  histogram.Record(-5);
  histogram.Record(1e9);
  EXPECT_EQ(histogram.count(), 3u);
  EXPECT_EQ(histogram.Percentile(0), -5);
  EXPECT_EQ(histogram.Percentile(1), 1e9);
  EXPECT_EQ(histogram.Cumulative().front().second, 2u);
  EXPECT_EQ(histogram.Cumulative().back().second, 3u);
}

TEST(Histogram, OneValueIsEveryPercentile) {
  Histogram histogram(1e-6, 1e3);
  histogram.Record(0.0123);
  for (const double share : {-1.0, 0.0, 0.5, 1.0, 2.0}) {
    EXPECT_EQ(histogram.Percentile(share), 0.0123);
  }
}

TEST(Histogram, BoundsAreInclusive) {
  Histogram histogram(1, 8);
  for (const double value : {1.0, 2.0, 4.0, 8.0, 8.1}) histogram.Record(value);
  const std::vector<std::pair<double, std::uint64_t>> expected = {
      {1, 1}, {2, 2}, {4, 3}, {8, 4}, {std::numeric_limits<double>::infinity(), 5}};
  EXPECT_EQ(histogram.Cumulative(), expected);
}

// What servers recorded each for itself has the percentiles of all values together.
TEST(Distribution, MergedPartsAreTheWhole) {
  Histogram whole(1e-6, 1e3);
  Histogram parts[3] = {{1e-6, 1e3}, {1e-6, 1e3}, {1e-6, 1e3}};
  Rng rng(8, 0);
  std::vector<double> values;
  for (int i = 0; i < 9000; ++i) {
    // Each part has a scale of its own.
    const auto part = static_cast<std::size_t>(i % 3);
    values.push_back(std::exp(rng.NextNormal()) * std::pow(10.0, -static_cast<double>(part)));
    parts[part].Record(values.back());
    whole.Record(values.back());
  }
  Distribution merged;
  for (const Histogram& part : parts) EXPECT_EQ(merged.Merge(part.Read()), OkStatus());
  EXPECT_EQ(merged.buckets, whole.Read().buckets);
  EXPECT_EQ(merged.count(), 9000u);
  EXPECT_EQ(merged.smallest, whole.smallest());
  EXPECT_EQ(merged.largest, whole.largest());
  EXPECT_NEAR(merged.sum / whole.sum(), 1, 1e-12);
  std::sort(values.begin(), values.end());
  for (const double share : {0.01, 0.5, 0.9, 0.99, 0.999}) {
    const double exact = values[static_cast<std::size_t>(share * 9000)];
    EXPECT_NEAR(merged.Percentile(share) / exact, 1, 0.1) << share;
  }
}

TEST(Distribution, EmptyOnesAddNothing) {
  Histogram some(1, 8);
  some.Record(3);
  Distribution merged;
  EXPECT_EQ(merged.Merge(Distribution()), OkStatus());
  EXPECT_EQ(merged.count(), 0u);
  EXPECT_EQ(merged.Percentile(0.5), 0);
  EXPECT_EQ(merged.Merge(Histogram(1, 8).Read()), OkStatus());
  EXPECT_EQ(merged.Merge(some.Read()), OkStatus());
  EXPECT_EQ(merged.smallest, 3);
  EXPECT_EQ(merged.Merge(Histogram(1, 8).Read()), OkStatus());
  EXPECT_EQ(merged.smallest, 3);
  EXPECT_EQ(merged.largest, 3);
  EXPECT_EQ(merged.Percentile(0.99), 3);
}

TEST(Distribution, OtherBoundsAreRefused) {
  Histogram some(1, 8);
  some.Record(3);
  Distribution merged = some.Read();
  const std::vector<std::uint64_t> before = merged.buckets;
  EXPECT_EQ(merged.Merge(Histogram(1, 16).Read()).code(), absl::StatusCode::kInvalidArgument);
  Distribution cut = some.Read();
  cut.buckets.pop_back();
  EXPECT_EQ(merged.Merge(cut).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Distribution().Merge(cut).code(), absl::StatusCode::kInvalidArgument);
  for (const double nonsense : {-1.0, 0.0, std::numeric_limits<double>::quiet_NaN(),
                                std::numeric_limits<double>::infinity()}) {
    Distribution bad = some.Read();
    bad.highest = nonsense;
    EXPECT_EQ(Distribution().Merge(bad).code(), absl::StatusCode::kInvalidArgument) << nonsense;
  }
  EXPECT_EQ(merged.buckets, before);
}

TEST(MetricRegistry, RendersPrometheusText) {
  MetricRegistry registry;
  registry.AddGauge({"tables", "", "Tables."}).Set(2.5);
  registry.AddCounter({"push_requests", "", "Pushes\nby \\ code."}, {{"code", "a\"b\\c\nd"}})
      .Add(3);
  registry.AddCounter({"push_requests", "", "Pushes\nby \\ code."}, {{"code", "OK"}});
  Histogram& pull =
      registry.AddHistogram({"pull", "seconds", "Time of a pull."}, 1, 4, {{"ps", "0"}});
  pull.Record(1.5);
  pull.Record(100);
  EXPECT_EQ(registry.RenderPrometheus(),
            "# HELP cairn_pull_seconds Time of a pull.\n"
            "# TYPE cairn_pull_seconds histogram\n"
            "cairn_pull_seconds_bucket{ps=\"0\",le=\"1\"} 0\n"
            "cairn_pull_seconds_bucket{ps=\"0\",le=\"2\"} 1\n"
            "cairn_pull_seconds_bucket{ps=\"0\",le=\"4\"} 1\n"
            "cairn_pull_seconds_bucket{ps=\"0\",le=\"+Inf\"} 2\n"
            "cairn_pull_seconds_sum{ps=\"0\"} 101.5\n"
            "cairn_pull_seconds_count{ps=\"0\"} 2\n"
            "# HELP cairn_push_requests_total Pushes\\nby \\\\ code.\n"
            "# TYPE cairn_push_requests_total counter\n"
            "cairn_push_requests_total{code=\"OK\"} 0\n"
            "cairn_push_requests_total{code=\"a\\\"b\\\\c\\nd\"} 3\n"
            "# HELP cairn_tables Tables.\n"
            "# TYPE cairn_tables gauge\n"
            "cairn_tables 2.5\n");
}

TEST(MetricRegistry, SameNameAndLabelsIsTheSameMetric) {
  MetricRegistry registry;
  Counter& a = registry.AddCounter({"x", "", "X."}, {{"ps", "0"}});
  Counter& b = registry.AddCounter({"x", "", "X."}, {{"ps", "1"}});
  EXPECT_EQ(&a, &registry.AddCounter({"x", "", "X."}, {{"ps", "0"}}));
  EXPECT_NE(&a, &b);
  EXPECT_EQ(MetricRegistry().RenderPrometheus(), "");
}

TEST(MetricRegistryDeathTest, DeclaringTwiceInDifferentWaysIsABug) {
  MetricRegistry registry;
  registry.AddCounter({"x", "", "X."});
  EXPECT_DEATH(registry.AddGauge({"x", "", "X."}), "declared twice");
  EXPECT_DEATH(registry.AddCounter({"x", "bytes", "X."}), "declared twice");
  EXPECT_DEATH(registry.AddCounter({"Bad name", "", "X."}), "bad metric name");
}

}  // namespace
}  // namespace cairn
