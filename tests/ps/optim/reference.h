// The optimizers in double precision, written from the papers' equations without a look at the
// kernels.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "google/protobuf/text_format.h"
#include "proto/config.pb.h"

namespace cairn::ps {

inline proto::OptimizerConfig ConfigOf(const std::string& text) {
  proto::OptimizerConfig config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &config)) << text;
  return config;
}

// One row. Hyper-parameters are rounded to float, as the kernels hold them, where the result is
// sensitive to them.
class ReferenceRow {
 public:
  ReferenceRow(const proto::OptimizerConfig& config, const std::vector<float>& initial)
      : config_(config), w_(initial.begin(), initial.end()), a_(w_.size()), b_(w_.size()) {
    if (config.has_adagrad()) a_.assign(w_.size(), config.adagrad().initial_accumulator());
    if (config.has_rowwise_adagrad()) a_ = {config.rowwise_adagrad().initial_accumulator()};
    initial_ = w_;
    centres_ = gradients_ = b_;
  }

  void Step(const std::vector<float>& grad, double scale, double l2) {
    ++t_;
    std::vector<double> g(w_.size());
    for (std::size_t i = 0; i < g.size(); ++i) g[i] = grad[i] + l2 * w_[i];
    if (config_.has_sgd()) {
      for (std::size_t i = 0; i < g.size(); ++i) {
        w_[i] -= config_.sgd().learning_rate() * scale * g[i];
      }
    } else if (config_.has_adagrad()) {
      Adagrad(g, scale);
    } else if (config_.has_rowwise_adagrad()) {
      RowwiseAdagrad(g, scale);
    } else if (config_.has_momentum()) {
      Momentum(g, scale);
    } else if (config_.has_ftrl()) {
      Ftrl(g, scale);
    } else if (config_.has_adamw()) {
      const auto& c = config_.adamw();
      for (double& w : w_) w -= c.learning_rate() * scale * c.weight_decay() * w;
      Adam(c, g, scale);
    } else {
      Adam(config_.adam(), g, scale);
    }
  }

  const std::vector<double>& value() const { return w_; }

  // What the optimizer's state should hold.
  std::vector<double> State() const {
    if (config_.has_sgd()) return {};
    std::vector<double> state = a_;
    const bool two = config_.has_adam() || config_.has_adamw() || config_.has_ftrl();
    if (two) state.insert(state.end(), b_.begin(), b_.end());
    return state;
  }

 private:
  void Adagrad(const std::vector<double>& g, double scale) {
    const auto& c = config_.adagrad();
    for (std::size_t i = 0; i < g.size(); ++i) {
      a_[i] += g[i] * g[i];
      w_[i] -= c.learning_rate() * scale * g[i] / (std::sqrt(a_[i]) + c.epsilon());
    }
  }

  void RowwiseAdagrad(const std::vector<double>& g, double scale) {
    const auto& c = config_.rowwise_adagrad();
    double squares = 0;
    for (const double x : g) squares += x * x;
    a_[0] += squares / static_cast<double>(g.size());
    for (std::size_t i = 0; i < g.size(); ++i) {
      w_[i] -= c.learning_rate() * scale * g[i] / (std::sqrt(a_[0]) + c.epsilon());
    }
  }

  void Momentum(const std::vector<double>& g, double scale) {
    const auto& c = config_.momentum();
    for (std::size_t i = 0; i < g.size(); ++i) {
      a_[i] = c.momentum() * a_[i] + g[i];
      const double step = c.nesterov() ? g[i] + c.momentum() * a_[i] : a_[i];
      w_[i] -= c.learning_rate() * scale * step;
    }
  }

  template <typename AdamConfig>
  void Adam(const AdamConfig& c, const std::vector<double>& g, double scale) {
    for (std::size_t i = 0; i < g.size(); ++i) {
      a_[i] = c.beta1() * a_[i] + (1 - c.beta1()) * g[i];
      b_[i] = c.beta2() * b_[i] + (1 - c.beta2()) * g[i] * g[i];
      const double mean = a_[i] / (1 - std::pow(c.beta1(), t_));
      const double square = b_[i] / (1 - std::pow(c.beta2(), t_));
      w_[i] -= c.learning_rate() * scale * mean / (std::sqrt(square) + c.epsilon());
    }
  }

  // The minimum over w of
  //   w * (sum of gradients) + sum_s sigma_s/2 (w - w_s)^2 + beta/(2 alpha) (w - w_0)^2
  //   + lambda1 (|w| - sign(w_0) w) + lambda2/2 (w - w_0)^2
  // whose last terms are those of the paper for w_0 = 0, and else have their minimum at w_0.
  void Ftrl(const std::vector<double>& g, double scale) {
    const auto& c = config_.ftrl();
    for (std::size_t i = 0; i < g.size(); ++i) {
      const double before = std::sqrt(b_[i]);
      b_[i] += g[i] * g[i];
      const double root = std::sqrt(b_[i]), w0 = initial_[i];
      centres_[i] += (root - before) / c.alpha() * w_[i];
      gradients_[i] += scale * g[i];
      const double sign = w0 > 0 ? 1 : w0 < 0 ? -1 : 0;
      const double pull =
          centres_[i] + (c.beta() / c.alpha() + c.lambda2()) * w0 + c.lambda1() * sign;
      a_[i] = gradients_[i] - pull;  // w * a_ + curvature/2 w^2 + lambda1 |w|
      const double curvature = (c.beta() + root) / c.alpha() + c.lambda2();
      if (a_[i] > c.lambda1()) {
        w_[i] = (c.lambda1() - a_[i]) / curvature;
      } else if (a_[i] < -c.lambda1()) {
        w_[i] = (-c.lambda1() - a_[i]) / curvature;
      } else if (g[i] != 0) {
        w_[i] = 0;
      }
    }
  }

  const proto::OptimizerConfig config_;
  std::vector<double> w_, a_, b_;  // value; first and second state array
  std::vector<double> initial_, centres_, gradients_;
  int t_ = 0;
};

}  // namespace cairn::ps
