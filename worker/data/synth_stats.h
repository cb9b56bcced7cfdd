// What a perfect model can reach on data of which every row's probability is known.
#pragma once

#include <span>

namespace cairn::worker {

// Expected AUC of scoring each row by its true logit s_i, with p_i = sigmoid(s_i), q_i = 1 - p_i:
//
//   sum over i != j of p_i q_j ([s_i > s_j] + [s_i = s_j] / 2)  /  sum over i != j of p_i q_j
//
// the ratio of the expected numbers of rightly ordered pairs and of pairs (click, no click) when
// labels are drawn independently. No scorer does better. 0.5 where there is no pair.
// O(n log n); memory: a copy of the logits.
double BayesAuc(std::span<const double> logits);

// Expected log loss of the true probabilities: the mean of -p ln p - q ln q, in nats.
double BayesLogLoss(std::span<const double> logits);

// The offset that makes the mean of sigmoid(offset + scale * signal_i) equal to `rate`.
double OffsetForRate(std::span<const double> signal, double scale, double rate);

}  // namespace cairn::worker
