#include "launch/coordinator/schedule.h"

#include <vector>

#include "gtest/gtest.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"

namespace cairn::launch {
namespace {

proto::Metrics Measured(double auc, double logloss) {
  proto::Metrics metrics;
  metrics.set_rows(10);
  metrics.set_auc(auc);
  metrics.set_logloss(logloss);
  return metrics;
}

TEST(Schedule, FollowsTheTableOfAnAucRun) {
  proto::TrainConfig config;
  config.set_epochs(100);
  config.set_early_stop_patience(3);
  config.set_min_delta(0.001);
  config.set_plateau_factor(0.1);
  config.set_plateau_floor(0.005);
  struct Row {
    double auc;
    bool is_best;
    double scale;
    unsigned without_gain;
    bool is_over;
  };
  const std::vector<Row> table = {
      {0.700, true, 1, 0, false},      {0.710, true, 1, 0, false},
      {0.7105, false, 0.1, 1, false},  // better, but by less than min_delta
      {0.7111, true, 0.1, 0, false},   // counted from the best, not from the latest
      {0.600, false, 0.01, 1, false},  {0.7111, false, 0.005, 2, false},  // the floor
      {0.7111, false, 0.005, 3, true},                                    // patience
  };
  proto::TrainState state;
  std::uint64_t best_epoch = 0;
  for (std::size_t e = 0; e < table.size(); ++e) {
    SCOPED_TRACE(e);
    const proto::Metrics metrics = Measured(table[e].auc, 0.5);
    EXPECT_EQ(ApplySchedule(config, &metrics, &state), table[e].is_best);
    if (table[e].is_best) best_epoch = e;
    state.set_epoch(e + 1);
    EXPECT_DOUBLE_EQ(state.learning_rate_scale(), table[e].scale);
    EXPECT_EQ(state.epochs_without_gain(), table[e].without_gain);
    EXPECT_EQ(state.best_epoch(), best_epoch);
    EXPECT_EQ(TrainingIsOver(config, state), table[e].is_over);
  }
  EXPECT_DOUBLE_EQ(state.best_value(), 0.7111);
}

TEST(Schedule, SmallerLogLossIsBetter) {
  proto::TrainConfig config;
  config.set_monitor(proto::TrainConfig::LOGLOSS);
  proto::TrainState state;
  for (const auto& [logloss, is_best] :
       std::vector<std::pair<double, bool>>{{0.5, true}, {0.6, false}, {0.4, true}}) {
    const proto::Metrics metrics = Measured(0.9, logloss);
    EXPECT_EQ(ApplySchedule(config, &metrics, &state), is_best) << logloss;
  }
  EXPECT_DOUBLE_EQ(state.best_value(), 0.4);
}

TEST(Schedule, MonitorsTheDifference) {
  proto::TrainConfig config;
  config.set_monitor(proto::TrainConfig::AUC_MINUS_LOGLOSS);
  EXPECT_DOUBLE_EQ(MonitoredValue(config, Measured(0.8, 0.5)), 0.8 - 0.5);
}

TEST(Schedule, AnUndefinedAucIsAGuess) {
  proto::TrainConfig config;
  proto::Metrics metrics;
  metrics.set_logloss(0.1);
  EXPECT_DOUBLE_EQ(MonitoredValue(config, metrics), 0.5);
}

TEST(Schedule, WithoutAnEvaluationTheLatestEpochIsTheBest) {
  proto::TrainConfig config;
  proto::TrainState state;
  for (std::uint64_t e = 0; e < 3; ++e) {
    state.set_epoch(e);
    EXPECT_TRUE(ApplySchedule(config, nullptr, &state));
    EXPECT_EQ(state.best_epoch(), e);
  }
  EXPECT_DOUBLE_EQ(state.learning_rate_scale(), 1);
}

TEST(Schedule, MonitorsOfGroups) {
  proto::TrainConfig config;
  proto::Metrics metrics = Measured(0.75, 0.5);
  metrics.set_gauc(0.625);
  config.set_monitor(proto::TrainConfig::GAUC);
  EXPECT_EQ(MonitoredValue(config, metrics), 0.625);
  config.set_monitor(proto::TrainConfig::GAUC_PLUS_AUC);
  EXPECT_EQ(MonitoredValue(config, metrics), 1.375);
  metrics.clear_gauc();
  EXPECT_EQ(MonitoredValue(config, metrics), 1.25);
}

TEST(Schedule, PatienceZeroNeverStopsEarly) {
  proto::TrainConfig config;
  config.set_epochs(5);
  config.set_early_stop_patience(0);
  proto::TrainState state;
  state.set_epochs_without_gain(4);
  state.set_epoch(4);
  EXPECT_FALSE(TrainingIsOver(config, state));
  state.set_epoch(5);
  EXPECT_TRUE(TrainingIsOver(config, state));
}

}  // namespace
}  // namespace cairn::launch
