#include "worker/data/synth_stats.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace cairn::worker {
namespace {

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

double BayesAuc(std::span<const double> logits) {
  std::vector<double> sorted(logits.begin(), logits.end());
  std::ranges::sort(sorted);
  double ordered = 0;
  double clicks = 0;     // sum of p over the rows so far
  double others = 0;     // sum of q
  double with_self = 0;  // sum of p q
  for (std::size_t begin = 0; begin < sorted.size();) {
    std::size_t end = begin;
    while (end < sorted.size() && sorted[end] == sorted[begin]) ++end;
    const double n = static_cast<double>(end - begin);
    const double p = Sigmoid(sorted[begin]);
    const double q = Sigmoid(-sorted[begin]);
    ordered += n * p * others + (n * n - n) * p * q / 2;
    clicks += n * p;
    others += n * q;
    with_self += n * p * q;
    begin = end;
  }
  const double pairs = clicks * others - with_self;
  return pairs > 0 ? ordered / pairs : 0.5;
}

double BayesLogLoss(std::span<const double> logits) {
  double sum = 0;
  for (const double s : logits) {
    // -ln sigmoid(s) = ln(1 + e^-s), and the other term has s of the other sign.
    const double softplus = std::log1p(std::exp(-std::fabs(s)));
    sum += softplus + Sigmoid(-std::fabs(s)) * std::fabs(s);
  }
  return logits.empty() ? 0 : sum / static_cast<double>(logits.size());
}

// Newton's method, kept inside a shrinking bracket.
double OffsetForRate(std::span<const double> signal, double scale, double rate) {
  const auto n = static_cast<double>(signal.size());
  double low = -1e6;
  double high = 1e6;
  double offset = 0;
  for (int round = 0; round < 200; ++round) {
    double mean = 0;
    double slope = 0;
    for (const double s : signal) {
      const double p = Sigmoid(offset + scale * s);
      mean += p / n;
      slope += p * (1 - p) / n;
    }
    (mean < rate ? low : high) = offset;
    const double step = std::clamp((rate - mean) / std::max(slope, 1e-9), -4.0, 4.0);
    if (std::fabs(step) < 1e-9) break;
    const double next = offset + step;
    offset = next > low && next < high ? next : (low + high) / 2;
  }
  return offset;
}

}  // namespace cairn::worker
